"""A callback to which something happens on one rank of a run, once."""

import os
import signal
from pathlib import Path

from lightning.pytorch import Callback


class Befalls(Callback):
    """`what`: raise, or the name of a signal. `marker` is made then; where it is, nothing happens any more."""

    def __init__(self, what: str, rank: int, step: int, marker: str) -> None:
        self.what, self.rank, self.step, self.marker = what, rank, step, Path(marker)

    def on_train_batch_end(self, trainer, *_):
        if (trainer.global_rank, trainer.global_step) != (self.rank, self.step) or self.marker.exists():
            return
        self.marker.write_text(str(os.getpid()))
        if self.what == "raise":
            raise ValueError(f"it befell rank {self.rank}")
        os.kill(os.getpid(), getattr(signal, self.what))


class Freezes(Callback):
    """Freezes the head for the second epoch."""

    def on_train_epoch_start(self, trainer, task):
        task.head.requires_grad_(trainer.current_epoch != 1)


class Draws(Callback):
    """Moves a weight by what the global generators give, by the same on all ranks."""

    def on_train_batch_end(self, trainer, task, *_):
        import torch

        drawn = torch.rand(2) if task.world is None else sum(task.world.gather(torch.rand(2)))
        task.head.bias.data += 1e-3 * drawn[0]


class StopsAlone(Callback):
    """Asks for the end on one rank, in a batch or in a validation."""

    def __init__(self, rank: int, step: int, hook: str) -> None:
        self.rank, self.step, self.hook = rank, step, hook

    def _ask(self, trainer, hook):
        if (hook, trainer.global_rank) == (self.hook, self.rank) and trainer.global_step >= self.step:
            trainer.should_stop = True

    def on_train_batch_end(self, trainer, *_):
        self._ask(trainer, "batch")

    def on_validation_end(self, trainer, *_):
        self._ask(trainer, "validation")


class Noise(Callback):
    """Moves a weight by what its own rank draws: `unseeded`, by a generator that it makes without a seed."""

    def __init__(self, unseeded: bool = False) -> None:
        self.unseeded = unseeded

    def on_train_batch_end(self, trainer, task, *_):
        import numpy as np
        import torch

        drawn = np.random.default_rng().random() if self.unseeded else torch.rand(1).item()
        task.head.bias.data += 1e-3 * (
            drawn if task.world is None or not self.unseeded else sum(task.world.gather(drawn))
        )
