"""Makes each pass over a user's loaders depend on the run's seed and the epoch (in training) or the step only."""

import math
import random
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities import CombinedLoader
from torch.utils.data import DataLoader, SequentialSampler

from rnnlab.data.loader import Loader
from rnnlab.runs import own_generators as own
from rnnlab.runs.generators import EPOCH, READ, seed_all


def seeded(loaders: Any, generators: Any, what: int) -> Any:
    """Wraps loaders, as a data module's method returned them, so that their passes are seeded. Several training loaders
    are combined into one, so that one number says how many batches of an epoch are done.
    """
    if what == EPOCH and isinstance(loaders, dict | list | tuple):
        loaders = CombinedLoader(loaders, "max_size_cycle")  # as Lightning does
    if isinstance(loaders, CombinedLoader) and what != EPOCH:
        loaders.flattened = [seeded(loader, generators, what) for loader in loaders.flattened]
    elif isinstance(loaders, dict):
        return {key: seeded(loader, generators, what) for key, loader in loaders.items()}
    elif isinstance(loaders, list | tuple):
        return [seeded(loader, generators, what) for loader in loaders]
    elif isinstance(loaders, Iterable) and not isinstance(loaders, Loader | Seeded) and _counts(loaders):
        return Seeded(loaders, generators, what)
    return loaders


def _counts(loaders: Any) -> bool:
    """Whether one number says which batch is next. For loaders one after another it does not, but Lightning refuses to
    train on those.
    """
    return not (isinstance(loaders, CombinedLoader) and loaders._mode == "sequential")


def in_order(loaders: Any) -> Any:
    """The loaders without shuffling: `trainer.overfit_batches` uses the same batches in each epoch."""
    if isinstance(loaders, CombinedLoader):
        loaders.flattened = [in_order(loader) for loader in loaders.flattened]
    if isinstance(loaders, dict):
        return {key: in_order(loader) for key, loader in loaders.items()}
    if isinstance(loaders, list | tuple):
        return [in_order(loader) for loader in loaders]
    if (
        type(loaders) is not DataLoader
        or isinstance(loaders.sampler, SequentialSampler)
        or not loaders.batch_size
    ):
        return loaders
    return DataLoader(
        loaders.dataset, loaders.batch_size, num_workers=loaders.num_workers, collate_fn=loaders.collate_fn,
        drop_last=loaders.drop_last, worker_init_fn=loaders.worker_init_fn,
    )  # fmt: skip


def are_there(loaders: Any) -> bool:
    """Whether loaders, as a data module's method returned them, have a batch to score."""
    if isinstance(loaders, CombinedLoader):
        return any(map(are_there, loaders.flattened))
    return loaders is not None and length_of(loaders) > 0


class Apart:
    """A context in which generators have separate states: drawing inside changes nothing outside."""

    def __init__(self, generators: Iterable[Any] = ()) -> None:
        self.own = list(generators)
        self.inside: Any = None

    def __enter__(self) -> None:
        self.outside = self._states()
        if self.inside is not None:
            self._put(self.inside)

    def __exit__(self, *_: Any) -> None:
        self.inside = self._states()
        self._put(self.outside)

    def _states(self) -> Any:
        numpys: Any = np.random.get_state()
        return torch.get_rng_state(), numpys, random.getstate(), [own.state(g) for g in self.own]

    def _put(self, states: Any) -> None:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])
        for generator, state in zip(self.own, states[3], strict=True):
            own.restore(generator, state)


class Seeded:
    """A loader whose passes depend on the run's seed and the epoch (in training) or the step only.

    A pass over the training data has its own random states: its batches do not depend on numbers that are drawn in
    between, so that a resume can repeat the pass up to its batch.
    """

    def __init__(self, loader: Any, generators: Any, what: int) -> None:
        self.loader, self.generators, self.what = loader, generators, what
        self.each = loader.flattened if isinstance(loader, CombinedLoader) else [loader]
        for one in self.each:
            if hasattr(one, "persistent_workers"):
                # persistent workers continue the random states of the epoch before, which a resume cannot repeat
                object.__setattr__(one, "persistent_workers", False)

    def __getattr__(self, name: str) -> Any:
        # its state would be one batch ahead of the training
        if name in ("state_dict", "load_state_dict"):
            raise AttributeError(name)
        if name in ("sampler", "batch_sampler") and len(self.__dict__["each"]) > 1:  # each loader has one
            raise AttributeError(name)
        return getattr(self.__dict__["loader"], name)

    def __len__(self) -> int:
        if not isinstance(self.loader, CombinedLoader):
            return len(self.loader)
        lengths = [length_of(one) for one in self.each]
        found = min(lengths) if self.loader._mode == "min_size" else max(lengths)
        if math.isinf(found):
            raise TypeError("a loader among them does not know its length")
        return int(found)

    def __iter__(self) -> Iterator[Any]:
        """Seeds the pass when its first batch is read. In a resumed epoch, skips the batches that were trained."""
        ours, held = self.generators, own.own_generators({"loader": self.each})
        held |= own.of_modules(ours.modules)
        if self.what != EPOCH:
            ours.begin_pass(held, self.what, ours.step)
            yield from self.loader
            return
        epoch = ours.epoch
        ours.begin_pass(held, EPOCH, epoch)
        apart, taken = Apart(held.values()), ours.taken()
        with apart:
            seed_all(ours.seed, READ, epoch, devices=False)
            ours.reseed(held, READ, epoch)
            own.come_to(ours.modules, ours.seed, READ, epoch)
            for one in self.each:
                batched = getattr(one, "batch_sampler", None)
                samplers = getattr(one, "sampler", None), batched, getattr(batched, "sampler", None)
                for sampler in {id(sampler): sampler for sampler in samplers}.values():
                    if (begin := getattr(sampler, "set_epoch", None)) is not None:
                        begin(epoch)
            batches = iter(self.loader)
            for _ in range(taken):
                next(batches, None)
        while True:
            ours.before_fetch()
            with apart:
                batch = next(batches, batches)
            if batch is batches:
                return
            yield batch[0] if isinstance(self.loader, CombinedLoader) else batch


def length_of(loader: Any) -> float:
    """The number of batches of a loader; infinite where it has no length."""
    try:
        return len(loader)
    except (TypeError, NotImplementedError):
        return math.inf


def batches_of(loaders: Any) -> float:
    """The batches of an epoch of training loaders, as a data module's method returned them; infinite if not known."""
    if isinstance(loaders, dict | list | tuple):
        loaders = CombinedLoader(loaders, "max_size_cycle")  # as Lightning does
    if not isinstance(loaders, CombinedLoader):
        return length_of(loaders)
    lengths = map(length_of, loaders.flattened)
    return min(lengths) if loaders._mode == "min_size" else max(lengths)
