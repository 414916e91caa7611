"""Sets the number of CPU threads that torch uses during a run."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def thread_count(n: int | None) -> Iterator[None]:
    """Inside, torch uses `n` threads (None: unchanged, unless `one_where_it_counts` sets one); restored at the end."""
    before = torch.get_num_threads()
    if n is not None:
        torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def one_where_it_counts(engine: dict[str, str], accelerator: str) -> None:
    """Sets one thread where the number of threads may change bits: where torch computes the steps on a CPU.

    So a run whose config gives no number has the same bits alone, in a sweep and on a larger machine.
    """
    if accelerator == "cpu" and engine["steps"] != "native":
        torch.set_num_threads(1)
