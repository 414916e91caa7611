"""docs/extending.md, followed to the letter in an empty folder; and a cell that becomes one of rnnlab's own."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import warm

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
CUT = ("trainer.accelerator=cpu", "trainer.threads=1", "trainer.max_epochs=3")
# which of the page's commands gives what
FOUND = {
    "mycells.MGU": ("native", {"loss/val", "metric/mse"}),
    "model=quantile": ("native", {"metric/pinball", "metric/below"}),
    "data=sawtooth": ("native", {"metric/mse", "reference/mse_persistence"}),
    "mycallbacks.WeightNorm": ("native", {"weights/norm"}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An empty folder, and in it the page's files."""
    folder = tmp_path_factory.mktemp("extending")
    files = re.findall(r"`(my[\w/]+\.\w+)`[^`]*?:\n\n```\w+\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert len(files) == 13
    for name, text in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def train(folder: Path, words: list[str], path: str = "") -> dict:
    """`path`: where another rnnlab than the one under test is, which only a new interpreter finds."""
    env = {**os.environ, "PYTHONPATH": path}
    if path:
        command = [sys.executable, "-m", "rnnlab", *words, *CUT]
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    else:
        done = warm.rnnlab(*words, *CUT, cwd=folder, env=env)
    assert done.returncode == 0, done.stderr
    run = max(folder.glob("outputs/*/*/run.json"), key=lambda f: f.stat().st_mtime_ns)
    return json.loads(run.read_text()) | {"folder": run.parent, "said": done.stdout}


@pytest.mark.parametrize("what", FOUND)
def test_what_the_page_adds_is_trained(folder, what):
    (command,) = [
        line.strip() for line in PAGE.splitlines() if line.startswith("    rnnlab") and what in line
    ]
    run, (engine, scalars) = train(folder, command.split()[1:]), FOUND[what]
    assert run["status"] == "finished" and run["engine"]["name"] == engine
    assert (run["engine"]["steps"] == "native") == (engine == "native" and what != "model=quantile")
    assert (run["folder"] / "figures").is_dir() and "rnnlab evaluate" in run["said"]
    header = (run["folder"] / "metrics.csv").read_text().splitlines()
    assert all(any(scalar in line for line in header) for scalar in scalars - {"reference/mse_persistence"})
    if what == "data=sawtooth":
        assert run["results"]["baselines"]["test"]["persistence"]["mse"] > 0


@pytest.mark.parametrize(
    "what", ["mycells.MGU", "model=quantile", "data=sawtooth", "mycallbacks.WeightNorm", "optimizer=signed",
             "mylogger.Lines", "model=fit"],
)  # fmt: skip
def test_each_part_is_swept_resumed_and_reproduced(folder, tmp_path, what):
    (line,) = [line.strip() for line in PAGE.splitlines() if line.startswith("    rnnlab") and what in line]
    words, out = [*shlex.split(line)[1:], *CUT, "~callbacks.pictures", f"paths.outputs={tmp_path}"], tmp_path

    def rnnlab(*words: str) -> subprocess.CompletedProcess:
        done = warm.rnnlab(*words, cwd=folder, env={**os.environ, "PYTHONPATH": ""})
        assert done.returncode == 0, done.stderr + done.stdout
        return done

    def runs() -> dict[Path, dict]:
        return {file.parent: json.loads(file.read_text()) for file in out.glob("*/*/run.json")}

    rnnlab(*words)
    (alone,) = runs()
    rnnlab("train", "-m", *words[1:], "seed=0,1")
    assert len(runs()) == 2 and all(run["status"] == "finished" for run in runs().values())
    assert "bitwise" in rnnlab("reproduce", str(alone)).stdout
    if what != "optimizer=signed" and "cosine" not in (alone / "config.yaml").read_text():
        rnnlab("train", f"resume={alone}", "trainer.max_epochs=4")
        assert len(runs()) == 3
    if what == "mylogger.Lines":
        assert "loss/val=" in (alone / "lines.txt").read_text()


def test_the_pages_cell_can_be_looked_into(folder):
    run = train(
        folder, ["train", "experiment=sine", "model.cell=mycells.MGU", "callbacks=inspect", "name=looked"]
    )
    assert "inspect/saturated" in (run["folder"] / "metrics.csv").read_text()  # its gates were seen
    html = folder / "unrolled.html"
    words = ["unroll", str(run["folder"]), "--input", "0.1 0.5", "--trust", "--html", str(html)]
    done = warm.rnnlab(*words, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "f = sigmoid(W_if x + b_if + W_hf h + b_hf)" in html.read_text()


def test_a_new_file_among_the_cells_is_a_cell_of_its_own(folder, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copytree(ROOT / "conf", source / "conf")
    text = (folder / "mycells.py").read_text().replace("class MGU", "class Tiny")  # an MGU is there already
    (source / "src" / "rnnlab" / "cells" / "tiny.py").write_text(text)
    source /= "src"
    words = ["train", "experiment=sine", "model.cell=tiny", "model.forget_bias=1.0"]
    run = train(tmp_path, words, str(source))
    assert run["status"] == "finished" and run["engine"]["name"] == "native"
    asked = [sys.executable, "-m", "rnnlab", "train", "experiment=sine", "model.cell=tinny"]
    env = {**os.environ, "PYTHONPATH": str(source)}
    done = subprocess.run(asked, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "model.cell=tinny: no such cell. Did you mean tiny?\n")
