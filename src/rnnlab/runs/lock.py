"""One process at a time trains a run: a lock that dies with its holder, however it dies.

Where a file system does not keep locks (NFS and Lustre may be mounted so), a second process may be granted the same
one. So the holder's name stands in the lock's file: a newcomer looks whether the one that it finds there lives, and the
holder reads it again before it writes, and stops where it finds another.
"""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rnnlab.errors import Gone, UserError, warn
from rnnlab.runs.files import write_whole
from rnnlab.runs.lock_holder import LONG, Holder

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)
BEAT = 0.5  # seconds between two signs of life, and between two looks at who holds
REMEMBERED = 50  # tenths of a second that a folder may seem to be there which another machine has removed
PATIENCE = 6 * BEAT  # how long a holder on another machine may give no sign of life


class Locked(UserError):
    """Another process is training this run."""


@dataclass
class Lock:
    """The lock by which this process has a run's folder."""

    folder: Path
    path: Path | None = None  # the lock's file; None where there are no locks at all
    holder: Holder | None = None
    _beat: float = 0.0

    def check(self) -> None:
        """Raises `Gone` where another process has taken the run. Gives a sign of life, now and then."""
        if self.path is None:
            return
        with suppress(OSError):  # no file: nobody else
            found = Holder.read(self.path)
            if found is not None and found != self.holder:
                raise Gone(f"{self.folder}: another process ({found}) has begun to train this run, so this one "
                           "stops; locks do not hold on this file system")  # fmt: skip
            if time.monotonic() > self._beat + BEAT:
                self._beat = time.monotonic()
                os.utime(self.path)


@contextmanager
def lock(folder: Path) -> Iterator[Lock]:
    """Holds a run's folder, which need not be there yet. Raises `Locked` where another process holds it.

    The lock lies beside the folder, because a run that starts again empties its folder; in `.claims`, as in version
    0.1, whose processes may run at the same time.
    The kernel releases it when its holder ends; the file's leftover means nothing.
    """
    if fcntl is None:
        yield Lock(folder)
        return
    path = folder.parent / ".claims" / folder.name
    new = [above for above in folder.parents if not above.exists()]
    with ExitStack() as stack:
        try:
            descriptor = _hold(path)
            stack.callback(_leave, path, new)
            stack.callback(os.close, descriptor)
            holder = _sign(descriptor, path, folder)
        except BlockingIOError:
            raise Locked(f"{folder}: another process is training this run") from None
        except OSError as error:
            raise UserError(f"paths.outputs: cannot write to {folder.parent}: {error.strerror}") from error
        stack.callback(_unsign, descriptor, path, holder)
        yield Lock(folder, path, holder)


def _unsign(descriptor: int, path: Path, holder: Holder) -> None:
    with suppress(OSError):
        if Holder.read(path) == holder:
            os.ftruncate(descriptor, 0)
            path.unlink()  # while it is held: whoever opened it before finds out, and opens anew


def _leave(path: Path, new: list[Path]) -> None:
    with suppress(OSError):
        path.parent.rmdir()  # the last one out
        for folder in new:  # made for the lock; empty where nothing came of the run
            folder.rmdir()


def _hold(path: Path) -> int:
    """Opens and locks; BlockingIOError where somebody trains the run. Waits for those who only look."""
    while True:
        descriptor = _open(path)
        try:
            _lock(descriptor, path)
            about = os.fstat(descriptor)
            if path.exists() and os.path.samestat(about, path.stat()):
                if about.st_nlink == 1:
                    return descriptor
                # another name of another file, which a holder's name would overwrite: a copy takes its place
                write_whole(path, os.pread(descriptor, LONG, 0))
        except FileNotFoundError:
            pass
        except BlockingIOError:
            try:
                fcntl.flock(
                    descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB
                )  # `is_locked` shares it, a training does not
            except OSError:
                os.close(descriptor)
                raise
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            time.sleep(0.01)
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        _without_locks(path.parent.parent, error.strerror)


@cache
def _without_locks(folder: Path, why: str) -> None:
    warn(f"{folder}: its file system has no locks ({why}); train each of its runs from one machine at a time")


def _sign(descriptor: int, path: Path, folder: Path) -> Holder:
    """Puts this process's name into the lock's file. Raises `Locked` where the one that stands there lives."""
    before = Holder.read(path)
    if before is not None and (before.lives() or (before.is_elsewhere() and _beats(path))):
        raise Locked(f"{folder}: another process ({before}) is training this run")
    holder = Holder.here()
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, holder.text().encode(), 0)
    os.fsync(descriptor)
    return holder


def _beats(path: Path) -> bool:
    """Whether the holder on another machine gives a sign of life."""
    seen, end = _signed_at(path), time.monotonic() + PATIENCE
    while time.monotonic() < end:
        time.sleep(BEAT / 5)
        if _signed_at(path) != seen:
            return True
    return False


def _signed_at(path: Path) -> int:
    """NFS keeps what `stat` says for some seconds, but asks its server anew where a file is opened."""
    with path.open("rb") as file:
        return os.fstat(file.fileno()).st_mtime_ns


def _open(path: Path) -> int:
    """The file of a lock. Its folder is removed with the last lock in it, perhaps between any two lines of these."""
    if link := next((place for place in (path, path.parent) if place.is_symlink()), None):
        raise UserError(f"{link}: is a link, through which no lock is written")  # it would empty another file
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    rights = 0o666  # what the umask leaves of them: users who share a folder write each other's locks, too
    for _ in range(REMEMBERED):
        for _ in range(100):
            with suppress(FileExistsError, FileNotFoundError):
                path.parent.mkdir(parents=True, exist_ok=True)
                return os.open(path, flags, rights)
        if path.exists():  # only in this machine's memory: a holder on another has just removed it
            raise BlockingIOError
        if not path.parent.is_dir():
            break
        with suppress(OSError):
            path.parent.rmdir()  # where it is gone, this machine's memory of it goes, too
        time.sleep(BEAT / 5)
    path.parent.mkdir(parents=True, exist_ok=True)  # raises what is wrong
    return os.open(path, flags, rights)


def is_locked(folder: Path) -> bool:
    """Whether somebody trains the run of a folder now. Only looks; where there are no locks, nobody is seen."""
    path = folder.parent / ".claims" / folder.name
    if fcntl is None or not path.exists():
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # another user's may be there to read only
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
