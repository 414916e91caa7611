"""Puts the working folder on Python's import path for the user's own code, and takes it away for other users' runs.

A library may try to import a module that is not installed; a file of that name in the working folder would then run.
"""

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def join() -> None:
    """Puts the working folder at the end of the import path, unless it is already on it."""
    if not any(map(is_here, sys.path)):
        sys.path.append(str(Path.cwd()))


def is_a_runs(place: Path | None = None) -> bool:
    """Whether a folder (by default the working folder) is a run's folder or lies in one: a run's folder is data."""
    place = place or Path.cwd()
    return any((folder / "run.json").exists() for folder in (place, *place.parents))


@contextmanager
def absent() -> Iterator[None]:
    """While open, the working folder is not on the import path, unless `join` puts it there."""
    before = list(sys.path)
    sys.path[:] = [entry for entry in before if not is_here(entry)]
    try:
        yield
    finally:
        added = [entry for entry in sys.path if entry not in before and not is_here(entry)]
        sys.path[:] = before + added


def is_here(entry: str) -> bool:
    """Whether an entry of the import path is the working folder; "" also stands for it."""
    try:
        return Path(entry).resolve() == Path.cwd().resolve()
    except (OSError, ValueError):
        return False


@contextmanager
def drawing_alike() -> Iterator[None]:
    """While open, the global generators start from a fixed seed. A user's module is imported once per process; so the
    random numbers that it draws at its import are the same in all processes and for all runs.
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
