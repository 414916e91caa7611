"""The working folder on Python's import path: there for the user's own code, away while a stranger's folder is open.

A library may ask for a module that is not installed; a file of that name beside the command would then run.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def join() -> None:
    """Puts the working folder last on the path, unless it is there already."""
    if not any(map(is_here, sys.path)):
        sys.path.append(str(Path.cwd()))


def is_a_runs() -> bool:
    """Whether the working folder lies in a run's folder, which is data."""
    here = Path.cwd()
    return any((folder / "run.json").exists() for folder in (here, *here.parents))


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
