"""Checkpoints: best and last, written whole then renamed, loadable with weights_only=True."""

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
from rnnlab.runs.files import settle, settle_all, write_whole
from rnnlab.runs.load import read_checkpoint
from rnnlab.runs.metrics import as_logged
from rnnlab.runs.run import Run
from rnnlab.tasks.task import Task
from rnnlab.training import stock_checkpoints as stock
from rnnlab.training.recorder import TRAINING, Recorder

LATER = {"durable": False}


class WholeFiles(TorchCheckpointIO):
    """Lightning's way of writing a checkpoint, but with a checksum, and never half of one: stock callbacks get it too.

    `check` is asked first, and raises where nothing may be written any more: no folder is made again. `run`, the name
    of the run's folder, is noted in each. With the option LATER somebody else waits until it is on the disk.
    """

    def __init__(self, check: Callable[[], None] = lambda: None, run: str = "") -> None:
        super().__init__()
        self.check, self.run = check, run

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint | {stock.OF_RUN: self.run} if self.run else checkpoint, buffer)
        self.check()
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_whole(Path(path), with_checksum(buffer.getvalue()), durable=storage_options != LATER)


class Measured(Callback):
    """Keeps the weights that a validation measured, for a callback, or the module, may put others in for its time, or
    for a batch's: averages, say.

    It comes before those, which take theirs out again when the validation, or its batch, ends.
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
        """What the last validation of a Trainer measured; None where its weights were those in training."""
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        return next((c.weights for c in callbacks if isinstance(c, Measured)), None)


class Checkpoints(Checkpoint):
    """Keeps the best weights in memory, and writes best.ckpt and last.ckpt when a checkpoint is due.

    Due is every `every_n_steps` optimizer steps, every `every_seconds` seconds, and the end of training.
    last.ckpt holds everything that resuming needs, the best weights so far among it, and is the commit point: it is
    written as next.ckpt and takes its place when it is on the disk; the one before stays as previous.ckpt.
    best.ckpt holds the weights at the best `monitor`. Where it was written after the checkpoint that a run goes on
    from, or is damaged, it is written anew.

    Checkpoints are taken between two batches, when the validation and the schedule of the one before are done,
    and at no other moment: going on from there repeats nothing and leaves nothing out. Where gradients are
    accumulated they wait for the optimizer's step.

    Of several processes all take part in a checkpoint at the same step, when rank 0 says, which alone writes it.
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
        waits: Callable[[], object] = lambda: None,
    ) -> None:
        self.run, self.recorder, self.monitor, self.writes = run, recorder, monitor, writes
        self.sign = 1.0 if mode == "min" else -1.0
        self.check = check  # raises where nothing may be written any more
        self.waits = waits  # told when the training has ended, and only the disk is waited for
        self.engine = engine  # noted in every checkpoint
        self.every_n_steps, self.every_seconds = every_n_steps, every_seconds
        self.best: dict[str, Any] = {}  # value, step, epoch, metrics: what stood at the best validation
        self.last: dict[str, Any] = {}
        self.ended = ""  # how the training came to its end: "limit", "early" by the config, "callback"
        self._began: tuple[int, str] = (
            0,
            "",
        )  # the step that it began or went on from, and how it had ended there
        self._best_weights: dict[str, torch.Tensor] | None = None
        self._best_flat: Callable[[], dict[str, torch.Tensor]] | None = (
            None  # makes them, from one copy of all
        )
        self._best_written = self._settled = False
        self._of_stock: dict[str, Any] = {}  # what the checkpoint remembers of stock callbacks
        self._should_stop = False  # whether a callback had asked for the end; min_epochs may put it off
        self._announced: dict[str, torch.Tensor] = {}  # the metrics that callbacks found in the Trainer then
        self._saved_at = (time.monotonic(), 0)
        self._stepped: int | None = None
        self._begun_at, self._seconds_before = time.perf_counter(), 0.0

    def begin(self, seconds_before: float) -> None:
        """From here on time counts, behind that of what a run goes on from."""
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
        """Where Lightning takes up a run behind a validation it counts a step too many, for `self.log` alone."""
        if self._stepped is not None:
            trainer.fit_loop.epoch_loop._batches_that_stepped, self._stepped = self._stepped, None

    @property
    def best_weights(self) -> dict[str, torch.Tensor] | None:
        """Those of the best validation so far, each a tensor of its own."""
        if self._best_flat is not None:
            self._best_weights, self._best_flat = self._best_flat(), None
        return self._best_weights

    @best_weights.setter
    def best_weights(self, weights: dict[str, torch.Tensor] | None) -> None:
        self._best_weights, self._best_flat = weights, None

    @property
    def best_model_path(self) -> str:
        """Where `trainer.test(ckpt_path="best")` of a callback finds them; "" where they are not written yet."""
        return str(self.run.best_checkpoint) if self.run.best_checkpoint.exists() else ""

    @property
    def due_at(self) -> int:
        """The optimizer step behind which the next checkpoint is due, where they go by steps."""
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
        """best.ckpt and stock checkpoints follow what the run goes on from; and what has ended trains no further."""
        stock.recall(trainer, self.run.folder.name, self._of_stock, self.writes)
        if self.best_weights is not None and self.writes:
            self._best_written = not checksum_error(self.run.best_checkpoint) and self._is_of_best()
            self.write_best(task)
        trainer.should_stop = self._should_stop  # at its limit it stops by itself, or goes on to a later one

    def _is_of_best(self) -> bool:
        return bool(read_checkpoint(self.run.best_checkpoint)["best"] == self.best)

    def on_validation_end(self, trainer: Trainer, task: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        ours = hasattr(
            task, "scalars"
        )  # whose mean training loss the recorder announces, for callbacks alone
        metrics = {k: float(v) for k, v in trainer.callback_metrics.items() if k != TRAINING or not ours}
        metrics |= getattr(task, "evaluated", {})  # Lightning's are rounded to single precision
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
        """Any number is better than none: a metric may not be defined at the first validations."""
        return self.sign * value < self.sign * than or (math.isnan(than) and not math.isnan(value))

    def save(self, trainer: Trainer, task: LightningModule, at_end: bool = False) -> None:
        """Writes a checkpoint, and waits until it is on the disk. `at_end` leaves it to the run's record, which is
        about to be written (`Run.update`), to wait until it has its name there, too.
        """
        if rehearsal(trainer):
            return
        self.count_rightly(trainer)
        following = self.run.last_checkpoint.with_name("next.ckpt")
        self.check()
        self.recorder.flush(trainer, task)
        self._saved_at = (time.monotonic(), trainer.global_step)
        if not self.writes:
            trainer.save_checkpoint(following)  # rank 0 is given this one's part of it
            return
        # a first one may wait for the others; what a run has already is not put at risk
        self.write_best(task, None if self.run.best_checkpoint.exists() else LATER)
        trainer.save_checkpoint(following, storage_options=LATER)
        self.check()
        grown = [self.run.folder / name for name in self.recorder.lengths]
        begun = () if self._settled else self.run.beginnings
        if at_end:
            self.waits()
        settle_all([*begun, *grown, self.run.best_checkpoint, following, following.parent, self.run.folder])
        self._settled = True
        self.check()  # waiting may have taken long
        if self.run.last_checkpoint.exists():
            self.run.last_checkpoint.replace(self.run.previous_checkpoint)
        following.replace(self.run.last_checkpoint)
        if not at_end:
            settle(following.parent)
            self.check()
            self.run.update(seconds=self.seconds)  # a run that is killed goes on counting from here

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
        }
        WholeFiles(self.check).save_checkpoint(checkpoint, self.run.best_checkpoint, options)
        self._best_written = True

    def on_train_end(self, trainer: Trainer, task: LightningModule) -> None:
        if not self.last:  # nothing was validated: the last weights are all there is
            self.best = {"step": trainer.global_step, "epoch": trainer.current_epoch, "metrics": {}}
            self.best_weights, self._best_written = task.state_dict(), False
        step, ended = self._began
        self.ended = ended if ended and step == trainer.global_step else how_it_ended(trainer)
        self.save(trainer, task, at_end=True)

    def on_exception(self, trainer: Trainer, task: LightningModule, exception: BaseException) -> None:
        """Keeps the best weights; the last are not worth keeping when the loss is lost."""
        if not rehearsal(trainer):
            self.write_best(task)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "last": self.last, "best_weights": self.best_weights, "ended": self.ended}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.last, self.ended = state["best"], state["last"], state["ended"]
        self.best_weights = state["best_weights"]


def world_of(task: LightningModule) -> Any:
    """The processes that train a task together; None where one does."""
    return task.world if isinstance(task, Task) else None


def between_steps(trainer: Trainer, task: LightningModule) -> bool:
    """Whether no optimizer step is under way: gradients half accumulated are in no checkpoint."""
    if task.automatic_optimization:
        return trainer.fit_loop.epoch_loop.batch_idx % trainer.accumulate_grad_batches == 0
    return not getattr(task, "_micro_losses", None)


def how_it_ended(trainer: Trainer) -> str:
    """By its "limit"; "early", by an EarlyStopping or a Timer (`trainer.max_time`); or by a "callback" that has set
    `trainer.should_stop` before a limit was reached.
    """
    if not trainer.should_stop:
        return "limit"
    loop: Any = trainer.fit_loop
    last = (
        loop.epoch_loop.batch_progress.is_last_batch
    )  # else its epoch, which counts as processed, was cut off
    epochs = loop.epoch_progress.current.processed - (not last)
    limits = ((trainer.max_steps, trainer.global_step), (trainer.max_epochs, epochs))
    if any(limit is not None and 0 <= limit <= done for limit, done in limits):
        return "early"
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return "early" if any(map(_had_its_way, callbacks)) else "callback"


def _had_its_way(callback: Any) -> bool:
    if isinstance(callback, EarlyStopping):
        return callback.stopping_reason != EarlyStoppingReason.NOT_STOPPED
    left = callback.time_remaining() if isinstance(callback, Timer) else None
    return left is not None and left <= 0


def rehearsal(trainer: Trainer) -> bool:
    """Whether this is `fast_dev_run`, which leaves nothing behind."""
    return bool(getattr(trainer, "fast_dev_run", False))
