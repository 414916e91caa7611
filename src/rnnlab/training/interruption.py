"""Ctrl-C, SIGTERM and SIGHUP: the training stops at the next step, keeps what was learned, and says so."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from rnnlab.signals import listening
from rnnlab.training.checkpoints import Checkpoints, between_steps


class Stopped(Exception):
    """The training was asked to stop, and has, behind a checkpoint."""


class Interruption(Callback):
    """Writes a checkpoint and raises `Stopped` before the next batch; a second signal interrupts at once.

    A second SIGHUP does not: the terminal and the shell in it each send one.

    Not by `trainer.should_stop`, for which Lightning would first validate where the unbroken run does not.
    """

    patient = True  # can wait for the end of a call of the kernels

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints
        self.signal_name: str | None = None

    def on_train_start(self, trainer: Trainer, task: LightningModule) -> None:
        if signal.getsignal(signal.SIGINT) == self._stop:  # Lightning has since taken SIGTERM for itself
            signal.signal(signal.SIGTERM, self._stop)

    def on_train_batch_start(self, trainer: Trainer, task: LightningModule, *_: Any) -> None:
        if not trainer.fit_loop.own:  # type: ignore[attr-defined]
            # here and not in their own hook: callbacks of the user's, which may change something, come in between
            self.checkpoints.between_batches(trainer, task)
            self.between_batches(trainer, task)

    def between_batches(self, trainer: Trainer, task: LightningModule) -> None:
        if self.signal_name is not None and between_steps(trainer, task):
            self.checkpoints.save(trainer, task)
            raise Stopped(f"{self.signal_name} at step {trainer.global_step}")

    @contextmanager
    def listening(self) -> Iterator[None]:
        """While open, takes these signals; in another thread than the main one it cannot, and does not."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        with listening(self._stop):
            yield

    def _stop(self, number: int, frame: Any) -> None:
        name = signal.Signals(number).name
        if self.signal_name is not None and name != "SIGHUP":
            raise KeyboardInterrupt
        self.signal_name = self.signal_name or name
