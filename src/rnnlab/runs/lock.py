"""The lock of a run's folder: only one process at a time trains a run. The lock ends with its process.

On file systems that do not enforce locks (NFS and Lustre may be mounted so), a second process may be granted the same
lock. Therefore the holder writes its name into the lock's file. A new process checks whether the holder named there is
alive. The holder reads the file again before it writes into the run's folder, and stops where it finds another name.
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
BEAT = 0.5  # seconds between two signs of life of a holder (it sets the file's modification time)
REMEMBERED = 50  # attempts, BEAT / 5 apart: NFS may go on showing a folder that another machine has removed
PATIENCE = 6 * BEAT  # seconds without a sign of life, after which a holder on another machine counts as dead


class Locked(UserError):
    """Another process is training this run."""


@dataclass
class Lock:
    """The lock that this process holds on a run's folder."""

    folder: Path
    path: Path | None = None  # the lock's file; None where there are no locks at all
    holder: Holder | None = None
    _beat: float = 0.0

    def check(self) -> None:
        """Raises `Gone` where another process has taken the run. Gives a sign of life every `BEAT` seconds."""
        if self.path is None:
            return
        with suppress(OSError):  # no file: no other holder
            found = Holder.read(self.path)
            if found is not None and found != self.holder:
                raise Gone(f"{self.folder}: another process ({found}) has begun to train this run, so this one "
                           "stops; locks do not hold on this file system")  # fmt: skip
            if time.monotonic() > self._beat + BEAT:
                self._beat = time.monotonic()
                os.utime(self.path)


@contextmanager
def lock(folder: Path) -> Iterator[Lock]:
    """Holds the lock of a run's folder, which need not exist yet. Raises `Locked` where another process holds it.

    The lock's file is not in the run's folder, because a run that starts again removes its folder. It is in `.claims`
    beside it. The kernel releases the lock when its holder ends; a file that is left over means nothing.
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
            path.unlink()  # while locked: a process that has opened it already notices, and opens a new file


def _leave(path: Path, new: list[Path]) -> None:
    with suppress(OSError):
        path.parent.rmdir()  # fails unless this was the last lock in it
        for folder in new:  # made for the lock; empty where the run was refused
            folder.rmdir()


def _hold(path: Path) -> int:
    """Opens and locks the file. Raises BlockingIOError where a process trains the run; waits for `is_locked`."""
    while True:
        descriptor = _open(path)
        try:
            _lock(descriptor, path)
            about = os.fstat(descriptor)
            if path.exists() and os.path.samestat(about, path.stat()):
                if about.st_nlink == 1:
                    return descriptor
                # a hard link: writing a name would also change another file, so a copy replaces it
                write_whole(path, os.pread(descriptor, LONG, 0))
        except FileNotFoundError:
            pass
        except BlockingIOError:
            try:
                # succeeds beside `is_locked`, and not beside a training
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
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
    """Writes this process's name into the lock's file. Raises `Locked` where the holder named there is alive."""
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
    """When the holder gave its last sign of life (ns). Opens the file: NFS caches `stat` until a file is opened."""
    with path.open("rb") as file:
        return os.fstat(file.fileno()).st_mtime_ns


def _open(path: Path) -> int:
    """Opens a lock's file. Another process may remove the file's folder at any time, with the last lock in it."""
    if link := next((place for place in (path, path.parent) if place.is_symlink()), None):
        raise UserError(f"{link}: is a link, through which no lock is written")  # it would empty another file
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    rights = 0o666  # reduced by the umask: users who share a folder must write each other's locks
    for _ in range(REMEMBERED):
        for _ in range(100):
            with suppress(FileExistsError, FileNotFoundError):
                path.parent.mkdir(parents=True, exist_ok=True)
                return os.open(path, flags, rights)
        if path.exists():  # only in NFS's cache: a holder on another machine has removed it
            raise BlockingIOError
        if not path.parent.is_dir():
            break
        with suppress(OSError):
            path.parent.rmdir()  # where it is gone, this clears the cached entry
        time.sleep(BEAT / 5)
    path.parent.mkdir(parents=True, exist_ok=True)  # raises the actual error
    return os.open(path, flags, rights)


def is_locked(folder: Path) -> bool:
    """Whether a process trains the run of a folder now. Takes no lock; False where the file system has no locks."""
    path = folder.parent / ".claims" / folder.name
    if fcntl is None or not path.exists():
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # another user's file may be read-only
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
