"""Finds the user's file that a wrong value comes from; an error names it if no override sets the key."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from yaml import YAMLError, safe_load

import rnnlab
from rnnlab.regular_files import from_home

GLOBAL = ("experiment", "debug", "local")  # groups whose files set keys of the whole config


def config_folder() -> Path:
    """The folder conf/: inside the installed package, or else in the repository."""
    package = Path(rnnlab.__file__).resolve().parent
    packaged = package / "conf"
    return packaged if packaged.is_dir() else package.parents[1] / "conf"


def with_files(lines: Sequence[str], overrides: Sequence[str], folder: str | Path | None) -> list[str]:
    """The lines, each with ` (in FILE)` if a file of the user's `folder` sets its key and no override does."""
    asked = {override.lstrip("+~").partition("=")[0] for override in overrides}
    files = list(file(config_folder(), "local", "default"))  # read although no override names it
    if folder is not None:
        files += [*file(from_home(folder), "local", "default"), *chosen(overrides, from_home(folder))]
    found = []
    for line in lines:
        key = (re.match(r"[\w.]+", line) or [""])[0]
        places = [file for file, at, content in files if key not in asked and sets(content, at, key)]
        found.append(f"{line} (in {places[-1]})" if places else line)
    return found


def chosen(overrides: Sequence[str], folder: Path) -> Iterator[tuple[Path, str, Any]]:
    """(path, key of the section, content) of the files that the overrides choose, each after the files it includes."""
    for override in overrides:
        group, _, names = override.lstrip("+").partition("=")
        for name in names.strip("[]").split(",") if re.fullmatch(r"[\w/]+", group) else ():
            yield from file(folder, group, name.strip("'\" "))


def file(folder: Path, group: str, name: str, seen: tuple[str, ...] = ()) -> Iterator[tuple[Path, str, Any]]:
    path = folder / group / f"{name}.yaml"
    if name in seen or not path.is_file():
        return
    try:
        content = safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, YAMLError):
        return
    if isinstance(content, dict):
        for other in content.get("defaults") or ():
            if isinstance(other, str):
                yield from file(folder, group, other, (*seen, name))
        yield path, "" if group in GLOBAL else group.replace("/", "."), content


def sets(content: Any, at: str, key: str) -> bool:
    if at and not key.startswith(f"{at}."):
        return False
    for part in key.removeprefix(f"{at}." if at else "").split("."):
        if not isinstance(content, dict) or part not in content:
            return False
        content = content[part]
    return True
