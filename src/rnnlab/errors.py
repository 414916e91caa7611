"""Errors that help: what was asked, what is possible, and the nearest right spelling."""

import difflib
import sys
from collections.abc import Iterable


class UserError(Exception):
    """Something the user asked for is not possible. Shown as its message alone; exit code 2."""

    exit_code = 2


class RunFailed(Exception):
    """A run that started and could not finish (a diverged loss, say). Shown as its message; exit code 1."""

    exit_code = 1


class Gone(RunFailed):
    """The run's folder is no longer this process's: deleted, moved, or taken by another. Nothing is written there."""


def warn(line: str) -> None:
    """Something that the user should know of, on standard error."""
    print(line, file=sys.stderr)


def nearest(word: str, possible: Iterable[str]) -> str:
    """' Did you mean X?' for the nearest of `possible`, or the choices themselves when none is near."""
    possible = sorted(possible)
    match = difflib.get_close_matches(word, possible, n=1, cutoff=0.6)
    if match:
        return f" Did you mean {match[0]}?"
    return f" Possible: {', '.join(possible)}." if possible else ""
