"""A run with parts of the user's own: each pass over a loader is seeded from the run's seed and its epoch, and the
states of the global generators, and of those that the user's objects hold, are kept in every checkpoint, so that it
resumes and reproduces to the same bits.
"""

from collections.abc import Callable, Iterable
from functools import partial
from itertools import count
from typing import Any

from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer

from rnnlab.runs import own_generators as own
from rnnlab.runs.generators import EPOCH, MADE, TESTED, TRAINED, VALIDATED, States, restore, seed_all, states
from rnnlab.training.checkpoints import world_of
from rnnlab.training.passes import Apart, in_order, seeded

LOADERS = {"train_dataloader": EPOCH, "val_dataloader": VALIDATED, "test_dataloader": TESTED}


class Generators(Callback):
    """Seeds the global generators, and keeps their states in checkpoints. The first callback of its run."""

    patient = True  # can wait for the end of a call of the kernels

    def __init__(self, seed: int, steps: int = 0, modules: Iterable[str] = ()) -> None:
        self.seed, self.steps, self.modules = seed, steps, sorted(modules)
        self.trainer: Trainer | None = None
        self.before: States | None = None
        """As they were before the batch that is being trained was fetched."""
        self.pending: States | None = None
        """Of the checkpoint that the run goes on from, until it does."""
        self.fetches = False
        """Whether a pass has put them in place since."""
        self.opened: tuple[dict[str, Any], int] | None = None
        """The generators and the epoch of the training pass that has begun."""
        self.data: Any = None
        self.own: dict[str, Any] = {}
        """The generators that the user's objects hold, by their places."""
        self.firsts: dict[int, tuple[Any, int]] = {}
        self._validating: States | None = None

    def wrap(self, data: Any, task: Any = None) -> None:
        """Gives the loaders of a data module, or else of a module, passes that the seed and the epoch alone decide."""
        self.data = data
        for name, what in LOADERS.items():
            owner = next((one for one in (data, task) if one is not None and gives(one, name)), None)
            if owner is not None:
                setattr(data, name, partial(self._made, getattr(owner, name), what))

    def _made(self, method: Callable[[], Any], what: int) -> Any:
        every: int = getattr(self.trainer, "reload_dataloaders_every_n_epochs", 0)
        with Apart():
            made = self.epoch // every if every and what == EPOCH else 0
            seed_all(self.seed, MADE + what, made, devices=False)
            loaders = method()
        if getattr(self.trainer, "overfit_batches", 0):
            loaders = in_order(loaders)
        return seeded(loaders, self, what)

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
        nth = count()  # of those that the system seeded: each draws other numbers
        for generator in generators.values():
            if own.by_system(generator):
                first = own.first_seed(generator, self.seed, next(nth))
            else:
                known = generator, own.first_seed(generator, self.seed)
                _, first = self.firsts.setdefault(id(generator), known)
            own.reseed(generator, first, *place)

    def begin_pass(self, held: dict[str, Any], what: int, n: int) -> None:
        """What is drawn from now on, beside a loader, depends on the epoch, or the step, n."""
        seed_all(self.seed, what, n)
        self.reseed(held, what, n)
        if what == EPOCH:
            self.opened = held, n

    def taken(self) -> int:
        """How many batches of this epoch were trained before the checkpoint that the run goes on from."""
        position = self.trainer.fit_loop.position if self.trainer and self.pending is not None else None  # type: ignore[attr-defined]
        return position["batch"] if position and position["begun"] else 0

    def before_fetch(self) -> None:
        """A batch is due; a loader without a length gives it while the one before is yet to train."""
        if self.pending is not None:
            self.restore(self.pending)
            self.fetches = True
        self.before = self.states()

    def go_on(self) -> None:
        """Where the first batch since a resume is due."""
        if self.pending is not None:
            self.restore(self.pending)
            self.pending = None

    def on_train_epoch_start(self, trainer: Trainer, task: LightningModule) -> None:
        self.go_on()  # not called for an epoch that had begun
        if self.opened is not None:  # by a loader that looks ahead
            self.begin_pass(self.opened[0], EPOCH, self.opened[1])

    def on_train_epoch_end(self, trainer: Trainer, task: LightningModule) -> None:
        self.opened = None

    def between_batches(self, trainer: Trainer, task: LightningModule) -> None:
        self.go_on()

    def on_train_batch_start(self, trainer: Trainer, task: LightningModule, *_: Any) -> None:
        if self.fetches:  # and what was drawn since, for the batch's transfer, belongs to it
            self.pending, self.fetches = None, False
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
        self.before = None
        others: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        callbacks = [c for c in others if not type(c).__module__.startswith(("rnnlab.", "lightning."))]
        self.own = own.own_generators({"model": task, "data": self.data, "callbacks": callbacks})
        held = [id(generator) for generator in self.own.values()]
        self.own |= {at: g for at, g in own.of_modules(self.modules).items() if id(g) not in held}
        for generator in self.own.values():  # as they came, and before a resume sets them
            self.firsts.setdefault(id(generator), (generator, own.first_seed(generator, self.seed)))
        if self.pending is None:  # those that the system seeded
            self.reseed({at: g for at, g in self.own.items() if own.by_system(g)}, TRAINED)


def gives(data: Any, name: str) -> bool:
    """Whether a data module, or a module, has a loader: Lightning's own methods only raise an error."""
    theirs = getattr(LightningDataModule, name), getattr(LightningModule, name)
    return name in vars(data) or (hasattr(data, name) and getattr(type(data), name, None) not in theirs)
