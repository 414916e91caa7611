"""Opens regular files only: a path from another user may lead to an endless device, or a pipe that never answers."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from rnnlab.memory import check_memory

KINDS = {
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}


def from_home(path: str | Path) -> Path:
    """A path with `~` replaced by the home folder; unchanged if the system knows no home folder."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # no HOME and an id without a name, as in a container, or `~somebody`
        return Path(path)


def open_file(path: str | Path) -> BinaryIO:
    """Opens a file to read, without waiting. Raises OSError for anything but a file, such as a device or a pipe."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
    if kind == stat.S_IFREG:
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, f"is {KINDS.get(kind, 'something else')}, and no file", str(path))


def read_file(path: str | Path, times: float = 1.0) -> bytes:
    """The content of a file, up to its size at opening: no more of one that grows, nothing of one with size 0 (/proc).

    Its use needs `times` as much memory as its size. Raises UserError if there is less, OSError as `open_file`.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        check_memory(times * size, f"{path}: with its {size:,} bytes it")
        return file.read(size)
