"""Callbacks that do in one of the runs what must cost no other."""

import os
import signal
import sys
from pathlib import Path

from lightning.pytorch import Callback


class Victim(Callback):
    """Ends the run with seed 1 in its third epoch: takes its worker along, once, leaves or raises."""

    def __init__(self, how: str, mark: str = "") -> None:
        self.how, self.mark = how, Path(mark)

    def on_train_epoch_end(self, trainer, task):
        if task.seed != 1 or trainer.current_epoch != 2:
            return
        if self.how == "raise":
            raise ArithmeticError("of the user's own")
        if self.how == "exit":
            sys.exit(3)
        if not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
