"""The signals that ask a training to stop, and their exit codes."""

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# SIGHUP: the terminal was closed, such as by the end of an ssh session; Windows has no SIGHUP
ASKING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
ALWAYS = (signal.SIGINT, signal.SIGTERM)
WARNING = getattr(signal, "SIGUSR2", None)
NAMES = tuple(number.name for number in ASKING)


def in_main_thread() -> bool:
    """Whether this is the main thread, in which alone signal handlers can be set."""
    return threading.current_thread() is threading.main_thread()


@contextmanager
def listening(answer: Callable[[int, Any], None], warned: bool = False) -> Iterator[None]:
    """While open, `answer` handles these signals. A SIGHUP that is ignored, as under nohup, stays ignored. With
    `warned` it also handles SIGUSR2, a cluster's warning that a job's time is almost over, if that had a handler.

    Raises ValueError in another thread than the main one.
    """
    before = {number: signal.getsignal(number) for number in ASKING}
    before = {n: h for n, h in before.items() if n in ALWAYS or h is not signal.SIG_IGN}
    if warned and WARNING is not None and callable(theirs := signal.getsignal(WARNING)):
        before[WARNING] = theirs
    for number in before:
        signal.signal(number, answer)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def at_second(act: Callable[[], Any]) -> Iterator[None]:
    """While open, a thread calls `act` at the second of these signals, even while the main thread is in C code and
    Python's own handlers cannot run. A SIGHUP does not count as the second one. Outside the main thread nothing
    happens.
    """
    if not in_main_thread():
        yield
        return
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)

    def listen() -> None:
        asked = False
        with ours:
            while numbers := ours.recv(64):
                for number in numbers:
                    if asked and number in ALWAYS:
                        return act()
                    asked = asked or number in ASKING or number == WARNING

    threading.Thread(target=listen, daemon=True).start()
    before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        theirs.close()


def exit_code(why: str) -> int:
    """128 plus the number of the signal with which the reason `why` begins; that of Ctrl-C if it names none."""
    name = why.partition(" ")[0]
    return 128 + int(signal.Signals[name] if name in NAMES else signal.SIGINT)
