"""The cache folder, for files that can be made again: compiled kernels, hashes, the source of notebook classes."""

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from rnnlab.errors import UserError
from rnnlab.regular_files import from_home


def cache_folder() -> Path:
    """$RNNLAB_CACHE, else rnnlab in $XDG_CACHE_HOME, else ~/.cache/rnnlab.

    Where RNNLAB_CACHE is not set and that folder cannot be written (no home, or a read-only one), a private folder in
    the system's temporary folder is used, so that a run still uses the kernels, which give the same numbers everywhere.
    Raises UserError where there is no folder at all.
    """
    if own := os.environ.get("RNNLAB_CACHE"):
        return from_home(own)
    usual = _usual()
    if usual is not None and _can_be_written(usual):
        return usual
    if (found := private_temporary() or usual) is None:
        raise UserError("there is neither a home folder nor one for temporary files: set RNNLAB_CACHE")
    return found


def cache_folders() -> list[Path]:
    """The folders to search: `cache_folder()`, and the usual one where that is another and can only be read."""
    now, usual = cache_folder(), None if os.environ.get("RNNLAB_CACHE") else _usual()
    return [now] if usual in (None, now) else [now, usual]


def _usual() -> Path | None:
    if base := os.environ.get("XDG_CACHE_HOME"):
        return from_home(base) / "rnnlab"
    home = from_home("~")
    return None if home == Path("~") else home / ".cache" / "rnnlab"


def _can_be_written(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.R_OK | os.W_OK | os.X_OK)


def private_temporary() -> Path | None:
    """A temporary folder into which no other user can put a file; None where there is none."""
    with suppress(OSError, AttributeError):  # no temporary folder, or a system without user ids
        folder = Path(tempfile.gettempdir()) / f"rnnlab-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        about = folder.lstat()
        if stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid() and not about.st_mode & 0o022:
            return folder
    return None
