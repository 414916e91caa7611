"""Finds the file that a wrong value comes from; an error names it if no override sets the key."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from yaml import YAMLError, safe_load

import rnnlab
from rnnlab.config.dotted import value_at
from rnnlab.regular_files import from_home

GLOBAL = ("experiment", "debug", "local")  # groups whose files set keys of the whole config


def config_folder() -> Path:
    """The folder conf/: inside the installed package, or else in the repository."""
    package = Path(rnnlab.__file__).resolve().parent
    packaged = package / "conf"
    return packaged if packaged.is_dir() else package.parents[1] / "conf"


def with_files(lines: Sequence[str], overrides: Sequence[str], folder: str | Path | None) -> list[str]:
    """The lines, each with ` (in FILE)` if a chosen file sets its key and no override does.

    The files are all of the user's `folder`, and rnnlab's own experiments: the values of rnnlab's other files are
    defaults.
    """
    asked = {override.lstrip("+~").partition("=")[0] for override in overrides}
    folders = [config_folder()] if folder is None else [config_folder(), from_home(folder)]
    files = [*file(folders, "local", "default"), *chosen(overrides, folders)]  # no override names local
    files = [one for one in files if one[1] == "" or not one[0].is_relative_to(config_folder())]
    found = []
    for line in lines:
        key = (re.match(r"[\w.]+", line) or [""])[0]
        places = [file for file, at, content in files if key not in asked and sets(content, at, key)]
        found.append(f"{line} (in {places[-1]})" if places else line)
    return found


def chosen(overrides: Sequence[str], folders: Sequence[Path]) -> Iterator[tuple[Path, str, Any]]:
    """(path, key of the section, content) of the files that the overrides choose, each after the files it includes."""
    for override in overrides:
        group, _, names = override.lstrip("+").partition("=")
        for name in names.strip("[]").split(",") if re.fullmatch(r"[\w/]+", group) else ():
            yield from file(folders, group, name.strip("'\" "))


def file(
    folders: Sequence[Path], group: str, name: str, seen: tuple[str, ...] = ()
) -> Iterator[tuple[Path, str, Any]]:
    """As `chosen`, for one file, from the first of the folders that has it, as Hydra takes it."""
    places = (folder / group / f"{name}.yaml" for folder in folders)
    path = next((place for place in places if place.is_file()), None)
    if name in seen or path is None:
        return
    try:
        content = safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, YAMLError):
        return
    if isinstance(content, dict):
        for other in content.get("defaults") or ():
            if isinstance(other, str):
                yield from file(folders, group, other, (*seen, name))
        yield path, "" if group in GLOBAL else group.replace("/", "."), content


def sets(content: Any, at: str, key: str) -> bool:
    """Whether a file's content sets a key to a value; `???` demands one."""
    if at and not key.startswith(f"{at}."):
        return False
    return value_at(content, key.removeprefix(f"{at}." if at else ""), "???") != "???"
