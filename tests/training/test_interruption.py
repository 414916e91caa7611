"""A training that is stopped keeps what it learned, and goes on to the same end."""

import signal

import pytest
import torch
from lightning import LightningModule
from stopping import StopAt, StopAtBatch

from rnnlab import UserError
from rnnlab.runs.run import Run
from rnnlab.runs.run_path import Place
from rnnlab.sweeps.job import Job, record_failure
from rnnlab.training.resumption import checkpoint_of


@pytest.fixture
def interrupted(small, tmp_path, monkeypatch):
    """A run stopped by a signal at a step, and the same run gone on with; the stopping callback is no config's."""
    import rnnlab.training.stages as training

    make = training.make_trainer

    def trained(
        *overrides: str, at: int = 0, number: int = signal.SIGINT, batch: int = 0, **kwargs
    ) -> tuple[dict, Run]:
        def stopping(config, run, task, callbacks, **how):
            stop = StopAtBatch(batch) if batch else StopAt(at, number)
            return make(config, run, task, [stop, *callbacks], **how)

        monkeypatch.setattr(training, "make_trainer", stopping)
        record = small(*overrides, outputs=tmp_path / "interrupted", **kwargs).record
        monkeypatch.setattr(training, "make_trainer", make)
        return record, small(*overrides, outputs=tmp_path / "interrupted", **kwargs)

    return trained


CHARS = (
    "data=chars", "data.limit=20000", "data.segment=20", "data.batch_size=8", "model.hidden_size=16",
    "trainer.max_epochs=-1", "trainer.max_steps=130", "trainer.check_val_every_n_epoch=null",
    "trainer.val_check_interval=50", "trainer.threads=1", "model.engine=torch", "trainer.accelerator=cpu",
    "callbacks=none",
)  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        ["trainer.max_epochs=5"],
        [
            "trainer.max_epochs=5",
            "model.num_layers=2",
            "model.dropout=0.2",
            "scheduler=cosine",
            "optimizer=rmsprop",
        ],
        [
            "trainer.max_epochs=5",
            "scheduler=plateau",
            "scheduler.patience=0",
            "callbacks=early_stopping",
            "callbacks.early_stopping.patience=3",
        ],
        [*CHARS],
        [*CHARS, "model.num_layers=2", "model.dropout=0.2", "optimizer=sgd", "optimizer.momentum=0.9"],
    ],
    ids=["sine", "dropout-cosine", "plateau", "chars", "chars-dropout"],
)
@pytest.mark.parametrize("engine", ["torch", "native"])
@pytest.mark.parametrize("at", [7, 10, 15])  # inside an epoch, just behind one, at an epoch's end (5 batches)
def test_going_on_gives_the_bits_of_the_unbroken_run(shared, interrupted, options, at, engine):
    options = [*(o for o in options if not o.startswith("model.engine")), f"model.engine={engine}"]
    base = {"base": ()} if options[0] == "data=chars" else {}
    whole = shared(*options, **base)
    record, resumed = interrupted(*options, at=at, **base)
    assert record["status"] == "stopped" and record["why"] == f"SIGINT at step {at}"
    assert resumed.status == "finished" and resumed.folder.name == whole.folder.name
    assert resumed.metrics_file.read_bytes() == whole.metrics_file.read_bytes()
    for name in ("last_checkpoint", "best_checkpoint"):
        a, b = (torch.load(getattr(r, name), weights_only=True)["state_dict"] for r in (whole, resumed))
        assert all(torch.equal(a[k], b[k]) for k in a)
    assert resumed.results == whole.results


@pytest.mark.parametrize("engine", ["reference", "native"])
def test_what_is_drawn_by_step_and_by_sequence_goes_on(small, tmp_path, interrupted, engine):
    drawn = ["model.cell=lstm", "model.input_dropout=0.1", "model.recurrent_dropout=0.2", "model.zoneout=0.1",
             "model.zoneout_cell=0.4", "trainer.max_steps=40"]  # fmt: skip
    options = [*(o for o in CHARS if not o.startswith(("model.engine", "trainer.max_steps"))), *drawn]
    options.append(f"model.engine={engine}")
    whole = small(*options, outputs=tmp_path / "whole", base=())
    record, resumed = interrupted(*options, at=15, base=())
    assert record["why"] == "SIGINT at step 15"
    assert resumed.metrics_file.read_bytes() == whole.metrics_file.read_bytes()
    a, b = (torch.load(r.last_checkpoint, weights_only=True)["state_dict"] for r in (whole, resumed))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_sigterm_is_told_apart(interrupted):
    record, resumed = interrupted(at=6, number=signal.SIGTERM)
    assert record["why"] == "SIGTERM at step 6"
    assert resumed.status == "finished"


@pytest.mark.parametrize("options", [["trainer.max_epochs=5"], [*CHARS]], ids=["sine", "chars"])
def test_going_on_between_two_calls_of_many_steps(small, tmp_path, interrupted, options, monkeypatch):
    """As above, where the kernels take many steps a call: the signal waits for the call's end."""
    monkeypatch.setattr(StopAt, "patient", True, raising=False)
    base = {"base": ()} if options[0] == "data=chars" else {}
    options = [*(o for o in options if not o.startswith("model.engine")), "model.engine=native",
               "trainer.steps_per_call=3"]  # fmt: skip
    whole = small(*options, outputs=tmp_path / "whole", **base)
    record, resumed = interrupted(*options, at=6, **base)
    at = 6 if base else 7  # an epoch of the sine has four batches: calls of 3, 1, 3
    assert record["status"] == "stopped" and record["why"] == f"SIGINT at step {at}"
    assert resumed.metrics_file.read_bytes() == whole.metrics_file.read_bytes()
    assert resumed.results == whole.results


class Plain(LightningModule):
    """As Lightning's own documentation writes them: the Trainer accumulates."""

    def __init__(self, spec, optimizer):
        super().__init__()
        self.head, self.make_optimizer = torch.nn.Linear(spec["window"], 1), optimizer
        torch.nn.init.constant_(self.head.weight, 0.1), torch.nn.init.zeros_(self.head.bias)

    def training_step(self, batch, i):
        x, y = batch
        return torch.nn.functional.mse_loss(self.head(x[..., 0]), y[..., 0])

    def validation_step(self, batch, i):
        x, y = batch
        self.log("loss/val", torch.nn.functional.mse_loss(self.head(x[..., 0]), y[..., 0]))

    def configure_optimizers(self):
        return self.make_optimizer(self.parameters())


PLAIN = (
    "data=sine", "data.n_points=200", "optimizer=adam", "scheduler=constant", "trainer.accelerator=cpu",
    "callbacks=none", "trainer.max_epochs=4", "trainer.accumulate_grad_batches=3", "~model",
    "+model._target_=test_interruption.Plain",
)  # fmt: skip


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 5, 11])
@pytest.mark.parametrize("own", [False, True], ids=["task", "own-module"])
def test_what_is_half_accumulated_is_waited_for(shared, interrupted, batch, own):
    """And what an own module logs behind a validation has its step."""
    options = ["trainer.max_epochs=4", "trainer.accumulate_grad_batches=3"]
    options, base = (PLAIN, {"base": ()}) if own else (options, {})
    whole = shared(*options, **base)
    record, resumed = interrupted(*options, batch=batch, **base)
    assert record["status"] == "stopped" and resumed.status == "finished"
    a, b = (torch.load(r.last_checkpoint, weights_only=True)["state_dict"] for r in (whole, resumed))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert resumed.metrics_file.read_bytes() == whole.metrics_file.read_bytes()


def test_other_data_is_refused_and_other_code_is_said(small, tmp_path, interrupted, capsys):
    text = tmp_path / "text.txt"
    text.write_text("a line of it, and then another one\n" * 300)
    options = [*CHARS, f"data.path={text}"]
    _, run = interrupted(*options, at=6, base=())
    run.update(status="stopped")
    manifest = run.manifest
    manifest["sources"]["rnnlab"] = "another"
    run.write_manifest(manifest)
    capsys.readouterr()
    again = small(*options, outputs=tmp_path / "interrupted", base=())
    assert "goes on with other code: rnnlab has changed" in capsys.readouterr().err
    assert again.manifest["changed_on_the_way"] == ["rnnlab has changed"]
    run.update(status="stopped")
    text.write_text("a line of it, and then another one\n" * 301)
    with pytest.raises(UserError, match=r"trained on other data .*rerun=true"):
        small(*options, outputs=tmp_path / "interrupted", base=())


def test_who_fails_to_go_on_loses_nothing_of_what_was_learned(small, monkeypatch):
    """Neither by what is wrong with the second command nor, in a sweep, with the data of the day."""
    run = small()
    whole = run.metrics_file.read_bytes()

    def refused(*_, **__):
        raise UserError("it cannot be today")

    def by_itself():
        with monkeypatch.context() as today:
            today.setattr("rnnlab.training.stages.make_trainer", refused)
            with pytest.raises(UserError, match="today"):
                small()

    def in_a_worker():
        job = Job(0, run.config, Place(run.folder, run.id, run.record["group"], ""), [], [])
        record_failure(run, job, UserError("it cannot be today"))

    # what is refused leaves a run as it is
    for fail, status in ((by_itself, "stopped"), (in_a_worker, "failed")):
        run.update(status="stopped")
        fail()
        assert run.status == status and checkpoint_of(run) == run.last_checkpoint
        written = run.best_checkpoint.stat().st_ino
        assert small().status == "finished" and run.metrics_file.read_bytes() == whole
        assert run.best_checkpoint.stat().st_ino == written  # not trained once more
