"""Atomic and durable writes: a file is written completely under a temporary name, then renamed."""

import json
import os
import re
import secrets
import stat
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from rnnlab.errors import UserError
from rnnlab.regular_files import read_file

JSON_BYTES = 50_000_000
BITS = 64  # the most bits of an integer
AT_ONCE = 16  # files that are synced in parallel: those of a run


def write_whole(
    path: Path, content: bytes, durable: bool = False, after: Iterable[Path] | None = None
) -> None:
    """Replaces `path` by `content` in one rename; with `durable` waits until both are on the disk.

    With `after` it waits until the content and those paths are on the disk, and then renames, so that a power cut
    leaves the old file, or the new one together with those paths. It does not wait for the rename.

    Where this fails, for example on a full disk, `path` is unchanged and no temporary file is left. An empty folder of
    that name is removed.
    """
    # another user cannot guess the name and put a link there; mode "x" does not follow links either
    temporary = path.with_name(f".{path.name}.{secrets.randbelow(10**12)}")
    try:
        with temporary.open("xb") as f:
            f.write(content)
            if durable:
                f.flush()
                os.fsync(f.fileno())
        if after is not None:
            sync_all([temporary, *after])
        with suppress(OSError):
            path.rmdir()
        temporary.replace(path)
    except OSError as error:
        if not isinstance(error, FileExistsError):  # else it is another writer's file
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        error.filename = str(path)  # the message must name this file, not the temporary one
        raise
    if durable:
        sync_folder(path.parent)


def link_out(place: Path, folder: Path, except_for: Iterable[Path] = ()) -> Path | None:
    """A symbolic link through which a write to `place`, or below it, would leave `folder`; None where there is none."""
    inside = folder.resolve()
    # these links of W&B lead to its cache; W&B does not write through them any more
    kept = {*except_for, *place.glob("wandb/*run-*/logs/*.log")}
    ways = [place, *(path for path in place.rglob("*") if path.is_symlink() and path not in kept)]
    return next((path for path in ways if not path.resolve().is_relative_to(inside)), None)


def part_hard_links(place: Path, except_for: Iterable[Path] = ()) -> None:
    """Replaces a hard-linked file, or each one below a folder, by a copy, so that writing into it does not change the
    same file under its other name, for example in a backup made by `cp -al`.
    """
    for path in (place, *place.rglob("*")):
        about = path.lstat() if path not in except_for and os.path.lexists(path) else None
        if about is not None and stat.S_ISREG(about.st_mode) and about.st_nlink > 1:
            write_whole(path, path.read_bytes())


def sync_folder(folder: Path) -> None:
    """Waits until the renames in a folder are on the disk, where the system supports that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sync_all(paths: Iterable[Path]) -> None:
    """Waits until files and folders are on the disk, for all in parallel: the disk writes them together.

    A path that does not exist is skipped. Raises OSError where a file cannot be written.
    """
    list(_threads(os.getpid()).map(_sync_one, [path for path in paths if path.exists()]))


@cache
def _threads(pid: int) -> ThreadPoolExecutor:
    """The threads of process `pid`: a forked process does not inherit threads, and needs new ones."""
    return ThreadPoolExecutor(AT_ONCE, "settling")


def _sync_one(path: Path) -> None:
    if path.is_dir():
        sync_folder(path)
        return
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def clear_leftovers(folder: Path) -> None:
    """Removes the temporary files that killed writers have left in a folder and below."""
    for file in folder.rglob(".*"):
        if re.search(r"\.\d+$", file.name) and file.is_file():
            file.unlink(missing_ok=True)


def write_json(path: Path, value: Any, durable: bool = False, after: Iterable[Path] | None = None) -> None:
    """Writes JSON. Bytes of a path that are no UTF-8 become "?": a text with them could not be read again."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    write_whole(path, text.encode(errors="replace"), durable, after)


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises UserError where it cannot be read, is not JSON, or is larger than any file of
    rnnlab, and FileNotFoundError where there is none.
    """
    try:
        if path.stat().st_size > JSON_BYTES:
            raise UserError(f"{path}: larger than {JSON_BYTES:,} bytes; not read")
        return _parsed(read_file(path).decode("utf-8"))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as JSON: {error}") from error


def _parsed(text: str) -> Any:
    is_long = False

    def whole(digits: str) -> int:
        nonlocal is_long
        number = int(digits)
        is_long = is_long or number.bit_length() > BITS
        return number

    found = json.loads(text, parse_int=whole)
    if is_long:
        raise ValueError(f"{endless(found)} is a whole number of more than 64 bits")
    return found


def endless(value: Any, at: str = "") -> str:
    """The place of an integer with more than 64 bits, which no counter can hold; "" where there is none."""
    if isinstance(value, int):
        return (at or "it") if value.bit_length() > BITS else ""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in inside:
        if isinstance(key, int) and key.bit_length() > BITS:
            return f"a key of {at or 'it'}"
        if found := endless(inner, f"{at}.{key}" if at else str(key)):
            return found
    return ""
