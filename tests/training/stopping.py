"""A callback that interrupts its own process at a step, as a person or a cluster would."""

import os
import signal
from pathlib import Path

from lightning.pytorch import Callback


class StopAt(Callback):
    def __init__(self, step: int, number: int = signal.SIGINT) -> None:
        self.step, self.number, self.done = step, number, False

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step >= self.step and not self.done:
            self.done = True
            os.kill(os.getpid(), self.number)


class StopAtBatch(Callback):
    """Interrupts behind so many batches, also where no optimizer step was due."""

    def __init__(self, batches: int) -> None:
        self.left = batches

    def on_train_batch_end(self, trainer, *_):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)


class KillAtBatch(Callback):
    """Kills its own process behind so many batches, if there is no file `marker` yet."""

    def __init__(self, batches: int, marker: str) -> None:
        self.left, self.marker = batches, Path(marker)

    def on_train_batch_end(self, trainer, *_):
        self.left -= 1
        if self.left == 0 and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)


class EndAt(Callback):
    """Ends the training at a step, as a pruner of the user's own would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer, *_):
        trainer.should_stop = trainer.should_stop or trainer.global_step >= self.step
