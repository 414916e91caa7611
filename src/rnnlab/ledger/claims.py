"""One process at a time trains a run: a lock that dies with its holder, however it dies."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rnnlab.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class Claimed(UserError):
    """Another process is training this run."""


@contextmanager
def claim(folder: Path) -> Iterator[None]:
    """Holds a run's folder, which need not be there yet. Raises `Claimed` where another process holds it.

    The lock lies beside the folder, in `.claims`, because a run that begins again begins with an empty folder.
    The kernel releases it when its holder ends; the file's leftover means nothing.
    """
    if fcntl is None:
        yield
        return
    path = folder.parent / ".claims" / folder.name
    try:
        descriptor = _hold(path)
    except BlockingIOError:
        raise Claimed(f"{folder}: another process is training this run") from None
    except OSError as error:
        if isinstance(error, PermissionError) or error.errno == 30:  # a read-only folder
            raise UserError(f"paths.outputs: cannot write to {folder.parent}: {error.strerror}") from error
        yield  # a file system without locks
        return
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()  # while it is held: whoever opened it before finds out, and opens anew
        os.close(descriptor)
        with suppress(OSError):
            path.parent.rmdir()  # the last one out


def _hold(path: Path) -> int:
    """Opens and locks; BlockingIOError where somebody trains the run. Waits for those who only look."""
    while True:
        descriptor = _open(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except FileNotFoundError:
            pass
        except BlockingIOError:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared with `held`, with no training
            except OSError:
                os.close(descriptor)
                raise
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            time.sleep(0.01)
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _open(path: Path) -> int:
    """The file of a claim. Its folder goes with the last claim in it, also between any two lines of these."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    for _ in range(100):
        with suppress(FileExistsError, FileNotFoundError):
            path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(path, flags, 0o644)
    path.parent.mkdir(parents=True, exist_ok=True)  # raises what is wrong
    return os.open(path, flags, 0o644)


def held(folder: Path) -> bool:
    """Whether somebody trains the run of a folder now. Only looks; where there are no locks, nobody is seen."""
    path = folder.parent / ".claims" / folder.name
    if fcntl is None or not path.exists():
        return False
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
