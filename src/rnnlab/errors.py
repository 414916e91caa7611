"""Errors that help: what was asked, what is possible, and the nearest right spelling."""

import difflib
from collections.abc import Iterable

from rnnlab.terminal.screen import one_line, say


class Told(Exception):
    """Shown as its message alone. Each argument is a line of it: a break inside one is shown, and breaks no line."""

    exit_code = 1

    def __str__(self) -> str:
        return "\n".join(map(one_line, self.args))

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in a notebook: the message, without the frames of rnnlab."""
        return [f"{type(self).__name__}: {self}"]


class UserError(Told):
    """Something the user asked for is not possible. Exit code 2."""

    exit_code = 2


class RunFailed(Told):
    """A run that started and could not finish (a diverged loss, say). Exit code 1."""


class Gone(RunFailed):
    """The run's folder is no longer this process's: deleted, moved, or taken by another. Nothing is written there."""


def warn(said: str) -> None:
    """Something that the user should know of, on standard error."""
    say(said, error=True)


def nearest(word: str, possible: Iterable[str]) -> str:
    """' Did you mean X?' for the nearest of `possible`, or the choices themselves when none is near. `word` itself is
    no choice: whoever asks has found that it is not what is sought.
    """
    possible = sorted(one for one in possible if one != word)
    match = difflib.get_close_matches(word, possible, n=1, cutoff=0.6)
    if match:
        return f" Did you mean {match[0]}?"
    return f" Possible: {', '.join(possible)}." if possible else ""
