"""How many CPU threads torch uses, for as long as a run lasts."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def thread_count(n: int | None) -> Iterator[None]:
    """Inside, torch computes with `n` threads (None: as many as it has anyway, or as `one_where_it_counts` says)."""
    before = torch.get_num_threads()
    if n is not None:
        torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def one_where_it_counts(engine: dict[str, str], accelerator: str) -> None:
    """Takes one thread where their number may change bits: where torch computes the steps, on a CPU.

    So a run whose config names no number has the same bits alone, in a sweep and on a larger machine.
    """
    if accelerator == "cpu" and engine["steps"] != "native":
        torch.set_num_threads(1)
