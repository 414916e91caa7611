"""Files that are files: a stranger's name for one may lead to a device without end, or a pipe without beginning."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from rnnlab.memory import afford

KINDS = {
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}


def from_home(path: str | Path) -> Path:
    """A path with the home folder for its `~`; as it stands where the system knows of no such folder."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # no HOME and an id without a name, as in a container, or `~somebody`
        return Path(path)


def open_file(path: str | Path) -> BinaryIO:
    """A file to read from. OSError for what is none, a device or a pipe say, and it does not wait for one."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
    if kind == stat.S_IFREG:
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, f"is {KINDS.get(kind, 'something else')}, and no file", str(path))


def read_file(path: str | Path, times: float = 1.0) -> bytes:
    """What a file holds when it is opened: of one that grows, or that says it is empty as in /proc, no more.

    `times` as much memory is needed for what becomes of it. Raises UserError where there is not so much.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        afford(times * size, f"{path}: with its {size:,} bytes it")
        return file.read(size)
