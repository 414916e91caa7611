"""Runs the tests with other versions of rnnlab's dependencies: `python scripts/versions.py [WORD ...]`.

Each row installs another version in addition to this environment (which does not change) and runs the tests that it
concerns. A row with another Python makes a new environment, without torch where there is no wheel, and runs the tests
that do not need torch. WORD selects rows with that word in their names. Prints a table; exit code 1 if a test fails.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from options import parsed

ROOT = Path(__file__).parents[1]
LIGHT = (
    "hydra-core>=1.3.2,<1.4",
    "omegaconf>=2.3,<2.4",
    "pydantic>=2.8,<3",
    "numpy>=1.26",
    "rich>=13",
    "pytest",
)
CONFIG = ("tests/config", "tests/sweeps/test_plan.py", "tests/sweeps/test_hydra_plugins.py")
TRAINING = (
    "tests/training/test_loop.py",
    "tests/training/test_native_steps.py",
    "tests/reproduce/test_kills.py",
)
WITHOUT_TORCH = tuple(f"tests/config/test_{name}.py" for name in ("checking", "composing", "explain"))
NUMBERS = ("tests/data", "tests/cells", "tests/training/test_same_bits.py")


@dataclass
class Row:
    name: str
    packages: tuple[str, ...]
    tests: tuple[str, ...]
    python: str = ""  # "": this Python


ROWS = (
    Row("lightning 2.6.6", ("lightning==2.6.6",), TRAINING),
    Row("hydra 1.4.0rc3, omegaconf 2.4", ("hydra-core==1.4.0rc3", "omegaconf>=2.4.0rc1,<2.5"), CONFIG),
    Row("numpy 1.26", ("numpy==1.26.4", "pandas==2.2.3", "pytz"), NUMBERS),
    Row("torch 2.8", ("torch==2.8.0",), TRAINING),
    *(Row(f"Python 3.{n}", LIGHT, WITHOUT_TORCH, f"python3.{n}") for n in (10, 11, 12, 13)),
)


def check(row: Row, folder: Path) -> str:
    """One line with the result of the tests, or the reason why they could not run."""
    if row.python:
        if shutil.which(row.python) is None:
            return f"not run: there is no {row.python} here"
        made = subprocess.run([row.python, "-m", "venv", str(folder)], capture_output=True, text=True)
        if made.returncode:  # as on Debian without python3.x-venv
            return f"not run: no environment of {row.python}: {' '.join((made.stdout + made.stderr).split())}"
        python = str(folder / "bin" / "python")
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *row.packages]
        paths = [str(ROOT / "src")]
        compiled = subprocess.run([python, "-m", "compileall", "-q", str(ROOT / "src")], capture_output=True)
        if compiled.returncode:
            return f"FAILED: does not compile: {compiled.stdout.decode()[:200]}"
    else:
        python = sys.executable
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--pre", "--no-deps",
                   "--target", str(folder), *row.packages]  # fmt: skip
        paths = [str(folder), str(ROOT / "src")]
    installed = subprocess.run(install, capture_output=True, text=True)
    if installed.returncode:
        return f"not run: {(installed.stderr.strip().splitlines() or ['pip failed'])[-1]}"
    command = [python, "-m", "pytest", "-W", "ignore", "-p", "no:cacheprovider", *row.tests]
    if row.python:  # the shared fixtures need torch
        command += ["--noconftest", "-o", "addopts=-q"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    last = (done.stdout.strip().splitlines() or ["nothing was run"])[-1]
    return "\n    ".join([("FAILED: " if done.returncode else "") + last, *failed])


def main(words: list[str]) -> int:
    parsed(__doc__, words, others=None)
    rows = [row for row in ROWS if not words or any(word in row.name for word in words)]
    if not rows:
        sys.exit(f"{' '.join(words)}: in no name of a row; there are {'; '.join(row.name for row in ROWS)}")
    failed = False
    for row in rows:
        with tempfile.TemporaryDirectory() as folder:
            said = check(row, Path(folder))
        failed |= said.startswith("FAILED")
        print(f"{row.name:32}{said}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
