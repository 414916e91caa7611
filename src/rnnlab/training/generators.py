"""A run with parts of the user's own: each pass over a DataLoader is seeded from the run's seed and its epoch, and the
states of the global generators are kept in every checkpoint, so that it resumes and reproduces to the same bits.
"""

from collections.abc import Iterator
from typing import Any

from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch.utils.data import DataLoader

from rnnlab.runs.generators import EPOCH, TESTED, VALIDATED, States, restore, seed_all, states

LOADERS = {"train_dataloader": EPOCH, "val_dataloader": VALIDATED, "test_dataloader": TESTED}


class Generators(Callback):
    """Seeds the global generators, and keeps their states in checkpoints. The first callback of its run."""

    patient = True  # can wait for the end of a call of the kernels

    def __init__(self, seed: int, steps: int = 0) -> None:
        self.seed, self.steps = seed, steps
        self.trainer: Trainer | None = None
        self.before: States | None = None
        """As they were before the batch that is being trained was fetched."""
        self.pending: States | None = None
        """Of the checkpoint that the run goes on from, until it does."""
        self.skip = 0
        self._validating: States | None = None

    def wrap(self, data: Any) -> None:
        """Gives the DataLoaders of a data module passes that depend on the seed and the epoch alone."""
        for name, what in LOADERS.items():
            method = getattr(data, name, None)
            if method is not None and gives(data, name):
                setattr(data, name, lambda method=method, what=what: self._wrapped(method(), what))

    def _wrapped(self, loaders: Any, what: int) -> Any:
        if type(loaders) is DataLoader:
            return Seeded(loaders, self, what)
        if isinstance(loaders, dict):
            return {key: self._wrapped(loader, what) for key, loader in loaders.items()}
        if type(loaders) in (list, tuple):
            return type(loaders)(self._wrapped(loader, what) for loader in loaders)
        return loaders

    def setup(self, trainer: Trainer, task: LightningModule, stage: str) -> None:
        self.trainer = trainer

    @property
    def epoch(self) -> int:
        progress: Any = self.trainer.fit_loop.epoch_progress if self.trainer else None
        return progress.current.processed if progress else 0

    @property
    def step(self) -> int:
        return self.trainer.global_step if self.trainer else self.steps

    def go_on(self) -> None:
        """Where the first batch since a resume is due."""
        if self.pending is not None:
            restore(self.pending)
            self.pending = None

    def on_train_epoch_start(self, trainer: Trainer, task: LightningModule) -> None:
        self.go_on()  # not called for an epoch that had begun

    def between_batches(self, trainer: Trainer, task: LightningModule) -> None:
        self.go_on()

    def on_train_batch_start(self, trainer: Trainer, task: LightningModule, *_: Any) -> None:
        self.go_on()
        self.before = self.before or states()

    def on_train_batch_end(self, trainer: Trainer, task: LightningModule, *_: Any) -> None:
        self.before = None

    def on_validation_start(self, trainer: Trainer, task: LightningModule) -> None:
        self._validating = states()

    def on_validation_end(self, trainer: Trainer, task: LightningModule) -> None:
        if self._validating is not None:  # a look at the model changes nothing
            restore(self._validating)

    def on_train_end(self, trainer: Trainer, task: LightningModule) -> None:
        self.before = states()

    def on_save_checkpoint(self, trainer: Trainer, task: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["generators"] = self.before or states()

    def on_load_checkpoint(self, trainer: Trainer, task: LightningModule, checkpoint: dict[str, Any]) -> None:
        self.pending = checkpoint.get("generators")

    def on_train_start(self, trainer: Trainer, task: LightningModule) -> None:
        position = trainer.fit_loop.position  # type: ignore[attr-defined]
        self.skip = position["batch"] if self.pending is not None and position["begun"] else 0
        self.before = None


def gives(data: Any, name: str) -> bool:
    """Whether a data module has a loader: LightningDataModule's own methods only raise an error."""
    return hasattr(data, name) and getattr(type(data), name, None) is not getattr(LightningDataModule, name)


class Seeded:
    """A DataLoader whose passes depend on the run's seed and the epoch (of training), or the step, alone."""

    def __init__(self, loader: Any, generators: Generators, what: int) -> None:
        self.loader, self.generators, self.what = loader, generators, what

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["loader"], name)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        """Begins when the first batch is asked for; where an epoch is resumed, behind the batches that were taken."""
        ours = self.generators
        trains = self.what == EPOCH
        seed_all(ours.seed, self.what, ours.epoch if trains else ours.step)
        batches = iter(self.loader)
        if trains:
            skip, ours.skip = ours.skip, 0
            for _ in range(skip):
                next(batches)
            ours.go_on()
        while True:
            if trains:
                ours.before = states()
            try:
                batch = next(batches)
            except StopIteration:
                ours.before = None if trains else ours.before
                return
            yield batch
