"""Stops a training from outside (by a signal, a pool of workers or a pruner), after it has written a checkpoint."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from rnnlab.signals import listening
from rnnlab.training.checkpoints import Checkpoints, between_steps, world_of


class Stopped(Exception):
    """The training was asked to stop, and has stopped after a checkpoint."""

    status = "stopped"


class Pruned(Stopped):
    """A search pruned the training after a validation; the run can resume from its checkpoint."""

    status = "pruned"


class Interruption(Callback):
    """Writes a checkpoint and raises `Stopped` before the next batch; a second signal interrupts at once.

    A second SIGHUP does not: the terminal and its shell each send one. `stop()` is called before each batch and returns
    why the training must stop; `judge(step, value)` is called after each validation and returns why it is pruned. Both
    return "" where the training continues.

    Several processes all stop after the same step, whichever of them gets the signal. `trainer.should_stop` is not
    used: Lightning would validate before it stops, where an uninterrupted run does not.
    """

    patient = True  # can wait for the end of a call of the kernels

    def __init__(
        self,
        checkpoints: Checkpoints,
        judge: Callable[[int, float], str] | None = None,
        stop: Callable[[], str] = lambda: "",
    ) -> None:
        self.checkpoints, self.judge, self.stop = checkpoints, judge, stop
        self.signal_name: str | None = None
        self._judged_at = -1  # the step of the last validation that was judged
        self._verdict = ""

    def on_train_start(self, trainer: Trainer, task: LightningModule) -> None:
        # on a resume: the validation before the checkpoint was judged already
        self._judged_at = self.checkpoints.last.get("step", -1)
        if signal.getsignal(signal.SIGINT) == self._stop:  # `listening` is open; Lightning has taken SIGTERM
            signal.signal(signal.SIGTERM, self._stop)

    def on_train_batch_start(self, trainer: Trainer, task: LightningModule, *_: Any) -> None:
        if not trainer.fit_loop.own:  # type: ignore[attr-defined]
            # not in a hook of Checkpoints, the last callback: a user's callbacks before it may change the model
            self.checkpoints.between_batches(trainer, task)
            self.between_batches(trainer, task)

    def between_batches(self, trainer: Trainer, task: LightningModule) -> None:
        last = self.checkpoints.last
        if self.judge is not None and last.get("step", -1) > self._judged_at:
            self._judged_at = last["step"]
            self._verdict = self.judge(last["step"], last["metrics"][self.checkpoints.monitor])
        why = self.signal_name or self.stop()
        if (world := world_of(task)) is not None:
            why, self._verdict = world.first(why, self._verdict)
        if why and between_steps(trainer, task):
            self.checkpoints.save(trainer, task)
            raise Stopped(f"{why} at step {trainer.global_step}")
        if self._verdict and between_steps(trainer, task):
            self.checkpoints.save(trainer, task)
            raise Pruned(f"{self._verdict} at step {trainer.global_step}")

    @contextmanager
    def listening(self) -> Iterator[None]:
        """While open, handles the signals. Only in the main thread: Python allows no other to set handlers."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        with listening(self._stop, warned=True):
            yield

    def _stop(self, number: int, frame: Any) -> None:
        name = signal.Signals(number).name
        if self.signal_name is not None and name != "SIGHUP":
            raise KeyboardInterrupt
        self.signal_name = self.signal_name or name
