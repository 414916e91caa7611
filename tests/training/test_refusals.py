"""What cannot be is said before any work, in one line."""

import re

import pytest

import rnnlab
from rnnlab import UserError


def test_an_accelerator_that_is_not_there(small, tmp_path, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        UserError, match=r"trainer.accelerator=gpu: there is none .* there: .*cpu .*Use .*=cpu or auto"
    ):
        small("trainer.accelerator=gpu")
    assert not list(tmp_path.iterdir())


def test_auto_says_what_it_took_and_why(small, capsys, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    run = small("trainer.accelerator=auto")
    there = f"cpu ({torch.get_num_threads()} threads)"
    assert f"asked auto; there: {there}; took cpu" in capsys.readouterr().out
    assert run.config["trainer"]["accelerator"] == "cpu"


def test_what_lightnings_trainer_refuses(small):
    with pytest.raises(UserError, match=r"^trainer: .*invalid strategy name.*strategy='nowhere'"):
        small("+trainer.strategy=nowhere")


def test_outputs_that_cannot_be_written(small, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write to"):
        small(outputs=tmp_path / "file")


def test_starting_from_another_runs_weights(small, tmp_path):
    import torch

    first = small(outputs=tmp_path / "a")
    second = small(f"model.init_from={first.folder}", "optimizer.lr=0.0", outputs=tmp_path / "b")
    ours, theirs = second.model.state_dict(), first.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    with pytest.raises(UserError, match=r"is \(1, 8\) there and \(1, 9\) here"):
        small(f"model.init_from={first.folder}", "model.hidden_size=9", outputs=tmp_path / "c")


def test_a_folder_that_is_no_run(small, tmp_path):
    run = small()
    with pytest.raises(UserError, match="no run there.*Did you mean " + re.escape(run.folder.name)):
        rnnlab.load(run.folder.with_name(run.folder.name[:-2] + "xy"))
    with pytest.raises(UserError, match="is an experiment, not a run; it holds 1 run, such as"):
        rnnlab.load(run.folder.parent)


def test_a_checkpoint_that_holds_code_is_not_run(small, tmp_path):
    import pickle

    class Bomb:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'boom')!r}, 'w')",))

    run = small()
    run.best_checkpoint.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UserError, match="not a checkpoint that can be read safely"):
        _ = run.model
    assert not (tmp_path / "boom").exists()


def test_a_monitor_that_is_not_measured(small):
    with pytest.raises(UserError, match=r"monitor=loss/vla: .*Did you mean loss/val\?"):
        small("monitor=loss/vla")


def test_the_runs_of_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="elsewhere: no such folder"):
        rnnlab.runs(tmp_path / "elsewhere")
    assert rnnlab.runs(tmp_path) == []
