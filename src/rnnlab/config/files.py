"""Files and folders that a config names: there, or an error that names the nearest one."""

from pathlib import Path

from rnnlab.config.fields import wrong
from rnnlab.errors import nearest


def file(path: str) -> str:
    """The path as given, if it is a file."""
    if not Path(path).expanduser().is_file():
        raise wrong("{why}", why=_absent(path, "file"))
    return path


def folder(path: str) -> str:
    """The path as given, if it is a folder."""
    if not Path(path).expanduser().is_dir():
        raise wrong("{why}", why=_absent(path, "folder"))
    return path


def _absent(path: str, what: str) -> str:
    place = Path(path).expanduser()
    if place.exists():
        return f"is not a {what}"
    if not place.parent.is_dir():
        return f"no such {what}; there is no folder {place.parent} either"
    beside = [p.name for p in place.parent.iterdir() if (p.is_dir() if what == "folder" else p.is_file())]
    hint = nearest(place.name, beside)
    near = hint.removeprefix(" Did you mean ").removesuffix("?")
    return f"no such {what}." + (f" Did you mean {place.parent / near}?" if hint.startswith(" Did") else "")
