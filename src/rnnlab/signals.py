"""The signals that ask a training to stop, and the exit codes that a shell knows them by."""

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# SIGHUP: the terminal is gone, a closed ssh say; Windows has none
ASKING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
ALWAYS = (signal.SIGINT, signal.SIGTERM)
WARNING = getattr(signal, "SIGUSR2", None)
NAMES = tuple(number.name for number in ASKING)


def in_main_thread() -> bool:
    """Where alone signals can be listened to."""
    return threading.current_thread() is threading.main_thread()


@contextmanager
def listening(answer: Callable[[int, Any], None], warned: bool = False) -> Iterator[None]:
    """While open, `answer` takes these signals; but nohup's word stands, which has SIGHUP ignored. With `warned` it
    takes a cluster's warning that a job's time is almost over (SIGUSR2), too, where somebody would have answered it.

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
    """While open, a thread calls `act` at the second of these signals, also while the main thread waits in C, where
    Python's own handlers have to wait for it. A second SIGHUP is none. It listens in the
    main thread only.
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
    """128 and the number of the signal that a reason to stop begins with; of Ctrl-C where it names none."""
    name = why.partition(" ")[0]
    return 128 + int(signal.Signals[name] if name in NAMES else signal.SIGINT)
