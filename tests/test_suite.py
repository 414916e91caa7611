"""scripts/suite.py finds the test that fails sometimes, and says what it may be asked, as every script does."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "suite.py"
TESTS = """
from pathlib import Path

mark = Path(__file__).with_name("mark")

def test_that_always_passes():
    pass

def test_that_fails_when_it_comes_again():
    assert not mark.exists()
    mark.touch()
"""


def suite(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True)


def test_a_test_that_fails_sometimes_is_listed_with_its_seeds(tmp_path):
    pytest.importorskip("pytest_randomly")
    (tmp_path / "test_tried.py").write_text(TESTS)
    done = suite("idle=1", "busy=1", "loops=1", "seed=7", str(tmp_path / "test_tried.py"))
    assert done.returncode == 1, done.stderr
    _, idle, busy, *listed = done.stdout.splitlines()
    assert idle.startswith("seed   7, 0 loops: passed") and busy.startswith("seed   8, 1 loops: 1 failed")
    (line,) = listed
    assert (
        line.startswith("   1 of 2 ")
        and "::test_that_fails_when_it_comes_again" in line
        and "(seeds 8)" in line
    )
    (tmp_path / "mark").unlink()
    (tmp_path / "test_tried.py").write_text("import os\ndef test_that_takes_all_along():\n    os._exit(0)\n")
    done = suite("idle=1", "busy=0", str(tmp_path / "test_tried.py"))
    assert done.returncode == 1 and "::test_that_takes_all_along" in done.stdout, done.stdout


@pytest.mark.parametrize(
    ("word", "code", "said"),
    [
        ("--help", 0, "Runs the tests many times"),
        ("idel=3", 2, "idel: no such option. Did you mean idle?"),
        ("idle=x", 2, "idle=x: must be a whole number"),
        ("idle=1,2", 2, "idle=1,2: must be a whole number"),
    ],
)
def test_a_script_says_what_it_is_asked(word, code, said):
    done = suite(word)
    assert done.returncode == code and (done.stdout + done.stderr).startswith(said)
