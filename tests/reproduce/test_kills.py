"""Killed at every instant of writing a checkpoint, and at random: the same bits in the end."""

import shutil

import pytest

import rnnlab
from remains import mismatches
from rnnlab.cli import main
from rnnlab.runs.checksum import checksum_error
from tortures import kills
from tortures.death import die_at, ended, fork, writes

RUN = (
    "experiment=sine", "model.hidden_size=8", "data.n_points=200", "trainer.max_epochs=4", "trainer.threads=1",
    "model.engine=torch", "trainer.accelerator=cpu", "callbacks=none", "checkpoint.every_n_steps=6",
)  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    rnnlab.train(*RUN, f"paths.outputs={folder}")
    return folder / "sine"


# the second checkpoint has its operations here: best (write, rename, folder), two journals, next (the same), rotation
@pytest.mark.parametrize("at", range(25, 38, 2))
def test_killed_at_every_operation_that_makes_a_file_last(whole, tmp_path, at):
    def dying() -> int:
        die_at(at, writes(), half=at % 4 == 3)
        return main(["train", *RUN, f"paths.outputs={tmp_path}"])

    assert ended(fork(dying, tmp_path / "log")) == -9
    assert ended(fork(lambda: main(["train", *RUN, f"paths.outputs={tmp_path}"]), tmp_path / "log")) == 0
    assert mismatches(whole, tmp_path / "sine") == []


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "empty"])
def test_a_damaged_checkpoint_is_said_and_the_one_before_is_used(whole, tmp_path, damage, capsys):
    shutil.copytree(whole, tmp_path / "sine")
    (run,) = rnnlab.runs(tmp_path / "sine")
    run.update(status="running")
    content = bytearray(run.last_checkpoint.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    run.last_checkpoint.write_bytes({"cut": content[:-100], "empty": b""}.get(damage, content))
    if damage == "gone":
        run.last_checkpoint.unlink()
    else:
        assert checksum_error(run.last_checkpoint)
    rnnlab.train(*RUN, f"paths.outputs={tmp_path}")
    said = [line for line in capsys.readouterr().err.splitlines() if "last.ckpt" in line]
    if damage == "gone":
        assert said == []
    else:
        assert len(said) == 1 and said[0].endswith("The one before, previous.ckpt, is used.")
    assert mismatches(whole, tmp_path / "sine") == []


def test_without_any_whole_checkpoint_it_begins_afresh(whole, tmp_path, capsys):
    shutil.copytree(whole, tmp_path / "sine")
    (run,) = rnnlab.runs(tmp_path / "sine")
    run.update(status="running")
    for path in (run.last_checkpoint, run.previous_checkpoint):
        path.write_bytes(b"PK")
    rnnlab.train(*RUN, f"paths.outputs={tmp_path}")
    assert "begins afresh" in capsys.readouterr().err
    assert mismatches(whole, tmp_path / "sine") == []


@pytest.mark.parametrize("best", ["newer", "damaged", "gone"])
def test_best_follows_the_checkpoint_that_the_run_goes_on_from(whole, tmp_path, best):
    """Weights of a later validation, or none: best.ckpt is what it was at the checkpoint, and then goes on."""
    shutil.copytree(whole, tmp_path / "sine")
    (run,) = rnnlab.runs(tmp_path / "sine")
    run.update(status="running")
    run.previous_checkpoint.unlink()
    if best == "newer":
        shutil.copy(run.last_checkpoint, run.best_checkpoint)
        import torch

        other = torch.load(run.best_checkpoint, weights_only=True)
        torch.save({**other, "best": {"value": -1.0, "step": 99}}, run.best_checkpoint)
    elif best == "damaged":
        run.best_checkpoint.write_bytes(b"PK")
    else:
        run.best_checkpoint.unlink()
    rnnlab.train(*RUN, f"paths.outputs={tmp_path}")
    assert mismatches(whole, tmp_path / "sine") == []


def test_killed_at_random(tmp_path, monkeypatch):
    """The short form of `scripts/torture.py kills`; sweeps are killed in tests/sweeps."""
    names = ("sine, torch", "characters, native, sgd")
    monkeypatch.setattr(kills, "RUNS", {name: kills.RUNS[name] for name in names})
    found = kills.Kills(tmp_path, kills=4, seed=0, only=",")  # no sweeps
    found.run()
    assert found.wrong == [] and found.dead == 4
