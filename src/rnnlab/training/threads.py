"""How many CPU threads torch uses, for as long as a run lasts."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def thread_count(n: int | None) -> Iterator[None]:
    """Inside, torch computes with `n` threads (None: as many as it has anyway)."""
    before = torch.get_num_threads()
    if n is not None:
        torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
