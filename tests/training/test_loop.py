"""The leaner loops against Lightning's own: every hook, in the same order, in the same state."""

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loops.evaluation_loop import _EvaluationLoop

from rnnlab.training.loop import HOOKS

HEARD: list[tuple] = []


def listening(hook):
    def hear(self, trainer, task, *args):
        kinds = [type(a).__name__ for a in args]
        numbers = [a for a in args if isinstance(a, int)]
        HEARD.append(
            (hook, kinds, numbers, trainer.global_step, trainer.current_epoch, str(trainer.state.stage), task.training,
             trainer.is_last_batch, torch.is_grad_enabled(), torch.is_inference_mode_enabled(),
             sorted(trainer.callback_metrics), trainer.should_stop, trainer.fit_loop.epoch_loop.batch_idx,
             trainer.fit_loop.epoch_loop.val_loop.batch_progress.current.completed)
        )  # fmt: skip

    return hear


class Stranger(Callback):
    """Hears every hook; Lightning's own loops serve it."""

    patient = True
    locals().update({hook: listening(hook) for hook in (*HOOKS, "on_train_start", "on_train_end")})


class Known(Stranger):
    """The same, but one that the leaner loops serve."""


class Logging(Callback):
    """One of a user's own, that logs."""

    def on_validation_end(self, trainer, task):
        Logging.seen = trainer.callback_metrics["mine"]

    def on_validation_epoch_end(self, trainer, task):
        task.log("mine", float(trainer.global_step))


Known.__module__ = "rnnlab.known"
STOPPING = f"+callbacks.stop._target_={EarlyStopping.__module__}.EarlyStopping"
CASES = {
    "epochs": ("trainer.max_epochs=3",),
    "steps": ("trainer.max_epochs=-1", "trainer.max_steps=11", "trainer.val_check_interval=2"),
    "across": ("trainer.max_steps=17", "trainer.check_val_every_n_epoch=null", "trainer.val_check_interval=5"),
    "limits": ("trainer.limit_val_batches=1", "trainer.limit_train_batches=2", "trainer.limit_test_batches=1"),
    "seldom": ("trainer.check_val_every_n_epoch=2", "trainer.num_sanity_val_steps=1"),
    "stopped": ("trainer.max_epochs=50", STOPPING, "+callbacks.stop.monitor=loss/val",
                "+callbacks.stop.min_delta=0.5", "+callbacks.stop.patience=2"),
    "plateau": ("scheduler=plateau", "trainer.max_epochs=4"),
    "unvalidated": ("trainer.limit_val_batches=0",),
}  # fmt: skip


def heard_by(small, tmp_path, name, *asked):
    HEARD.clear()
    run = small(*asked, f"+callbacks.listener._target_=test_loops.{name}", outputs=tmp_path / name)
    last = torch.load(run.last_checkpoint, weights_only=True)
    weights = {k: v.tolist() for k, v in last["state_dict"].items()}
    rest = last["loops"], last["lr_schedulers"], weights, run.metrics_file.read_bytes(), run.results
    return list(HEARD), rest


@pytest.mark.parametrize("engine", ["torch", "native"])
@pytest.mark.parametrize("case", CASES)
def test_every_hook_is_heard_as_in_lightnings_loops(small, tmp_path, case, engine):
    asked = (f"model.engine={engine}", "trainer.steps_per_call=1", *CASES[case])
    theirs, ours = (heard_by(small, tmp_path, name, *asked) for name in ("Stranger", "Known"))
    assert len(theirs[0]) > 20
    for one, other in zip(ours[0], theirs[0], strict=True):
        assert one == other
    assert ours[1] == theirs[1]


def test_lightnings_loops_are_taken_for_a_callback_of_the_users_own(small, tmp_path, monkeypatch):
    taken = []
    stock = _EvaluationLoop.run
    monkeypatch.setattr(_EvaluationLoop, "run", lambda self: [taken.append(self), stock(self)][1])
    small(outputs=tmp_path / "a")
    assert not taken
    small("+callbacks.log._target_=test_loops.Logging", outputs=tmp_path / "b")
    assert len(taken) == 4  # three validations and the test
    assert Logging.seen == 12
