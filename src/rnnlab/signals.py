"""The signals that ask a training to stop, and the exit codes that a shell knows them by."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# SIGHUP: the terminal is gone, a closed ssh say; Windows has none
ASKING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
ALWAYS = (signal.SIGINT, signal.SIGTERM)
NAMES = tuple(number.name for number in ASKING)


@contextmanager
def listening(answer: Callable[[int, Any], None]) -> Iterator[None]:
    """While open, `answer` takes these signals; but nohup's word stands, which has SIGHUP ignored.

    Raises ValueError in another thread than the main one.
    """
    before = {number: signal.getsignal(number) for number in ASKING}
    before = {n: h for n, h in before.items() if n in ALWAYS or h is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, answer)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_code(why: str) -> int:
    """128 and the number of the signal that a reason to stop begins with; of Ctrl-C where it names none."""
    name = why.partition(" ")[0]
    return 128 + int(signal.Signals[name] if name in NAMES else signal.SIGINT)
