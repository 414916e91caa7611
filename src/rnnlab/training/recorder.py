"""Takes what the steps measured to the loggers, and stops a training whose loss is lost."""

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from rnnlab.errors import RunFailed
from rnnlab.runs.metrics import Course, Entry
from rnnlab.training.loggers import Journal, MetricsFile, TensorBoard


class Diverged(RunFailed):
    """The training loss is not finite, or many times what it was at the first step."""


class Recorder(Callback):
    """The only way from a task's `scalars` to the loggers.

    No `self.log` in the inner loop: steps leave their numbers in a list, which is taken, checked and handed on
    at most once per `flush_s`, and before a checkpoint. Of training's entries every `every`-th step is kept.
    A loss that is not finite, or above `divergence_factor` times the first, raises `Diverged`.
    """

    patient = True  # can wait for the end of a call of the kernels

    def __init__(
        self,
        every: int = 1,
        divergence_factor: float | None = 1000.0,
        flush_s: float = 1.0,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.check_folder = check  # raises where nothing may be written any more
        self.every, self.divergence_factor, self.flush_s = every, divergence_factor, flush_s
        self.first_loss: float | None = None
        self.lengths: dict[str, int] = {}
        self.digests: dict[str, str] = {}
        self._waiting: list[Entry] = []
        self._flushed_at = (time.perf_counter(), 0)

    def on_fit_start(self, trainer: Trainer, task: LightningModule) -> None:
        self.cut(trainer)  # here, and not when training starts: it does not where a run had come to its end
        for logger in trainer.loggers:
            if isinstance(logger, (MetricsFile, TensorBoard)):
                logger.before_others = lambda: self.hand_over(trainer)

    def on_train_start(self, trainer: Trainer, task: LightningModule) -> None:
        self._flushed_at = (time.perf_counter(), trainer.global_step)

    def on_train_batch_end(self, trainer: Trainer, task: LightningModule, outputs: Any, *_: Any) -> None:
        scalars = getattr(task, "scalars", None)
        if scalars is None:  # a module of the user's own, which logs by itself
            loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
            if loss is not None and task.device.type == "cpu":
                self.check(trainer.global_step, float(loss))
        elif scalars and (task.device.type == "cpu" or len(scalars) >= 64):  # off the CPU reading is waiting
            self.take(task)
        if time.perf_counter() - self._flushed_at[0] > self.flush_s:
            self.flush(trainer, task)

    def on_validation_end(self, trainer: Trainer, task: LightningModule) -> None:
        self.take(task)

    def take(self, task: LightningModule) -> None:
        """Moves the task's scalars here, as floats, and checks the losses among them."""
        scalars = getattr(task, "scalars", None)
        if not scalars:
            return
        entries, scalars[:] = list(scalars), []
        for step, measured in entries:
            if isinstance(measured.get("loss/train"), np.ndarray):
                self.take_many(step, measured)
                continue
            values = {
                k: float(v) if isinstance(v, torch.Tensor) else v
                for k, v in measured.items()
                if v is not None
            }
            if "loss/train" in values:
                self.check(step, values["loss/train"])
                if step % self.every:
                    continue
            self._waiting.append((step, values))

    def take_many(self, first: int, measured: dict[str, Any]) -> None:
        """`take` for a call of the kernels: arrays with a value for each step from `first` on."""
        losses = measured["loss/train"]
        if self.first_loss is None and len(losses) and math.isfinite(losses[0]):
            self.first_loss = float(losses[0])
        limit = math.inf
        if self.divergence_factor and self.first_loss is not None:
            limit = self.divergence_factor * max(abs(self.first_loss), 1e-12)
        sound, largest = len(losses), min(limit, np.finfo(np.float64).max)
        if not np.abs(losses).max() <= largest:
            sound = int(np.flatnonzero(~(np.abs(losses) <= largest))[0])
        kept = slice(-first % self.every, sound, self.every)
        columns = {name: values[kept] for name, values in measured.items()}
        self._waiting.append(Course(range(first, first + len(losses))[kept], columns))
        if sound < len(losses):
            self.check(first + sound, float(losses[sound]))

    def check(self, step: int, loss: float) -> None:
        if not math.isfinite(loss):
            raise Diverged(
                f"the loss is {loss} at step {step}; a smaller optimizer.lr or trainer.gradient_clip_val may help"
            )
        if self.first_loss is None:
            self.first_loss = loss
        elif self.divergence_factor and abs(loss) > self.divergence_factor * max(abs(self.first_loss), 1e-12):
            raise Diverged(
                f"the loss has grown from {self.first_loss:.4g} to {loss:.4g} at step {step}, more than "
                f"{self.divergence_factor:g}-fold; a smaller optimizer.lr or trainer.gradient_clip_val may help"
            )

    def flush(self, trainer: Trainer, task: LightningModule, durable: bool = False) -> None:
        """Hands everything to the loggers and the files; remembers the files' lengths and checksums.

        `durable` waits until the files are on the disk, as a checkpoint must that knows their lengths.
        """
        self.check_folder()
        self.take(task)
        self.hand_over(trainer)
        now, (before, steps) = time.perf_counter(), self._flushed_at
        if trainer.global_step > steps and now > before:
            for logger in trainer.loggers:
                logger.log_metrics(
                    {"speed/steps_per_s": (trainer.global_step - steps) / (now - before)}, trainer.global_step
                )
        self._flushed_at = (now, trainer.global_step)
        for journal in journals(trainer):
            self.lengths[journal.path.name] = journal.flush(durable)
            self.digests[journal.path.name] = journal.digest

    def hand_over(self, trainer: Trainer) -> None:
        entries, self._waiting = self._waiting, []
        for logger in trainer.loggers:
            log(logger, entries)

    def on_train_end(self, trainer: Trainer, task: LightningModule) -> None:
        self.flush(trainer, task)

    def on_exception(self, trainer: Trainer, task: LightningModule, exception: BaseException) -> None:
        self.flush(trainer, task)

    def state_dict(self) -> dict[str, Any]:
        return {"first_loss": self.first_loss, "lengths": self.lengths, "digests": self.digests}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.first_loss, self.lengths = state["first_loss"], state["lengths"]

    def cut(self, trainer: Trainer) -> None:
        """Cuts the files back to what the checkpoint just loaded knew of."""
        for journal in journals(trainer):
            if journal.path.name in self.lengths:
                journal.cut(self.lengths[journal.path.name])


def log(logger: Any, entries: list[Entry]) -> None:
    if hasattr(logger, "log_entries"):
        logger.log_entries(entries)
        return
    for entry in entries:  # a logger that knows single steps
        if isinstance(entry, Course):
            for i, step in enumerate(entry.steps):
                values = {name: float(column[i]) for name, column in entry.columns.items()}
                logger.log_metrics(values, step)
        else:
            logger.log_metrics(entry[1], entry[0])


def journals(trainer: Trainer) -> list[Journal]:
    return [logger.journal for logger in trainer.loggers if isinstance(logger, (MetricsFile, TensorBoard))]
