"""A text of the user's own."""

import difflib
from pathlib import Path

from rnnlab.errors import UserError, nearest
from rnnlab.regular_files import read_file


def read_text(path: Path, encoding: str) -> str:
    """A file's text as it stands, without a byte-order mark. Raises UserError, with the place."""
    try:
        content = read_file(path.expanduser(), 3)
    except FileNotFoundError:
        folder = path.expanduser().parent
        names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
        near = nearest(path.name, difflib.get_close_matches(path.name, names, n=1))
        raise UserError(f"data.path={path}: no such file.{near}") from None
    except OSError as error:
        raise UserError(f"data.path={path}: {error.strerror}") from None
    try:
        text = content.decode(encoding).removeprefix("\ufeff")
    except LookupError:
        raise UserError(
            f"data.encoding={encoding}: no such encoding. Common: utf-8, latin-1, cp1252, utf-16"
        ) from None
    except UnicodeError as error:
        place = f" at byte {error.start}" if isinstance(error, UnicodeDecodeError) else ""
        raise UserError(
            f"data.path={path}: not {encoding}{place}; name its encoding, such as data.encoding=latin-1"
        ) from None
    if not text:
        raise UserError(f"data.path={path}: the file is empty")
    return text
