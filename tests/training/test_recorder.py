"""From what the steps measured to the loggers: which scalars are kept, in which order, and which loss ends it all."""

import types

import pytest
import torch
from lightning.pytorch import Callback

from rnnlab.runs.metrics import Scalars
from rnnlab.training.recorder import Diverged, Recorder


class Kept:
    """A logger of the user's own."""

    def __init__(self):
        self.steps = []

    def log_metrics(self, metrics, step):
        self.steps.append((step, metrics["loss/train"]))


def recorded(batches, **options):
    logger, recorder = Kept(), Recorder(**options)
    trainer, task = types.SimpleNamespace(loggers=[logger]), types.SimpleNamespace(scalars=list(batches))
    try:
        recorder.take(trainer, task)
    except Diverged as error:
        assert task.scalars == []
        return logger.steps, str(error)
    return logger.steps, ""


def as_one(losses):
    return [Scalars(range(1, 1 + len(losses)), {"loss/train": losses})]


def as_steps(losses):
    return [Scalars.of(step, {"loss/train": loss}) for step, loss in enumerate(losses, 1)]


@pytest.mark.parametrize("handed_on", [as_one, as_steps])
def test_every_nth_step_is_kept_up_to_the_loss_that_diverged(handed_on):
    losses = [2.0, 1.0, 19.9, -20.0, 1.0, 20.1, 1.0, 1.0]
    kept, why = recorded(handed_on(losses), every=2, divergence_factor=10.0)
    assert kept == [(2, 1.0), (4, -20.0)]
    assert "from 2 to 20.1 at step 6" in why
    kept, why = recorded(handed_on([2.0, 1e9, float("nan"), 1.0]), divergence_factor=None)
    assert kept == [(1, 2.0), (2, 1e9)] and "nan at step 3" in why
    kept, why = recorded(handed_on([float("inf"), 1.0]))
    assert kept == [] and "inf at step 1" in why
    kept, why = recorded(handed_on([2.0, 1.0, float("nan")]), every=0)  # none, as in Lightning
    assert kept == [] and "nan at step 3" in why


@pytest.mark.parametrize("handed_on", [as_one, as_steps])
def test_a_first_loss_of_nearly_0_is_no_measure_of_the_others(handed_on):
    kept, why = recorded(handed_on([1e-9, 0.5, 3.0, 10.5]), divergence_factor=10.0)
    assert [loss for _, loss in kept] == [1e-9, 0.5, 3.0] and "from 1e-09 to 10.5 at step 4" in why
    kept, why = recorded(handed_on([1e-3, 0.5]), divergence_factor=10.0)
    assert len(kept) == 1 and "from 0.001 to 0.5 at step 2" in why


@pytest.mark.parametrize("engine", ["torch", "native"])
def test_a_run_that_keeps_every_third_step_has_the_rows_of_one_that_keeps_all(small, engine):
    whole = small(f"model.engine={engine}").metrics
    third = small(f"model.engine={engine}", "trainer.log_every_n_steps=3", "rerun=true").metrics
    assert third.keys() == whole.keys()
    for name, (steps, values) in whole.items():
        kept = steps % 3 == 0 if name.split("/")[0] == "optim" or name == "loss/train" else steps > 0
        assert third[name][0].tolist() == steps[kept].tolist()
        assert third[name][1].tolist() == values[kept].tolist()


class Own(Callback):
    """Logs by itself, as Lightning lets a callback do."""

    def on_train_batch_end(self, trainer, task, *_):
        for logger in trainer.loggers:
            logger.log_metrics({"own/twice": 2.0 * trainer.global_step, "epoch": 1}, trainer.global_step)


def test_what_a_callback_logs_stands_behind_the_step_it_saw_and_without_lightnings_epoch(small):
    run = small("+callbacks.own._target_=test_recorder.Own", "trainer.max_epochs=1", "model.engine=torch")
    rows = [line.split(",")[:2] for line in run.metrics_file.read_text().splitlines()[1:]]
    steps = run.results["steps"]
    training = [
        row for row in rows if row[1].split("/")[0] in ("loss", "optim", "own") and row[1] != "loss/val"
    ]
    names = ["loss/train", "optim/lr", "optim/grad_norm", "own/twice"]
    assert training == [[str(step), name] for step in range(1, steps + 1) for name in names]
    assert not any(name == "epoch" for _, name in rows)


def test_scalars_on_a_device_are_read_when_they_are_taken():
    kept, why = recorded([Scalars.of(1, {"loss/train": torch.tensor(0.5)})])
    assert kept == [(1, 0.5)] and type(kept[0][1]) is float and not why


@pytest.mark.parametrize("split", [as_one, as_steps])
def test_a_loss_that_falls_far_below_zero_has_not_diverged(split):
    """The logarithm of a density may begin near 0."""
    assert recorded(split([0.001, -0.5, -4.0])) == ([(1, 0.001), (2, -0.5), (3, -4.0)], "")
    kept, why = recorded(split([-0.001, -0.5, 2.0]))
    assert kept == [(1, -0.001), (2, -0.5)] and "has grown from -0.001 to 2 at step 3" in why
    assert "the loss is -inf at step 2" in recorded(split([0.5, -torch.inf]))[1]
