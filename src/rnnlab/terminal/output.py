"""Handles standard streams that are closed, or whose reader has gone."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


def open_closed() -> None:
    """Opens /dev/null where a standard stream is closed (`>&-`); else the next opened file would get its number."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
            os.set_inheritable(null, True)  # for the programs that are started
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


class Lasting:
    """A text stream that drops output once its reader has gone (`| head -1`, a closed terminal) or its disk is full."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            self._silence()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._silence()

    def _silence(self) -> None:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self._stream.fileno())
        os.close(null)


@contextmanager
def lasting(*names: str) -> Iterator[None]:
    """While open, an error on these standard streams ("stdout", "stderr") does not end the process."""
    before = {name: getattr(sys, name) for name in names}
    for name, stream in before.items():
        with suppress(OSError, ValueError):  # no file: a notebook's, or a test's
            os.set_blocking(stream.fileno(), True)  # else a slow reader of a pipe would count as gone
        setattr(sys, name, Lasting(stream))
    try:
        yield
    finally:
        for name, stream in before.items():
            getattr(sys, name).flush()
            setattr(sys, name, stream)
