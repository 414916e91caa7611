"""Writes the checkpoints best.ckpt and last.ckpt: each file is complete before it gets its name (atomic rename), and
loads with `weights_only=True`.
"""

import io
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping, Timer
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason

from rnnlab.errors import UserError
from rnnlab.runs.checksum import checksum_error, with_checksum
from rnnlab.runs.files import sync_all, sync_folder, write_whole
from rnnlab.runs.load import read_checkpoint
from rnnlab.runs.metrics import as_logged
from rnnlab.runs.run import Run
from rnnlab.tasks.task import Task
from rnnlab.tasks.trainer import callbacks_of
from rnnlab.training import stock_checkpoints as stock
from rnnlab.training.recorder import TRAINING, Recorder

LATER = {"durable": False}


class WholeFiles(TorchCheckpointIO):
    """Lightning's writer of checkpoints, with a checksum and an atomic rename; Lightning's own callbacks use it, too.

    `check` is called first, and raises where nothing may be written any more, so that no deleted folder is made again.
    `run`, the name of the run's folder, is stored in each checkpoint. With the option LATER the caller must wait until
    the file is on the disk.
    """

    def __init__(self, check: Callable[[], None] = lambda: None, run: str = "") -> None:
        super().__init__()
        self.check, self.run = check, run

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        if storage_options == LATER:  # the run's own, which is read with weights_only=True
            checkpoint = with_plain_hyperparameters(checkpoint)
        buffer = io.BytesIO()
        torch.save(checkpoint | {stock.OF_RUN: self.run} if self.run else checkpoint, buffer)
        self.check()
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_whole(Path(path), with_checksum(buffer.getvalue()), durable=storage_options != LATER)


def with_plain_hyperparameters(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint without hyperparameters that are no plain values: weights_only=True would refuse the whole file."""
    return {key: value for key, value in checkpoint.items()
            if not key.endswith(("hyper_parameters", "hparams_type")) or is_plain(value)}  # fmt: skip


def is_plain(value: Any) -> bool:
    if type(value) is dict:
        return all(type(key) in (str, int) and is_plain(inner) for key, inner in value.items())
    if type(value) in (list, tuple):
        return all(map(is_plain, value))
    return value is None or type(value) in (bool, int, float, str, torch.Tensor)


def hyperparameters(task: LightningModule) -> dict[str, Any]:
    """The arguments for Lightning's `load_from_checkpoint`; {} where one is no plain value: the others alone would give
    it its default, silently.
    """
    values = dict(getattr(task, "hparams", {}))
    if not values or not is_plain(values):
        return {}
    name = getattr(task, "_hparams_name", None)
    return {task.CHECKPOINT_HYPER_PARAMS_KEY: values} | (
        {task.CHECKPOINT_HYPER_PARAMS_NAME: name} if name else {}
    )


class Measured(Callback):
    """Keeps a copy of the weights that a validation measured. They may differ from the weights in training: a callback,
    or the module, may replace the weights (by averages, for example) during a validation or one of its batches.

    This callback stands before such a callback in the list, so that it copies the weights before they are put back.
    """

    patient = True

    def __init__(self) -> None:
        self.weights: dict[str, torch.Tensor] | None = None

    def on_validation_start(self, trainer: Trainer, task: LightningModule) -> None:
        self.weights = None

    def on_validation_batch_end(self, trainer: Trainer, task: LightningModule, *_: Any) -> None:
        self.on_validation_epoch_end(trainer, task)

    def on_validation_epoch_end(self, trainer: Trainer, task: LightningModule) -> None:
        if self.weights is None:
            self.weights = {k: v.detach().clone() for k, v in task.state_dict().items()}

    @staticmethod
    def of(trainer: Trainer) -> dict[str, torch.Tensor] | None:
        """The weights that the last validation measured; None in a Trainer without this callback."""
        return next((c.weights for c in callbacks_of(trainer) if isinstance(c, Measured)), None)


class Checkpoints(Checkpoint):
    """Keeps the best weights in memory, and writes best.ckpt and last.ckpt when a checkpoint is due.

    A checkpoint is due every `every_n_steps` optimizer steps, every `every_seconds` seconds, and at the training's end.
    last.ckpt holds everything that resuming needs, including the best weights so far. It is the commit point: it is
    written as next.ckpt and renamed once it is on the disk; the checkpoint before it stays as previous.ckpt.
    best.ckpt holds the weights at the best `monitor`. When a run resumes, best.ckpt is written again if it is damaged
    or newer than the checkpoint.

    Checkpoints are taken only between two batches, after the validation and the schedule step of the first, so that
    resuming repeats nothing and skips nothing. Where gradients are accumulated, they wait for the optimizer's step.

    Where several processes train the run, all take part in a checkpoint at the same step. Rank 0 decides when, and
    writes it.
    """

    patient = True  # can wait for the end of a call of the kernels

    def __init__(
        self,
        run: Run,
        recorder: Recorder,
        monitor: str,
        mode: str,
        engine: str = "",
        every_n_steps: int | None = None,
        every_seconds: float | None = 60.0,
        check: Callable[[], None] = lambda: None,
        writes: bool = True,
        disk_wait: Callable[[], object] = lambda: None,
    ) -> None:
        self.run, self.recorder, self.monitor, self.writes = run, recorder, monitor, writes
        self.sign = 1.0 if mode == "min" else -1.0
        self.check = check  # raises where nothing may be written any more
        self.disk_wait = disk_wait  # called when the training has ended and only writing to the disk is left
        self.engine = engine  # stored in every checkpoint
        self.every_n_steps, self.every_seconds = every_n_steps, every_seconds
        self.best: dict[str, Any] = {}  # value, step, epoch and metrics of the best validation
        self.last: dict[str, Any] = {}
        self.ended = ""  # how the training ended, see `how_it_ended`; "" while it trains
        # the step where this training began or resumed, and `ended` of the checkpoint there
        self._began: tuple[int, str] = (0, "")
        self._best_weights: dict[str, torch.Tensor] | None = None
        # makes `_best_weights` from one flat copy of all parameters, when they are needed
        self._best_flat: Callable[[], dict[str, torch.Tensor]] | None = None
        self._best_written = self._synced = False
        # read from the checkpoint that the run resumes from:
        self._of_stock: dict[str, Any] = {}  # extra state of Lightning's ModelCheckpoint callbacks
        self._should_stop = False  # whether a callback had asked to stop; min_epochs may delay the stop
        self._announced: dict[str, torch.Tensor] = {}  # trainer.callback_metrics at that checkpoint
        self._saved_at = (time.monotonic(), 0)
        self._stepped: int | None = None
        self._begun_at, self._seconds_before = time.perf_counter(), 0.0

    def begin(self, seconds_before: float) -> None:
        """Starts the clock of the run, at the seconds that it had taken before."""
        self._begun_at, self._seconds_before = time.perf_counter(), seconds_before

    @property
    def seconds(self) -> float:
        return round(self._seconds_before + time.perf_counter() - self._begun_at, 3)

    def on_train_start(self, trainer: Trainer, task: LightningModule) -> None:
        self._began, self.ended = (trainer.global_step, self.ended), ""
        trainer.callback_metrics.update(self._announced)
        self._saved_at = (time.monotonic(), trainer.global_step)
        self._stepped = trainer.fit_loop.epoch_loop._batches_that_stepped

    def count_rightly(self, trainer: Trainer) -> None:
        """Corrects the step that `self.log` uses: Lightning counts one too many when it resumes after a validation."""
        if self._stepped is not None:
            trainer.fit_loop.epoch_loop._batches_that_stepped, self._stepped = self._stepped, None

    @property
    def best_weights(self) -> dict[str, torch.Tensor] | None:
        """The weights of the best validation so far, each a separate tensor; None before the first."""
        if self._best_flat is not None:
            self._best_weights, self._best_flat = self._best_flat(), None
        return self._best_weights

    @best_weights.setter
    def best_weights(self, weights: dict[str, torch.Tensor] | None) -> None:
        self._best_weights, self._best_flat = weights, None

    @property
    def best_model_path(self) -> str:
        """The path that Lightning loads for `trainer.test(ckpt_path="best")`; "" until best.ckpt is written."""
        return str(self.run.best_checkpoint) if self.run.best_checkpoint.exists() else ""

    @property
    def due_at(self) -> int:
        """The optimizer step after which the next checkpoint is due; needs `every_n_steps`."""
        return self._saved_at[1] + (self.every_n_steps or 0)

    def between_batches(self, trainer: Trainer, task: LightningModule) -> None:
        self.count_rightly(trainer)
        seconds, step = self._saved_at
        by_steps = self.every_n_steps is not None and trainer.global_step - step >= self.every_n_steps
        by_time = self.every_seconds is not None and time.monotonic() - seconds >= self.every_seconds
        if self.every_seconds is not None and (world := world_of(task)) is not None:
            (due,) = world.first("due" * (by_time and self.writes))  # their clocks differ
            by_time = bool(due)
        if (by_steps or by_time) and between_steps(trainer, task):
            self.save(trainer, task)

    def on_save_checkpoint(self, trainer: Trainer, task: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["engine"] = self.engine
        checkpoint["stock"] = stock.remember(trainer)
        checkpoint["announced"] = dict(trainer.callback_metrics)
        checkpoint["should_stop"] = trainer.should_stop

    def on_load_checkpoint(self, trainer: Trainer, task: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._of_stock = checkpoint.get("stock", {})
        self._announced = checkpoint.get("announced", {})
        self._should_stop = checkpoint.get("should_stop", False)

    def on_fit_start(self, trainer: Trainer, task: LightningModule) -> None:
        """Brings best.ckpt and Lightning's own checkpoints to the state of the checkpoint that the run resumes from."""
        stock.recall(trainer, self.run.folder.name, self._of_stock, self.writes)
        if self.best_weights is not None and self.writes:
            self._best_written = not checksum_error(self.run.best_checkpoint) and self._is_of_best()
            self.write_best(task)
        # False after a run that reached its limit: the loop stops there by itself, or goes on to a larger limit
        trainer.should_stop = self._should_stop

    def _is_of_best(self) -> bool:
        return bool(read_checkpoint(self.run.best_checkpoint)["best"] == self.best)

    def on_validation_end(self, trainer: Trainer, task: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        # for these tasks the recorder puts the mean training loss into callback_metrics, for callbacks only
        ours = hasattr(task, "scalars")
        metrics = {k: float(v) for k, v in trainer.callback_metrics.items() if k != TRAINING or not ours}
        metrics |= getattr(task, "evaluated", {})  # in double precision; Lightning rounds to single precision
        self.last = {"step": trainer.global_step, "epoch": trainer.current_epoch, "metrics": metrics}
        self.monitor = as_logged(self.monitor, metrics)
        value = metrics.get(self.monitor)
        if value is None:
            known = ", ".join(sorted(metrics)) or "nothing"
            raise UserError(f"monitor={self.monitor}: a validation gives {known}")
        if not self.best or self._is_better(value, self.best["value"]):
            self.best = self.last | {"value": value, "monitor": self.monitor}
            kernels, measured = getattr(task, "kernels", None), Measured.of(trainer)
            self._best_flat = None if kernels is None or measured is not None else kernels.weights(task)
            if self._best_flat is None:
                self.best_weights = measured or {k: v.detach().clone() for k, v in task.state_dict().items()}
            self._best_written = False

    def _is_better(self, value: float, than: float) -> bool:
        """Any number is better than NaN: a metric may be undefined at the first validations."""
        return self.sign * value < self.sign * than or (math.isnan(than) and not math.isnan(value))

    def save(self, trainer: Trainer, task: LightningModule, at_end: bool = False) -> None:
        """Writes a checkpoint, and waits until its content is on the disk, and then until its rename is, too. With
        `at_end` the last wait is left to `Run.update`, which follows.
        """
        if is_fast_dev_run(trainer):
            return
        self.count_rightly(trainer)
        following = self.run.last_checkpoint.with_name("next.ckpt")
        self.check()
        self.recorder.flush(trainer, task)
        self._saved_at = (time.monotonic(), trainer.global_step)
        if not self.writes:
            trainer.save_checkpoint(following)  # writes no file; sends this rank's part to rank 0
            return
        # the first best.ckpt is brought to the disk together with the other files; a later one replaces a good
        # file, and so must be on the disk before its rename
        self.write_best(task, None if self.run.best_checkpoint.exists() else LATER)
        trainer.save_checkpoint(following, storage_options=LATER)
        self.check()
        grown = [self.run.folder / name for name in self.recorder.lengths]
        begun = () if self._synced else self.run.beginnings
        if at_end:
            self.disk_wait()
        sync_all([*begun, *grown, self.run.best_checkpoint, following, following.parent, self.run.folder])
        self._synced = True
        self.check()  # waiting may have taken long
        if self.run.last_checkpoint.exists():
            self.run.last_checkpoint.replace(self.run.previous_checkpoint)
        following.replace(self.run.last_checkpoint)
        if not at_end:
            sync_folder(following.parent)
            self.check()
            self.run.update(seconds=self.seconds)  # a run that is killed and resumes counts on from here

    def write_best(self, task: LightningModule, options: Any = None) -> None:
        """Writes the best weights if they are newer than the file."""
        if self.best_weights is None or self._best_written or not self.writes:
            return
        checkpoint = {
            "state_dict": self.best_weights,
            "spec": getattr(task, "spec", None),
            "best": self.best,
            "epoch": self.best.get("epoch", 0),
            "global_step": self.best.get("step", 0),
            "pytorch-lightning_version": lightning.__version__,
        } | hyperparameters(task)
        WholeFiles(self.check).save_checkpoint(checkpoint, self.run.best_checkpoint, options)
        self._best_written = True

    def on_train_end(self, trainer: Trainer, task: LightningModule) -> None:
        if not self.last:  # no validation: best.ckpt gets the last weights
            self.best = {"step": trainer.global_step, "epoch": trainer.current_epoch, "metrics": {}}
            self.best_weights, self._best_written = task.state_dict(), False
        step, ended = self._began
        self.ended = ended if ended and step == trainer.global_step else how_it_ended(trainer)
        self.save(trainer, task, at_end=True)

    def on_exception(self, trainer: Trainer, task: LightningModule, exception: BaseException) -> None:
        """Writes the best weights. The last ones are not kept: the loss may have diverged."""
        if not is_fast_dev_run(trainer):
            self.write_best(task)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "last": self.last, "best_weights": self.best_weights, "ended": self.ended}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.last, self.ended = state["best"], state["last"], state["ended"]
        self.best_weights = state["best_weights"]


def world_of(task: LightningModule) -> Any:
    """The processes that train a task together (`World`); None where a single process trains it."""
    return task.world if isinstance(task, Task) else None


def between_steps(trainer: Trainer, task: LightningModule) -> bool:
    """Whether no gradients are accumulated for a later step: a checkpoint cannot hold them."""
    if task.automatic_optimization:
        return trainer.fit_loop.epoch_loop.batch_idx % trainer.accumulate_grad_batches == 0
    return not getattr(task, "_micro_losses", None)


def how_it_ended(trainer: Trainer) -> str:
    """How the training ended: "limit"; "early" (EarlyStopping, or Timer for `trainer.max_time`); or "callback": another
    callback set `trainer.should_stop` before a limit was reached.
    """
    if not trainer.should_stop:
        return "limit"
    loop: Any = trainer.fit_loop
    # if not the last, its epoch, which counts as processed, was cut off
    last = loop.epoch_loop.batch_progress.is_last_batch
    epochs = loop.epoch_progress.current.processed - (not last)
    limits = ((trainer.max_steps, trainer.global_step), (trainer.max_epochs, epochs))
    if any(limit is not None and 0 <= limit <= done for limit, done in limits):
        return "early"
    return "early" if any(map(_had_its_way, callbacks_of(trainer))) else "callback"


def _had_its_way(callback: Any) -> bool:
    if isinstance(callback, EarlyStopping):
        return callback.stopping_reason != EarlyStoppingReason.NOT_STOPPED
    left = callback.time_remaining() if isinstance(callback, Timer) else None
    return left is not None and left <= 0


def is_fast_dev_run(trainer: Trainer) -> bool:
    """Whether this is `fast_dev_run`, which leaves no files."""
    return bool(getattr(trainer, "fast_dev_run", False))
