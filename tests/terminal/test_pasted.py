"""Commands that are printed can be pasted, where folders have spaces and quotes in their names, too."""

import re
import shlex
import sys

import pytest

import warm
from rnnlab.cli import main

FOLDER = """it's a "test" $HOME"""
SMALL = ("experiment=sine", "data.n_points=200", "trainer.accelerator=cpu", "model.hidden_size=4",
         "trainer.max_epochs=1", "model.engine=torch", "trainer.threads=1", "~callbacks.progress",
         "~callbacks.pictures")  # fmt: skip


def printed(text):
    """The commands among the lines, as a shell splits them."""
    return [
        shlex.split(found[1]) for found in re.finditer(r"^\S*\s+(rnnlab (?!board).*)$", text, re.MULTILINE)
    ]


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What a run prints, and an archive of it; `outputs` is in a folder with such a name."""
    folder = tmp_path_factory.mktemp("pasted") / FOLDER
    folder.mkdir()
    command = [sys.executable, "-m", "rnnlab", "train", *SMALL]
    done = warm.run([*command, "-m", "seed=0,1"], cwd=folder)
    alone = warm.run([*command, f"paths.outputs={hydras(folder / 'alone')}"], cwd=folder.parent)
    assert done.returncode == alone.returncode == 0, done.stderr + alone.stderr
    return folder, done.stdout + alone.stdout


def hydras(path):
    """A path as Hydra's grammar quotes it."""
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'


def test_what_a_run_and_a_sweep_print_can_be_pasted(said, monkeypatch, capsys):
    folder, text = said
    monkeypatch.chdir(folder)
    commands = printed(text)
    assert {words[1] for words in commands} == {"report", "forecast", "evaluate"}
    for words in commands:
        assert main(words[1:]) == 0, capsys.readouterr().err
    (board,) = {words[2] for words in map(shlex.split, re.findall(r"rnnlab board .*alone.*", text))}
    assert board == str(folder / "alone" / "sine")


def test_what_an_archive_prints_and_holds_can_be_pasted(said, monkeypatch, capsys):
    folder, _ = said
    monkeypatch.chdir(folder)
    assert main(["archive", str(folder / "alone" / "sine"), "--out", "it's.zip"]) == 0
    (words,) = printed(capsys.readouterr().out)
    assert words == ["rnnlab", "reproduce", "it's.zip", "--sample", "1"]
    from rnnlab.reproduce.archive import readme
    from rnnlab.runs.run import runs

    lines = readme("a b", runs(folder / "alone" / "sine"), "a b.zip").splitlines()
    found = [shlex.split(line.partition("#")[0] or line) for line in lines if line.startswith("    ")]
    assert ["rnnlab", "report", "a b"] in found and [
        "rnnlab",
        "reproduce",
        "a b.zip",
        "--sample",
        "1",
    ] in found
    asked = [words for words in found if "experiment=sine" in words]
    assert len(asked) == 1 and f"paths.outputs={hydras(folder / 'alone')}" in asked[0]
