"""A temporary folder that is removed when the command ends, or, after a kill -9, when the next such command begins."""

import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

PREFIX, HELD = "rnnlab-", ".held"
ENDS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextmanager
def scratch() -> Iterator[Path]:
    """An empty folder. Inside, SIGTERM and SIGHUP raise SystemExit, unless they have another handler."""
    clear()
    with _ending():
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        lock = hold(folder)
        try:
            yield folder
        finally:
            with _undisturbed():
                shutil.rmtree(folder, ignore_errors=True)
                if lock is not None:
                    os.close(lock)


def hold(folder: Path) -> int | None:
    """Locks a folder for the life of this process. The lock's file gets its name only after it is locked."""
    if fcntl is None:
        return None
    descriptor = os.open(folder / f"{HELD}.new", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with suppress(OSError):  # without locks, `clear` never removes a folder
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (folder / f"{HELD}.new").rename(folder / HELD)
    return descriptor


def clear() -> None:
    """Removes the folders of processes that have ended."""
    for file in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{HELD}") if fcntl is not None else ():
        folder = file.parent
        with suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)


@contextmanager
def _ending() -> Iterator[None]:
    def end(number: int, _: Any) -> None:
        raise SystemExit(128 + number)

    main = threading.current_thread() is threading.main_thread()
    ours = [number for number in ENDS if main and signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Inside, signals that would end the command are delayed, so that it can clean up.

    A signal mask is not enough: the system gives the signal to another thread, and Python runs its handler in the main
    thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: came.append(number))
        for number in (*ENDS, signal.SIGINT)
        if callable(signal.getsignal(number))
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in came[:1]:
            signal.raise_signal(number)
