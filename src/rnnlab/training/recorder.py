"""Hands the scalars of the steps to the loggers, and stops a training whose loss has diverged."""

import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from rnnlab.errors import RunFailed
from rnnlab.runs.metrics import Scalars
from rnnlab.tasks.trainer import callbacks_of
from rnnlab.training import stock_loggers
from rnnlab.training.loggers import RunLogger, log

TINY = 1e-6
TRAINING, SPEED = "loss/train", "speed/steps_per_s"


class Diverged(RunFailed):
    """The training loss is not finite, or many times as large as at the first step."""


class Recorder(Callback):
    """The only way from a task's `scalars` to the loggers.

    The inner loop does not call `self.log`: steps append batches of scalars to a list, and after the step they are
    checked and handed to the loggers. The files are written at most once per `flush_s` seconds, and before each
    checkpoint. Of the training's scalars every `every`-th step is kept, with 0 none. A loss that is not finite, or
    larger than `divergence_factor` times the first, raises `Diverged`.
    """

    patient = True  # can wait for the end of a call of the kernels

    def __init__(
        self,
        every: int = 1,
        divergence_factor: float | None = 1000.0,
        flush_s: float = 1.0,
        check: Callable[[], None] = lambda: None,
        metrics: Path = Path("metrics.csv"),
    ) -> None:
        self.metrics = metrics
        self.check_folder = check  # raises where nothing may be written any more
        self.every, self.divergence_factor, self.flush_s = every, divergence_factor, flush_s
        self.first_loss: float | None = None
        # sum and number of the epoch's losses so far
        self.since: list[float] = [0.0, 0]
        self.lengths: dict[str, int] = {}
        self.digests: dict[str, str] = {}
        # {step: speed}: on a resume some loggers are given these again, and metrics.csv has none
        self.speeds: dict[int, float] = {}
        self._flushed_at = (time.perf_counter(), 0)
        self._on_cpu = True  # once the training has begun

    def on_fit_start(self, trainer: Trainer, task: LightningModule) -> None:
        """Truncates the files to the lengths in the checkpoint that was just loaded.

        Not in on_train_start, which is not called where the run had already ended.
        """
        for logger in run_loggers(trainer):
            if (length := self.lengths.get(logger.journal.path.name)) is not None:
                logger.journal.cut(length)
        if self.lengths:
            stock_loggers.give_again(trainer.loggers, self.metrics, {SPEED: self.speeds})

    def on_train_start(self, trainer: Trainer, task: LightningModule) -> None:
        self._flushed_at = (time.perf_counter(), trainer.global_step)
        self._on_cpu = task.device.type == "cpu"
        getattr(task, "scalars", []).clear()  # those of a learning-rate or batch-size finder

    def on_train_batch_end(self, trainer: Trainer, task: LightningModule, outputs: Any, *_: Any) -> None:
        scalars = getattr(task, "scalars", None)
        if scalars is None:  # a user-defined module, which logs by itself
            loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
            if loss is not None and self._on_cpu:
                self.check(trainer.global_step, float(loss))
        # on a GPU, reading a number waits for the device
        elif self._on_cpu or len(scalars) >= 64:
            self.take(trainer, task)
        if time.perf_counter() - self._flushed_at[0] > self.flush_s:
            self.flush(trainer, task)

    def on_validation_end(self, trainer: Trainer, task: LightningModule) -> None:
        self.take(trainer, task)

    def on_train_epoch_end(self, trainer: Trainer, task: LightningModule) -> None:
        """Provides the mean of the epoch's training losses to callbacks that monitor it; Lightning calls them later."""
        if any(getattr(callback, "monitor", None) == TRAINING for callback in callbacks_of(trainer)):
            self.take(trainer, task)
            total, n = self.since
            if n:
                trainer.callback_metrics[TRAINING] = torch.tensor(total / n, dtype=torch.float64)
        if trainer.is_last_batch:  # else `max_steps` ended it within the epoch, in which a longer run goes on
            self.since = [0.0, 0]

    def take(self, trainer: Trainer, task: LightningModule) -> None:
        """Hands the task's scalars to the loggers, and checks the losses among them."""
        scalars = getattr(task, "scalars", [])
        batches, scalars[:] = list(scalars), []  # emptied first: after a diverged loss nothing is kept
        for batch in map(Scalars.on_host, batches):
            losses = _listed(batch.columns.get(TRAINING, ()))
            self.since = [self.since[0] + sum(losses), self.since[1] + len(losses)]
            sound = self.sound(losses) if losses else len(batch.steps)
            kept = batch
            if losses and (self.every != 1 or sound < len(losses)):
                due = (i for i in range(sound) if self.every and batch.steps[i] % self.every == 0)
                kept = batch.floats().at(due)
            for logger in trainer.loggers if kept.steps else ():
                log(logger, kept)
            if sound < len(batch.steps):
                self.check(batch.steps[sound], losses[sound])

    def sound(self, losses: Sequence[float]) -> int:
        """How many losses come before the first that is not finite or has diverged."""
        if self.first_loss is None and math.isfinite(losses[0]):
            self.first_loss = losses[0]
        most = sys.float_info.max
        limit = min(self.limit, most)
        # the usual case, in less time
        if -most <= min(losses) and max(losses) <= limit and math.isfinite(sum(losses)):
            return len(losses)
        return next((i for i, loss in enumerate(losses) if not -most <= loss <= limit), len(losses))

    @property
    def limit(self) -> float:
        """The largest loss that does not count as diverged; a logarithmic one may fall below 0 without limit. A first
        loss of nearly 0, such as of a batch of zeros, is no measure of the others: 1 takes its place.
        """
        if not self.divergence_factor or self.first_loss is None:
            return math.inf
        first = abs(self.first_loss)
        return self.divergence_factor * (first if first > TINY else 1.0)

    def check(self, step: int, loss: float) -> None:
        if not math.isfinite(loss):
            raise Diverged(
                f"the loss is {loss} at step {step}; a smaller optimizer.lr or trainer.gradient_clip_val may help"
            )
        if self.first_loss is None:
            self.first_loss = loss
        elif loss > self.limit:
            raise Diverged(
                f"the loss has grown from {self.first_loss:.4g} to {loss:.4g} at step {step}, more than "
                f"{self.divergence_factor:g}-fold; a smaller optimizer.lr or trainer.gradient_clip_val may help"
            )

    def flush(self, trainer: Trainer, task: LightningModule) -> None:
        """Writes the files, and keeps their lengths and checksums for the checkpoint."""
        self.check_folder()
        self.take(trainer, task)
        now, (before, steps) = time.perf_counter(), self._flushed_at
        if trainer.global_step > steps and now > before:
            speed = (trainer.global_step - steps) / (now - before)
            for logger in trainer.loggers:
                logger.log_metrics({SPEED: speed}, trainer.global_step)
            if stock_loggers.among(trainer.loggers):
                self.speeds[trainer.global_step] = speed
        self._flushed_at = (now, trainer.global_step)
        for logger in run_loggers(trainer):
            self.lengths[logger.journal.path.name] = logger.flush()
            self.digests[logger.journal.path.name] = logger.journal.digest

    def on_train_end(self, trainer: Trainer, task: LightningModule) -> None:
        self.flush(trainer, task)

    def on_exception(self, trainer: Trainer, task: LightningModule, exception: BaseException) -> None:
        self.flush(trainer, task)

    def state_dict(self) -> dict[str, Any]:
        return {
            "first_loss": self.first_loss,
            "since": self.since,
            "lengths": self.lengths,
            "digests": self.digests,
            **({"speeds": self.speeds} if self.speeds else {}),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.first_loss, self.lengths = state["first_loss"], state["lengths"]
        self.since = list(state.get("since", self.since))  # older checkpoints lack it
        self.speeds = dict(state.get("speeds", {}))


def _listed(column: Sequence[float]) -> Sequence[float]:
    return column.tolist() if isinstance(column, np.ndarray) else column


def run_loggers(trainer: Trainer) -> list[RunLogger]:
    return [logger for logger in trainer.loggers if isinstance(logger, RunLogger)]
