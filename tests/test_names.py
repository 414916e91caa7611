"""Names and paths that cannot be a folder's: one line, exit code 2, and nothing left behind."""

import pytest

from rnnlab.cli import main

LONG = "a" * 300
DEEP = "/".join(["b" * 200] * 30)
TRAIN = ("train", "experiment=sine", "callbacks=none", "trainer.max_steps=1")


def refused(capsys, *words: str) -> str:
    capsys.readouterr()
    assert main(list(words)) == 2
    said = capsys.readouterr().err.strip()
    assert "Traceback" not in said
    return said


@pytest.mark.parametrize("sweep", [(), ("-m", "seed=0,1")])
@pytest.mark.parametrize(
    "word", [f"name={LONG}", f"name={DEEP}", "name=..", "name=/a", "name='a\tb'", f"paths.outputs={LONG}",
             f"paths.outputs={DEEP}", "paths.outputs=/dev/null/a"])  # fmt: skip
def test_trainings(tmp_path, monkeypatch, capsys, word, sweep):
    monkeypatch.chdir(tmp_path)
    said = refused(capsys, *TRAIN, word, *sweep)
    assert sweep or len(said.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_name_with_a_nul(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "nul.yaml").write_text(
        '# @package _global_\ndefaults: [sine]\nname: "a\\0b"\n'
    )
    words = (TRAIN[0], "experiment=nul", *TRAIN[2:], "--config-dir", str(tmp_path))
    assert "cannot be printed" in refused(capsys, *words)


@pytest.mark.parametrize("name", ["-x", "'a b'", "'a:b'", "notebook/sine"])
def test_names_that_are_odd_and_possible(tmp_path, capsys, name):
    assert main([*TRAIN, "data.n_points=200", f"name={name}", f"paths.outputs={tmp_path}"]) == 0


@pytest.mark.parametrize("path", [LONG, DEEP, "a\0b"])
@pytest.mark.parametrize(
    "command",
    ["report", "compare", "archive", "board", "evaluate", "forecast", "generate", "reproduce", "diff"],
)
def test_commands(tmp_path, monkeypatch, capsys, command, path):
    monkeypatch.chdir(tmp_path)
    more = {"diff": [path], "generate": ["--prompt=e"]}.get(command, [])
    assert len(refused(capsys, command, path, *more).splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
