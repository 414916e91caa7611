"""Callbacks that do in one of the runs what no other must feel."""

import os
import shutil
import signal
import sys
from pathlib import Path

from lightning.pytorch import Callback


class Victim(Callback):
    """In its third epoch the run with seed 1 takes its worker along, once, leaves, raises or deletes its folder."""

    def __init__(self, how: str, mark: str = "") -> None:
        self.how, self.mark = how, Path(mark)

    def on_train_epoch_end(self, trainer, task):
        if task.seed != 1 or trainer.current_epoch != 2:
            return
        if self.how == "raise":
            raise ArithmeticError("of the user's own")
        if self.how == "delete":
            shutil.rmtree(trainer.default_root_dir)
            return
        if self.how == "exit":
            sys.exit(3)
        if not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)


class Edit(Callback):
    """Changes the data set that the next run of this worker would be given, too."""

    def __init__(self, how: str) -> None:
        self.how = how

    def on_train_epoch_end(self, trainer, task):
        data = trainer.datamodule
        if self.how == "values":
            data.series.mul_(0.5)
        elif self.how == "tensor":
            data.series = 0.5 * data.series
        else:
            data.batch_size = 7
