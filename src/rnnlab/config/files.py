"""Checks that files and folders in a config exist; an error names the nearest one."""

import csv

from rnnlab.config.fields import wrong
from rnnlab.errors import nearest
from rnnlab.regular_files import from_home

SHOWN = 20  # columns that an error names


def file(path: str) -> str:
    """The path as given, if it is a file."""
    return _there(path, "file")


def files(paths: str | list[str]) -> str | list[str]:
    """The paths as given, if one is a folder or each is a file."""
    if isinstance(paths, str) and _is(paths, "folder"):
        return _there(paths, "folder")
    for path in [paths] if isinstance(paths, str) else paths:
        file(path)
    return paths


def folder(path: str) -> str:
    """The path as given, if it is a folder."""
    return _there(path, "folder")


def columns(path: object, delimiter: object = None) -> str:
    """A text with the names of a table's columns; "" if the file cannot be read or has only one column."""
    if not isinstance(path, str) or not _is(path, "file"):
        return ""
    try:
        with from_home(path).open(encoding="utf-8-sig", newline="") as table:
            first = table.readline(10_000)
    except (OSError, ValueError):
        return ""
    mark = str(delimiter).replace(r"\t", "\t") if delimiter else max(",;\t|", key=first.count)
    names = next(csv.reader([first], delimiter=mark), []) if len(mark) == 1 else []
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{path} has {', '.join(names[:SHOWN])}{more}" if len(names) > 1 else ""


def _there(path: str, what: str) -> str:
    if not _is(path, what):
        raise wrong("{why}", why=_absent(path, what))
    try:
        path.encode()
    except UnicodeEncodeError:  # Python reads a name of other bytes with surrogates
        raise wrong("its name is not UTF-8, which config.yaml could not hold; rename it") from None
    return path


def _is(path: str, what: str) -> bool:
    """Whether `path` is a file or a folder (`what`); false also for a name that no file can have."""
    try:
        place = from_home(path)
        return place.is_file() if what == "file" else place.is_dir()
    except (OSError, ValueError):
        return False


def _absent(path: str, what: str) -> str:
    try:
        return _near(path, what)
    except (OSError, ValueError):
        return f"no such {what}"


def _near(path: str, what: str) -> str:
    place = from_home(path)
    if place.exists():
        return f"is not a {what}"
    if not place.parent.is_dir():
        return f"no such {what}; there is no folder {place.parent} either"
    beside = [p.name for p in place.parent.iterdir() if (p.is_dir() if what == "folder" else p.is_file())]
    hint = nearest(place.name, beside)
    near = hint.removeprefix(" Did you mean ").removesuffix("?")
    return f"no such {what}." + (f" Did you mean {place.parent / near}?" if hint.startswith(" Did") else "")
