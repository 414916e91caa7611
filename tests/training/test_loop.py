"""The loop against Lightning's own: every hook, in the same order, in the same state."""

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping

from rnnlab.data import Sine
from rnnlab.data.loader import Loader, in_order
from rnnlab.training.loop import Loop

HOOKS = tuple(name for name in vars(Callback) if name.startswith(("on_train", "on_validation", "on_test")))
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


class Listener(Callback):
    """Hears every hook."""

    locals().update({hook: listening(hook) for hook in HOOKS})


class Known(Listener):
    """The same, but one of ours, that never logs."""


class Logging(Callback):
    """One of a user's own, that logs."""

    def on_validation_end(self, trainer, task):
        Logging.seen = trainer.callback_metrics["mine"]

    def on_validation_epoch_end(self, trainer, task):
        task.log("mine", float(trainer.global_step))

    def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
        task.log("batch", float(trainer.global_step), on_step=True, on_epoch=False)
        task.log("epoch_mean", float(trainer.global_step), on_step=False, on_epoch=True)


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


def heard_by(small, outputs, name, *asked):
    HEARD.clear()
    run = small(*asked, f"+callbacks.listener._target_=test_loop.{name}", outputs=outputs)
    last = torch.load(run.last_checkpoint, weights_only=True)
    weights = {k: v.tolist() for k, v in last["state_dict"].items()}
    at = last["loops"]["fit_loop"]["state_dict"]
    return list(HEARD), (at, last["lr_schedulers"], weights, run.metrics_file.read_bytes(), run.results)


@pytest.mark.parametrize("name", ["Listener", "Known"])
@pytest.mark.parametrize("engine", ["torch", "native"])
@pytest.mark.parametrize("case", CASES)
def test_every_hook_is_heard_as_in_lightnings_loops(small, tmp_path, monkeypatch, case, engine, name):
    asked = (f"model.engine={engine}", "trainer.steps_per_call=1", *CASES[case])
    ours = heard_by(small, tmp_path / "ours", name, *asked)
    monkeypatch.setattr(Loop, "_is_ours", lambda self: False)
    theirs = heard_by(small, tmp_path / "theirs", name, *asked)
    assert len(theirs[0]) > 20
    assert [one[0] for one in ours[0]] == [other[0] for other in theirs[0]]
    for one, other in zip(ours[0], theirs[0], strict=True):
        assert one == other
    assert ours[1] == theirs[1]


@pytest.mark.parametrize("own", [True, False])
def test_what_a_callback_of_the_users_own_logs_arrives(small, tmp_path, monkeypatch, own):
    if not own:
        monkeypatch.setattr(Loop, "_is_ours", lambda self: False)
    run = small("+callbacks.log._target_=test_loop.Logging", outputs=tmp_path)
    assert Logging.seen == 12
    at = {name: (list(steps), list(values)) for name, (steps, values) in run.metrics.items()}
    assert at["mine"] == ([3, 7, 11], [4, 8, 12])  # Lightning counts the steps of `self.log` from 0
    assert at["batch"] == (list(range(12)), list(range(1, 13)))
    assert at["epoch_mean"] == ([3, 7, 11], pytest.approx([2.4, 6.4, 10.4]))  # by rows of the batches


class Growing(Sine):
    """Its loader, made anew for each epoch, gives ever larger batches."""

    def train_dataloader(self):
        epoch = self.trainer.current_epoch if self.trainer else 0
        return Loader(self.loader("train").fetch, in_order(len(self.starts("train")), 20 * (epoch + 1)))


@pytest.mark.parametrize("own", [True, False])
def test_loaders_are_made_anew_where_the_trainer_is_told_to(small, tmp_path, monkeypatch, own):
    if not own:
        monkeypatch.setattr(Loop, "_is_ours", lambda self: False)
    anew = "+trainer.reload_dataloaders_every_n_epochs"
    for every, steps in ((1, 6 + 3 + 2), (2, 6 + 6 + 2)):  # 120 windows in batches of 20, 40 and 60
        run = small("data._target_=test_loop.Growing", f"{anew}={every}", outputs=tmp_path / str(every))
        assert run.results["steps"] == steps
