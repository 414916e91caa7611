"""The global generators of torch, NumPy and Python, for a user's own modules, data and callbacks that draw from them.

They are seeded from the run's seed, each pass over a DataLoader also from its epoch, and their states are kept in
every checkpoint: such a run resumes and reproduces to the same bits. rnnlab's own parts do not draw from them, and a
run of these alone leaves them as they are.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch.utils.data import DataLoader

from rnnlab import streams
from rnnlab.runs.sources import foreign_targets

States = dict[str, Any]
BUILT, TRAINED, EPOCH, VALIDATED, TESTED = range(5)  # what a seed is for
LOADERS = {"train_dataloader": EPOCH, "val_dataloader": VALIDATED, "test_dataloader": TESTED}


def may_draw(config: dict[str, Any]) -> bool:
    """Whether a run has parts that are not rnnlab's and may draw from the global generators."""
    targets = (str(config[part].get("_target_", "")) for part in ("model", "data"))
    return bool(foreign_targets(config)) or not all(target.startswith("rnnlab.") for target in targets)


def seed_all(seed: int, *place: int) -> None:
    """Seeds the global generators for a place in a run: up to two numbers."""
    words = streams.philox(seed, "user", *place).random_raw(3)
    torch.manual_seed(int(words[0]) >> 1)
    np.random.seed(int(words[1]) & 0xFFFFFFFF)
    random.seed(int(words[2]))


def states() -> States:
    """The states of the global generators, in plain types and tensors."""
    name, key, *rest = cast(tuple[Any, ...], np.random.get_state(legacy=True))
    found: States = {
        "torch": torch.get_rng_state(),
        "numpy": [name, torch.from_numpy(key.astype(np.int64)), *map(float, rest)],
        "python": list(random.getstate()),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        found["cuda"] = torch.cuda.get_rng_state_all()
    return found


def restore(saved: States) -> None:
    torch.set_rng_state(saved["torch"])
    name, key, position, has_gauss, gauss = saved["numpy"]
    np.random.set_state((name, key.numpy().astype(np.uint32), int(position), int(has_gauss), gauss))
    version, words, gauss = saved["python"]
    random.setstate((version, tuple(words), gauss))
    if "cuda" in saved:
        torch.cuda.set_rng_state_all(saved["cuda"])


@contextmanager
def left_alone() -> Iterator[None]:
    """Gives the generators of who calls us their states back."""
    before = states()
    try:
        yield
    finally:
        restore(before)


class Generators(Callback):
    """Seeds the global generators, and keeps their states in checkpoints. The first callback of its run."""

    patient = True  # can wait for the end of a call of the kernels

    def __init__(self, seed: int) -> None:
        self.seed = seed
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
        progress: Any = ours.trainer.fit_loop.epoch_progress
        seed_all(ours.seed, self.what, progress.current.processed if trains else ours.trainer.global_step)
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
