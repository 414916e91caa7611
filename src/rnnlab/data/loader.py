"""`Loader`: batches of data in memory, taken by index."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from rnnlab import streams


class Loader:
    """Yields `fetch(batch)` for each batch of an epoch's order; a stand-in for torch's DataLoader.

    `order(epoch)` returns the epoch's batches, always the same number of them, each in the form that `fetch` takes (a
    tensor of indices, or one index). The order is a pure function of the epoch, so the state to save is two integers:
    the epoch and the number of batches that were already yielded.
    """

    def __init__(self, fetch: Callable[[Any], Any], order: Callable[[int], Sequence[Any]]) -> None:
        self.fetch, self.order = fetch, order
        self._batches: tuple[int, Sequence[Any]] | None = None  # of the epoch last asked for
        self.epoch, self.position = 0, 0
        self._start = 0  # where the next pass begins: 0, except when a training resumes inside an epoch
        self.sampler = self  # Lightning calls sampler.set_epoch at the start of every epoch
        self.batch_sampler = None  # Lightning reads it on everything that has a sampler

    def set_epoch(self, epoch: int) -> None:
        if epoch != self.epoch:
            self.epoch, self._start = epoch, 0

    @property
    def batches(self) -> Sequence[Any]:
        """The batches of this epoch, in the form that `fetch` takes."""
        if self._batches is None or self._batches[0] != self.epoch:
            self._batches = self.epoch, self.order(self.epoch)
        return self._batches[1]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        self.position, self._start = self._start, 0
        while self.position < len(self.batches):  # an engine may take more batches, and move the position
            self.position += 1
            yield self.fetch(self.batches[self.position - 1])

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.epoch, self._start = state["epoch"], state["position"]


def shuffled(n: int, batch_size: int, seed: int) -> Callable[[int], Sequence[torch.Tensor]]:
    """The order of `n` items in batches of `batch_size` (0 = one batch), shuffled anew each epoch."""

    def order(epoch: int) -> Sequence[torch.Tensor]:
        permutation = streams.generator(seed, "shuffle", epoch).permutation(n)
        return torch.from_numpy(permutation).split(batch_size or n)

    return order


def in_order(n: int, batch_size: int) -> Callable[[int], Sequence[torch.Tensor]]:
    """The order of `n` items in batches of `batch_size` (0 = one batch), from first to last."""
    batches = torch.arange(n).split(batch_size or max(n, 1))
    return lambda epoch: batches
