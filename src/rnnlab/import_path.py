"""The working folder on Python's import path: there for the user's own code, away while a stranger's folder is open.

A library may ask for a module that is not installed; a file of that name beside the command would then run.
"""

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def join() -> None:
    """Puts the working folder last on the path, unless it is there already."""
    if not any(map(is_here, sys.path)):
        sys.path.append(str(Path.cwd()))


def is_a_runs(place: Path | None = None) -> bool:
    """Whether a place (by default the working folder) is or lies in a run's folder, which is data."""
    place = place or Path.cwd()
    return any((folder / "run.json").exists() for folder in (place, *place.parents))


@contextmanager
def absent() -> Iterator[None]:
    """While open, the working folder is not on the path, except where `join` puts it there."""
    before = list(sys.path)
    sys.path[:] = [entry for entry in before if not is_here(entry)]
    try:
        yield
    finally:
        added = [entry for entry in sys.path if entry not in before and not is_here(entry)]
        sys.path[:] = before + added


def is_here(entry: str) -> bool:
    """Whether an entry of the path is the working folder, which "" stands for, too."""
    try:
        return Path(entry).resolve() == Path.cwd().resolve()
    except (OSError, ValueError):
        return False


@contextmanager
def drawing_alike() -> Iterator[None]:
    """While open, the global generators begin with a fixed seed: what a user's module draws where it is imported, which
    is once in a process, is the same in each process and for each run.
    """
    import numpy as np
    import torch

    python, numpys = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(0), np.random.seed(0), torch.default_generator.manual_seed(0)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpys)
