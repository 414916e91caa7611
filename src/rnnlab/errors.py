"""Errors for the user: the wrong setting, what is possible, and the nearest right spelling."""

import difflib
from collections.abc import Iterable

from rnnlab.terminal.screen import one_line, say


class PlainError(Exception):
    """An error that is shown without a traceback, one line for each argument; a line break inside it is escaped."""

    exit_code = 1

    def __str__(self) -> str:
        return "\n".join(map(one_line, self.args))

    def _render_traceback_(self) -> list[str]:
        """The lines that IPython shows in a notebook: the message, without a traceback."""
        return [f"{type(self).__name__}: {self}"]


class UserError(PlainError):
    """Something the user asked for is not possible. Exit code 2."""

    exit_code = 2


class RunFailed(PlainError):
    """A run that started but could not finish, such as for a diverged loss. Exit code 1."""


class Gone(RunFailed):
    """The process has lost the run's folder: it was deleted, moved, or taken by another. Nothing is written there."""


def warn(said: str) -> None:
    """Writes a warning to standard error."""
    say(said, error=True)


def counted(n: int, what: str) -> str:
    """A number and its noun: "1 run", "2,000 runs", "4 batches"."""
    return f"{n:,} {what}{'' if n == 1 else 'es' if what.endswith('tch') else 's'}"


def nearest(word: str, possible: Iterable[str]) -> str:
    """' Did you mean X?' for the nearest of `possible`, or ' Possible: ...' with all of them if none is near. `word`
    itself is never suggested: the caller has already refused it.
    """
    possible = sorted(one for one in possible if one != word)
    match = difflib.get_close_matches(word, possible, n=1, cutoff=0.6)
    if match:
        return f" Did you mean {match[0]}?"
    return f" Possible: {', '.join(possible)}." if possible else ""
