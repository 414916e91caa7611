"""Every command of README and docs runs as it stands, but for trainings, which are cut short.

`RUN` in a command stands for a run of the fitting kind. What is typed with a pipe goes through a real shell.
"""

import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rnnlab.cli import main

ROOT = Path(__file__).parents[1]
# what extending.md shows needs its own files: test_extending.py
PAGES = [ROOT / "README.md", *(p for p in sorted((ROOT / "docs").glob("*.md")) if p.stem != "extending")]
CUT = (
    "trainer.max_epochs=1", "trainer.max_steps=-1", "trainer.limit_train_batches=3", "trainer.limit_val_batches=1",
    "trainer.check_val_every_n_epoch=1", "trainer.val_check_interval=null", "trainer.limit_test_batches=1",
    "trainer.threads=1", "~callbacks.pictures", "trainer.accelerator=cpu",
)  # fmt: skip
LATER = ("rnnlab completion", "rnnlab board")


def commands(page: Path) -> list[str]:
    """The lines of fenced and of indented blocks that call rnnlab, without comments and prompts."""
    found = []
    for line in page.read_text(encoding="utf-8").splitlines():
        line = line.strip().removeprefix("$ ")
        if re.match(r"(rnnlab|echo .*\| rnnlab) ", line):
            found.append(re.sub(r"\s{2,}#.*", "", line))
    return list(dict.fromkeys(found))


def series(path: Path, seed: int) -> None:
    """A file with the columns of ETTh1: hours, and columns that swing by the day."""
    hours, noise = np.arange(1500), np.random.default_rng(seed)
    columns = ["HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT"]
    values = np.sin(hours[:, None] / 24 * 2 * np.pi + np.arange(7)) + 0.1 * noise.standard_normal((1500, 7))
    times = np.datetime64("2016-07-01T00:00:00") + hours.astype("timedelta64[h]")
    rows = [
        f"{t},".replace("T", " ") + ",".join(f"{v:.4f}" for v in row)
        for t, row in zip(times, values, strict=True)
    ]
    path.write_text("\n".join(["date," + ",".join(columns), *rows]) + "\n")


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with the files that the docs speak of, and a short run of each kind; {"series": RUN, ...}."""
    folder = tmp_path_factory.mktemp("desk")
    text = "ROMEO:\nBut soft, what light through yonder window breaks?\n\ndef f(x): return The function 0123456789\n"
    (folder / "tinyshakespeare.txt").write_text(text * 400)
    for name, seed in (("ETTh1.csv", 0), ("new.csv", 1), ("my.csv", 2)):
        series(folder / name, seed)
    months = [
        f"{1949 + i // 12}-{i % 12 + 1:02d},{100 + 2 * i + 20 * np.sin(i * np.pi / 6):.0f}"
        for i in range(144)
    ]
    (folder / "Airline.csv").write_text("\n".join(["Date,Passengers", *months]) + "\n")
    before = Path.cwd()
    os.chdir(folder)
    runs = {}
    try:
        for kind, asked in {
            "series": "data=series data.path=ETTh1.csv data.target=OT data.time_column=date name=series",
            "sine": "data=sine name=sine",
            "text": "data=chars data.path=tinyshakespeare.txt name=text",
        }.items():
            assert main(["train", *asked.split(), *CUT]) == 0
            (runs[kind],) = (folder / "outputs" / kind).iterdir()
        yield folder, runs
    finally:
        os.chdir(before)


def kind_for(command: str) -> str:
    if " generate " in command or " data=chars " in command:
        return "text"
    return "sine" if "data.noise_std" in command else "series"


@pytest.fixture(scope="module")
def seen():
    """Commands that have run: pages repeat each other's."""
    return set()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_the_commands_of_a_page_run(page, desk, seen, monkeypatch, capfd):
    folder, runs = desk
    monkeypatch.chdir(folder)
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stdin", terminal)
    for command in commands(page):
        if command.startswith(LATER) or command in seen:
            continue
        seen.add(command)
        command = re.sub(r"\bRUN\b", str(runs[kind_for(command)]), command)
        if "|" in command:
            env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
            done = subprocess.run(
                ["bash", "-c", command], env=env, capture_output=True, text=True, cwd=folder
            )
            assert done.returncode == 0, f"{command}\n{done.stderr}"
            continue
        words = shlex.split(command)[1:]
        if words[0] == "train" and not {"--help", "--cfg"} & set(words):
            if "--config-dir" in words or "--multirun" in words or "-m" in words:
                continue  # a folder of the user's own and sweeps have tests of their own
            words += CUT
        code = main(words)
        said = capfd.readouterr()
        wrong = "hiden_size" in command  # a page may show what a mistake gives
        assert code == (2 if wrong else 0), f"{command}\n{said.out[-2000:]}\n{said.err}"


def test_the_code_of_the_page_on_python_runs(tmp_path):
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) > 4
    body = "\n".join(blocks)
    (tmp_path / "page.py").write_text(f"{body}\nassert early.status == own.status == 'finished'\n")
    done = subprocess.run([sys.executable, "page.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("finished outputs/sine/") and "native" in done.stdout
