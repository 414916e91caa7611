"""A callback that takes its worker along, in one of the runs."""

import os
import signal

from lightning.pytorch import Callback


class Victim(Callback):
    def on_train_epoch_end(self, trainer, task):
        if task.seed == 1 and trainer.optimizers[0].param_groups[0]["lr"] < 1 and trainer.current_epoch == 2:
            os.kill(os.getpid(), signal.SIGKILL)
