"""Reads a user's text: a file, several files, or a folder of files, each of which may be gzipped."""

import difflib
import itertools
from collections.abc import Sequence
from pathlib import Path

from rnnlab.data.table import GZIP, gunzip
from rnnlab.errors import UserError, counted, nearest
from rnnlab.memory import check_memory
from rnnlab.regular_files import from_home, read_file

SUFFIXES = (".txt", ".md", ".text")  # files in a folder that are read, also with .gz after it
ENTRIES = 200_000  # the most files and folders below a folder that is searched for texts


def read_texts(paths: str | Path | Sequence[str | Path], encoding: str, key: str = "data.path") -> str:
    """The text of a file, of a list of files, or of all texts below a folder in the order of their paths.

    A text without a final newline gets one if another text follows. Raises UserError for files that cannot be read;
    its message calls them by `key`, the key of the config that names them.
    """
    paths = str(paths) if isinstance(paths, Path) else paths
    if isinstance(paths, str) and (folder := from_home(paths)).is_dir():
        try:
            below = sorted(itertools.islice(folder.rglob("*"), ENTRIES + 1))
            if len(below) > ENTRIES:
                raise UserError(
                    f"{key}={paths}: more than {ENTRIES:,} files are below it; name a folder of texts"
                )
            found = [p for p in below if p.name.removesuffix(".gz").endswith(SUFFIXES) and p.is_file()]
            check_memory(
                3.0 * sum(p.stat().st_size for p in found),
                f"{key}={paths}: reading its {counted(len(found), 'text')}",
            )
        except OSError as error:  # such as a folder of the system without permission to read
            raise UserError(f"{key}={paths}: {error.filename} cannot be read: {error.strerror}") from None
        if not found:
            raise UserError(f"{key}={paths}: the folder holds no text ({', '.join(SUFFIXES)}, also with .gz)")
    elif isinstance(paths, int | float):
        raise UserError(f"{key}={paths}: must be a file's name, or a list of names")
    else:
        found = [Path(path) for path in ([paths] if isinstance(paths, str) else paths)]
    texts = [read_text(path, encoding, key) for path in found]
    return "".join(text if text.endswith("\n") else text + "\n" for text in texts[:-1]) + texts[-1]


def read_text(path: Path, encoding: str, key: str = "data.path") -> str:
    """A file's text, unchanged except for a byte-order mark. Raises UserError if it cannot be read or is empty."""
    try:
        content = read_file(from_home(path), 3)
    except FileNotFoundError:
        folder = from_home(path).parent
        names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
        near = nearest(path.name, difflib.get_close_matches(path.name, names, n=1))
        raise UserError(f"{key}={path}: no such file.{near}") from None
    except OSError as error:
        raise UserError(f"{key}={path}: {error.strerror}") from None
    if content[:2] == GZIP:
        content = gunzip(content, path)
    try:
        text = content.decode(encoding).removeprefix("\ufeff")
    except LookupError:
        raise UserError(
            f"data.encoding={encoding}: no such encoding. Common: utf-8, latin-1, cp1252, utf-16"
        ) from None
    except UnicodeError as error:
        place = f" at byte {error.start}" if isinstance(error, UnicodeDecodeError) else ""
        raise UserError(
            f"{key}={path}: not {encoding}{place}; name its encoding, such as data.encoding=latin-1"
        ) from None
    if not text:
        raise UserError(f"{key}={path}: the file is empty")
    return text
