"""A run with parts of the user's own: each pass over a DataLoader is seeded from the run's seed and its epoch, and the
states of the global generators, and of those that the user's objects hold, are kept in every checkpoint, so that it
resumes and reproduces to the same bits.
"""

from collections.abc import Iterator
from typing import Any

from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch.utils.data import DataLoader

from rnnlab.runs import own_generators as own
from rnnlab.runs.generators import EPOCH, TESTED, TRAINED, VALIDATED, States, restore, seed_all, states
from rnnlab.training.checkpoints import world_of

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
        self.data: Any = None
        self.own: dict[str, Any] = {}
        """The generators that the user's objects hold, by their places."""
        self.firsts: dict[int, tuple[Any, int]] = {}
        self._validating: States | None = None

    def wrap(self, data: Any) -> None:
        """Gives the DataLoaders of a data module passes that depend on the seed and the epoch alone."""
        self.data = data
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

    def states(self) -> States:
        found = states()
        return found | ({"own": {at: own.state(g) for at, g in self.own.items()}} if self.own else {})

    def restore(self, saved: States) -> None:
        restore(saved)
        for at, found in saved.get("own", {}).items():
            if at in self.own:
                own.restore(self.own[at], found)

    def reseed(self, generators: dict[str, Any], *place: int) -> None:
        """Sets generators of the user's for a place in the run, from the state that each came with."""
        for generator in generators.values():
            first = self.firsts.setdefault(id(generator), (generator, own.first_seed(generator, self.seed)))
            own.reseed(generator, first[1], *place)

    def go_on(self) -> None:
        """Where the first batch since a resume is due."""
        if self.pending is not None:
            self.restore(self.pending)
            self.pending = None

    def on_train_epoch_start(self, trainer: Trainer, task: LightningModule) -> None:
        self.go_on()  # not called for an epoch that had begun

    def between_batches(self, trainer: Trainer, task: LightningModule) -> None:
        self.go_on()

    def on_train_batch_start(self, trainer: Trainer, task: LightningModule, *_: Any) -> None:
        self.go_on()
        self.before = self.before or self.states()

    def on_train_batch_end(self, trainer: Trainer, task: LightningModule, *_: Any) -> None:
        self.before = None

    def on_validation_start(self, trainer: Trainer, task: LightningModule) -> None:
        self._validating = self.states()

    def on_validation_end(self, trainer: Trainer, task: LightningModule) -> None:
        if self._validating is not None:  # a look at the model changes nothing
            self.restore(self._validating)

    def on_train_end(self, trainer: Trainer, task: LightningModule) -> None:
        self.before = self.states()

    def on_save_checkpoint(self, trainer: Trainer, task: LightningModule, checkpoint: dict[str, Any]) -> None:
        found = self.before or self.states()
        world = world_of(task)
        checkpoint["generators"] = found if world is None else {"ranks": world.gather(found)}

    def on_load_checkpoint(self, trainer: Trainer, task: LightningModule, checkpoint: dict[str, Any]) -> None:
        self.pending = checkpoint.get("generators")
        if self.pending and (
            ranks := self.pending.get("ranks")
        ):  # as many as there are now, or other numbers
            world = world_of(task)
            self.pending = ranks[min(0 if world is None else world.rank, len(ranks) - 1)]

    def on_train_start(self, trainer: Trainer, task: LightningModule) -> None:
        position = trainer.fit_loop.position  # type: ignore[attr-defined]
        self.skip = position["batch"] if self.pending is not None and position["begun"] else 0
        self.before = None
        others: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        callbacks = [c for c in others if not type(c).__module__.startswith(("rnnlab.", "lightning."))]
        self.own = own.own_generators({"model": task, "data": self.data, "callbacks": callbacks})
        for generator in self.own.values():  # as they came, and before a resume sets them
            self.firsts.setdefault(id(generator), (generator, own.first_seed(generator, self.seed)))
        if self.pending is None:  # those that the system seeded
            for generator in self.own.values():
                if own.first_seed(generator, self.seed) == self.seed:
                    own.reseed(generator, self.seed, TRAINED)


def gives(data: Any, name: str) -> bool:
    """Whether a data module has a loader: LightningDataModule's own methods only raise an error."""
    return hasattr(data, name) and getattr(type(data), name, None) is not getattr(LightningDataModule, name)


class Seeded:
    """A DataLoader whose passes depend on the run's seed and the epoch (of training), or the step, alone."""

    def __init__(self, loader: Any, generators: Generators, what: int) -> None:
        self.loader, self.generators, self.what = loader, generators, what
        # workers that stay would draw on from the epoch before, which nobody can do again
        object.__setattr__(loader, "persistent_workers", False)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["loader"], name)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        """Begins when the first batch is asked for; where an epoch is resumed, behind the batches that were taken."""
        ours = self.generators
        trains = self.what == EPOCH
        place = self.what, ours.epoch if trains else ours.step
        seed_all(ours.seed, *place)
        ours.reseed(own.own_generators({"loader": self.loader}), *place)
        batches = iter(self.loader)
        if trains:
            skip, ours.skip = ours.skip, 0
            for _ in range(skip):
                next(batches)
            ours.go_on()
        while True:
            if trains:
                ours.before = ours.states()
            try:
                batch = next(batches)
            except StopIteration:
                ours.before = None if trains else ours.before
                return
            yield batch
