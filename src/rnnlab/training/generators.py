"""Random numbers of runs with user-defined parts, so that they too resume and reproduce to the same bits.

Each pass over a loader is seeded from the run's seed and the epoch. Every checkpoint holds the states of the global
generators, and of the generators that the user's objects hold.
"""

from collections.abc import Callable, Iterable
from functools import partial
from itertools import count
from typing import Any

from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer

from rnnlab.runs import own_generators as own
from rnnlab.runs.generators import EPOCH, MADE, TESTED, TRAINED, VALIDATED, States, restore, seed_all, states
from rnnlab.tasks.trainer import callbacks_of
from rnnlab.training.checkpoints import world_of
from rnnlab.training.passes import Apart, in_order, seeded

LOADERS = {"train_dataloader": EPOCH, "val_dataloader": VALIDATED, "test_dataloader": TESTED}


class Generators(Callback):
    """Seeds the random generators, and keeps their states in checkpoints. The first callback of its run."""

    patient = True  # can wait for the end of a call of the kernels

    def __init__(self, seed: int, steps: int = 0, modules: Iterable[str] = ()) -> None:
        self.seed, self.steps, self.modules = seed, steps, sorted(modules)
        self.trainer: Trainer | None = None
        self.before: States | None = None
        """The states from before the batch now in training was fetched."""
        self.pending: States | None = None
        """The states in the checkpoint that the run resumes from, until they are restored for the next batch."""
        self.fetches = False
        """Whether a pass over a loader has restored `pending` before it fetched a batch."""
        self.opened: tuple[dict[str, Any], int] | None = None
        """The generators and the epoch of the training pass that has begun."""
        self.data: Any = None
        self.own: dict[str, Any] = {}
        """The generators that the user's objects hold, by their places."""
        self.firsts: dict[int, tuple[Any, int]] = {}
        self._validating: States | None = None

    def wrap(self, data: Any, task: Any = None) -> None:
        """Makes the passes over the loaders of a data module, or else of a LightningModule, depend on the seed and the
        epoch only.
        """
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
        """Seeds the user's generators for a place in the run (such as an epoch), each from its initial state."""
        nth = count()  # numbers those that the system seeded, so that each draws different numbers
        for generator in generators.values():
            if own.by_system(generator):
                first = own.first_seed(generator, self.seed, next(nth))
            else:
                known = generator, own.first_seed(generator, self.seed)
                _, first = self.firsts.setdefault(id(generator), known)
            own.reseed(generator, first, *place)

    def begin_pass(self, held: dict[str, Any], what: int, n: int) -> None:
        """Seeds all generators for epoch (or step) n: a pass over a loader begins."""
        seed_all(self.seed, what, n)
        self.reseed(held, what, n)
        if what == EPOCH:
            self.opened = held, n

    def taken(self) -> int:
        """How many batches of this epoch were trained before the checkpoint that the run resumes from."""
        position = self.trainer.fit_loop.position if self.trainer and self.pending is not None else None  # type: ignore[attr-defined]
        return position["batch"] if position and position["begun"] else 0

    def before_fetch(self) -> None:
        """Called before each batch is fetched. A loader without a length is read one batch ahead of the training."""
        if self.pending is not None:
            self.restore(self.pending)
            self.fetches = True
        self.before = self.states()

    def go_on(self) -> None:
        """Restores the states of the checkpoint, once, before the first batch after a resume."""
        if self.pending is not None:
            self.restore(self.pending)
            self.pending = None

    def on_train_epoch_start(self, trainer: Trainer, task: LightningModule) -> None:
        self.go_on()  # this hook is not called when a run resumes within an epoch
        if self.opened is not None:  # a loader that reads ahead has begun its pass already
            self.begin_pass(self.opened[0], EPOCH, self.opened[1])

    def on_train_epoch_end(self, trainer: Trainer, task: LightningModule) -> None:
        self.opened = None

    def between_batches(self, trainer: Trainer, task: LightningModule) -> None:
        self.go_on()

    def on_train_batch_start(self, trainer: Trainer, task: LightningModule, *_: Any) -> None:
        if self.fetches:  # restored before the fetch; the transfer of the batch may have drawn since
            self.pending, self.fetches = None, False
        self.go_on()
        self.before = self.before or self.states()

    def on_train_batch_end(self, trainer: Trainer, task: LightningModule, *_: Any) -> None:
        self.before = None

    def on_validation_start(self, trainer: Trainer, task: LightningModule) -> None:
        self._validating = self.states()

    def on_validation_end(self, trainer: Trainer, task: LightningModule) -> None:
        if self._validating is not None:  # so a validation does not change what the training draws
            self.restore(self._validating)

    def on_train_end(self, trainer: Trainer, task: LightningModule) -> None:
        self.before = self.states()

    def on_save_checkpoint(self, trainer: Trainer, task: LightningModule, checkpoint: dict[str, Any]) -> None:
        found = self.before or self.states()
        world = world_of(task)
        checkpoint["generators"] = found if world is None else {"ranks": world.gather(found)}

    def on_load_checkpoint(self, trainer: Trainer, task: LightningModule, checkpoint: dict[str, Any]) -> None:
        self.pending = checkpoint.get("generators")
        # the number of processes may have changed since
        if self.pending and (ranks := self.pending.get("ranks")):
            world = world_of(task)
            self.pending = ranks[min(0 if world is None else world.rank, len(ranks) - 1)]

    def on_train_start(self, trainer: Trainer, task: LightningModule) -> None:
        self.before = None
        callbacks = [
            c for c in callbacks_of(trainer) if not type(c).__module__.startswith(("rnnlab.", "lightning."))
        ]
        self.own = own.own_generators({"model": task, "data": self.data, "callbacks": callbacks})
        held = [id(generator) for generator in self.own.values()]
        self.own |= {at: g for at, g in own.of_modules(self.modules).items() if id(g) not in held}
        for generator in self.own.values():  # the initial states, before a resume restores others
            self.firsts.setdefault(id(generator), (generator, own.first_seed(generator, self.seed)))
        # also in a resume: a checkpoint of an older rnnlab may lack some, which `restore` leaves as they are
        self.reseed({at: g for at, g in self.own.items() if own.by_system(g)}, TRAINED)


def gives(data: Any, name: str) -> bool:
    """Whether a (data) module has a loader of its own: Lightning's default methods only raise an error."""
    theirs = getattr(LightningDataModule, name), getattr(LightningModule, name)
    return name in vars(data) or (hasattr(data, name) and getattr(type(data), name, None) not in theirs)
