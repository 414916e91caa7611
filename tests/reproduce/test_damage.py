"""One damaged file in one run's folder: it is named once, or does not matter, and no other run is lost for it."""

import errno
import json
import os
import pickle
import shutil
from pathlib import Path

import pytest

import rnnlab
from rnnlab.cli import main

FILES = ("run.json", "config.yaml", "overrides.yaml", "manifest.json", "metrics.csv", "checkpoints/best.ckpt",
         "checkpoints/last.ckpt")  # fmt: skip


def flipped(whole: bytes) -> bytes:
    return whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 1]) + whole[len(whole) // 2 + 1 :]


DAMAGE = {
    "empty": lambda whole: b"",
    "half": lambda whole: whole[: len(whole) // 2],
    "zeros": lambda whole: bytes(len(whole)),
    "flipped": flipped,
    "latin": lambda whole: b"\xe4" + whole,
    "other types": lambda whole: b'{"status": 7, "mode": [], "sources": 1, "model": "x", "data": 3}',
    "a list": lambda whole: b"[1, {}]",
}


def damage(file, kind: str) -> None:
    if kind == "deleted":
        file.unlink()
    elif kind == "a folder":
        file.unlink()
        file.mkdir()
    else:
        file.write_bytes(DAMAGE[kind](file.read_bytes()))


@pytest.fixture
def three(seeds, tmp_path):
    """An experiment of three runs, of which the second is to be damaged."""
    for run in seeds[:3]:
        shutil.copytree(run.folder, tmp_path / "sine" / run.folder.name)
    return [rnnlab.Run(tmp_path / "sine" / run.folder.name) for run in seeds[:3]]


def test_an_experiment_without_one_whole_run(seeds, tmp_path, capsys):
    shutil.copytree(seeds[0].folder, tmp_path / "sine" / seeds[0].folder.name)
    (tmp_path / "sine" / seeds[0].folder.name / "run.json").write_text("")
    assert main(["archive", str(tmp_path / "sine"), "--out", str(tmp_path / "a.zip")]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 2 and "run.json: cannot be read as JSON" in said[0]
    assert said[1] == f"{tmp_path / 'sine'}: no runs there that can be read."


@pytest.mark.parametrize("command", ["report", "archive"])
def test_a_folder_that_may_not_be_read_is_named_and_left_out(three, tmp_path, capsys, monkeypatch, command):
    """Another user's, say; a test may run as root, who may read all."""
    monkeypatch.chdir(tmp_path)
    closed, stat = three[1].folder, Path.stat

    def guarded(path, **options):
        if closed in path.absolute().parents:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", guarded)
    assert main([command, "sine"]) == 0
    said = capsys.readouterr().err
    assert said == f"left out: {closed.relative_to(tmp_path)}: cannot be read: Permission denied\n"


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_checkpoint_that_is_somebody_elses_pickle_costs_one_line(
    seeds, tmp_path, capsys, recwarn, protocol
):
    shutil.copytree(seeds[0].folder, tmp_path / "sine" / seeds[0].folder.name)
    run = rnnlab.Run(tmp_path / "sine" / seeds[0].folder.name)
    run.best_checkpoint.write_bytes(pickle.dumps({"state_dict": print}, protocol))
    assert main(["evaluate", str(run.folder)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "best.ckpt: not a checkpoint that can be read safely" in line and not recwarn.list
    with pytest.raises(rnnlab.UserError) as caught:
        rnnlab.load(str(run.folder)).model  # noqa: B018
    assert str(caught.value).strip() == line  # as clean from Python, where a trace shows it


@pytest.mark.parametrize("kind", [*DAMAGE, "deleted", "a folder"])
@pytest.mark.parametrize("file", FILES)
def test_one_damaged_file(three, tmp_path, capsys, monkeypatch, file, kind):
    monkeypatch.chdir(tmp_path)
    hurt, experiment = three[1], tmp_path / "sine"
    damage(hurt.folder / file, kind)
    served = {
        "report": ["report", str(experiment), "--html", "all.html", "--csv", "all.csv"],
        "archive": ["archive", str(experiment), "--out", "all.zip"],
        "one": ["report", str(hurt.folder)],
        "evaluate": ["evaluate", str(hurt.folder)],
        "forecast": ["forecast", str(hurt.folder), "--horizon", "20"],
        "diff": ["diff", str(hurt.folder), str(three[0].folder)],
        "resume": ["train", f"resume={hurt.folder}", "trainer.max_epochs=4", f"paths.outputs={tmp_path}"],
    }
    for name, words in served.items():
        capsys.readouterr()
        code = main(words)
        out, err = capsys.readouterr()
        lines = err.strip().splitlines()
        assert "Traceback" not in err and len(lines) <= 1, (name, err)
        assert code in (0, 2, 3) and (code != 2 or hurt.folder.name in err), (name, code, err)
        if name in ("report", "archive"):
            assert code == 0, err

            assert all(hurt.folder.name in line for line in lines), err
            if name == "archive":
                assert f"{3 - len(lines) - (file == 'run.json' and kind == 'deleted')} runs in" in out
    assert [json.loads((r.folder / "run.json").read_text())["status"] for r in (three[0], three[2])] == [
        "finished"
    ] * 2


@pytest.mark.parametrize("kind", [*DAMAGE, "deleted", "a folder"])
@pytest.mark.parametrize("file", FILES[:5])
def test_the_same_command_again(three, seeds, asked, tmp_path, capsys, file, kind):
    """A run that was stopped and then damaged goes on or begins afresh, with one line, and ends with the same bits."""
    hurt, whole = three[1], seeds[1]
    hurt.update(status="running")
    created = hurt.record["created"]
    damage(hurt.folder / file, kind)
    capsys.readouterr()
    assert main(["train", *asked, "seed=1", f"paths.outputs={tmp_path}"]) == 0
    err = capsys.readouterr().err
    assert "Traceback" not in err and len(err.strip().splitlines()) <= 1
    assert hurt.status == "finished" and hurt.results == whole.results
    assert hurt.id == whole.id and hurt.record["created"][:10] == created[:10]
    assert hurt.metrics_file.read_bytes() == whole.metrics_file.read_bytes()


@pytest.mark.parametrize(
    "left",
    [
        dict.fromkeys(FILES[:5], "empty"),
        {"run.json": "zeros", "manifest.json": "half", "metrics.csv": "half"},
        {"config.yaml": "half", "overrides.yaml": "deleted", "manifest.json": "deleted"},
        {"run.json": "deleted", "config.yaml": "zeros", "metrics.csv": "zeros"},
    ],
)
def test_a_power_cut_before_the_first_checkpoint(three, seeds, asked, tmp_path, capsys, monkeypatch, left):
    """A new run's files reach the disk with its first checkpoint: before it, any of them may be empty or cut."""
    monkeypatch.chdir(tmp_path)
    hurt = three[1]
    hurt.update(status="running")
    shutil.rmtree(hurt.folder / "checkpoints")
    for file, kind in left.items():
        damage(hurt.folder / file, kind)
    for words in (["report", "sine"], ["archive", "sine"], ["report", "sine", "--html", "all.html"]):
        capsys.readouterr()
        assert main(words) == 0
        assert len(capsys.readouterr().err.strip().splitlines()) <= 1
    assert main(["train", *asked, "seed=0,1,2", f"paths.outputs={tmp_path}", "--multirun"]) == 0
    assert "Traceback" not in (err := capsys.readouterr().err) and len(err.strip().splitlines()) <= 2, err
    assert hurt.status == "finished" and hurt.metrics_file.read_bytes() == seeds[1].metrics_file.read_bytes()
    assert len(rnnlab.runs(tmp_path / "sine")) == 3
