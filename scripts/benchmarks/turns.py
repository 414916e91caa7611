"""Timing on a shared machine: in turns, with medians, and on a fixed number of cores."""

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch


def seconds(
    *functions: Callable[[], Any], repeats: int = 7, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """The median time of each function, measured in turns, so that all see the same load. First calls do not count.

    `clock=time.process_time`, for work on one core, leaves out the time of other processes.
    """
    times: list[list[float]] = [[] for _ in functions]
    for turn in range(repeats + 1):
        for function, taken in zip(functions, times, strict=True):
            begin = clock()
            function()
            if turn:
                taken.append(clock() - begin)
    return [statistics.median(taken) for taken in times]


@contextlib.contextmanager
def cores(n: int) -> Iterator[None]:
    """Inside, torch has n threads, and this process and its children have n cores (where the system supports it)."""
    threads, pinned = torch.get_num_threads(), hasattr(os, "sched_setaffinity")
    before = os.sched_getaffinity(0) if pinned else set()
    torch.set_num_threads(n)
    if pinned:
        os.sched_setaffinity(0, sorted(before)[-n:])
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if pinned:
            os.sched_setaffinity(0, before)


def clock(cores: int) -> Callable[[], float]:
    """The clock to use: CPU time on one core, wall time on several."""
    return time.process_time if cores == 1 else time.perf_counter


def core_counts() -> list[int]:
    """One core, and as many as torch uses."""
    return sorted({1, torch.get_num_threads()})


def named(n: int) -> str:
    return f"{n} core{'s' * (n > 1)}"


def verdict(ratio: float, wanted: float) -> str:
    return f"ratio {ratio:.2f} (at least {wanted:g} wanted)"
