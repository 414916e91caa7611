"""Opens an archive that may come from a stranger: with bounds on its size, and unpacking only what is needed."""

import io
import os
import shutil
import stat
import struct
import zipfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from rnnlab.errors import UserError
from rnnlab.regular_files import open_file
from rnnlab.reproduce.archive import OF_A_RUN
from rnnlab.reproduce.scratch import scratch
from rnnlab.runs.run import runs, silently
from rnnlab.terminal.screen import one_line

FILES, RUNS = 200_000, 20_000  # the most in an archive
DIRECTORY = 50_000_000  # the most bytes of its table of contents
RECORD = 1_000_000  # the most bytes of a run.json
TOTAL = 8_000_000_000  # the most bytes that are unpacked
RATIO, SMALL = 200, 10_000_000  # the largest compression ratio of more than SMALL bytes
OUT = "\\\0" + ":" * (os.name == "nt")  # signs that lead elsewhere; on Windows a colon ends a drive's name
PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
DAMAGE = (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error, EOFError)

Members = dict[str, zipfile.ZipInfo]  # {path below a run's folder: member}


class Opened(NamedTuple):
    """`folder` is the experiment's, with the run.json of every run; `fill(name)` unpacks the rest of one run."""

    folder: Path
    fill: Callable[[str], None]


class Bounded(io.BufferedReader):
    """A file that refuses to read more than DIRECTORY bytes at once."""

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > DIRECTORY:
            raise ValueError(f"a table of contents of {size:,} bytes")
        return super().read(size)


@contextmanager
def opened(file: Path) -> Iterator[Opened]:
    """The experiment inside an archive, unpacked as far as needed into a temporary folder.

    Raises UserError where the file is not an archive of runs, or exceeds a bound.
    """
    with scratch() as folder, ExitStack() as stack:
        with reading(file):
            content = stack.enter_context(Bounded(open_file(file).detach()))  # type: ignore[attr-defined]
            archive = stack.enter_context(zipfile.ZipFile(content))
            name, found = contents(archive, file)
            unpack(archive, [members["run.json"] for members in found.values()], file, folder)

        def fill(run: str) -> None:
            rest = [member for path, member in found[run].items() if path != "run.json"]
            with reading(file):
                unpack(archive, rest, file, folder)

        if not runs(folder / name, silently):
            raise UserError(f"{file}: not an archive of an experiment's runs")
        yield Opened(folder / name, fill)


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """Turns errors of Python's zip reader into one UserError."""
    try:
        yield
    except (*DAMAGE, NotImplementedError, RuntimeError, OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read as an archive: {error}") from error


def unpack(archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], file: Path, folder: Path) -> None:
    refuse_giants(members, file, folder)
    for member in members:
        target = folder / member.filename
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(member) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink)  # zipfile reads at most file_size bytes


def contents(archive: zipfile.ZipFile, file: Path) -> tuple[str, dict[str, Members]]:
    """The experiment's name, and the files of each run. Raises UserError where `write` would not make such a member."""
    members = archive.infolist()
    if len(members) > FILES:
        raise UserError(f"{file}: holds {len(members):,} files, more than {FILES:,}; not unpacked")
    for member in members:
        if why := trap(member):
            raise UserError(f"{file}: {one_line(member.filename)[:100]!r} {why}; not unpacked")
    twice = [name for name, n in Counter(m.filename for m in members).items() if n > 1]
    if twice:
        raise UserError(f"{file}: {twice[0]!r} stands in it more than once; not unpacked")
    if sum(m.compress_size for m in members) > file.stat().st_size:
        raise UserError(f"{file}: its files lie over one another; not unpacked")
    found: dict[tuple[str, str], Members] = defaultdict(dict)
    for member in members:
        experiment, _, rest = member.filename.partition("/")
        run, _, path = rest.partition("/")
        if path in OF_A_RUN and not member.is_dir():
            found[experiment, run][path] = member
    named = {place: own for place, own in found.items() if "run.json" in own}
    if len(experiments := {experiment for experiment, _ in named}) != 1:
        raise UserError(f"{file}: not an archive of an experiment's runs")
    if len(named) > RUNS:
        raise UserError(
            f"{file}: holds {len(named):,} runs, more than {RUNS:,}; unzip it, and name a run's folder"
        )
    return experiments.pop(), {run: own for (_, run), own in named.items()}


def trap(member: zipfile.ZipInfo) -> str:
    """What is wrong with a member, even if it will not be unpacked; "" where nothing is."""
    name, kind = member.filename, stat.S_IFMT(member.external_attr >> 16)
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or any(sign in name for sign in OUT):
        return "leads out of the archive"
    if one_line(name) != name or not path.parts or len(name) > 1000:
        return "is a name that no run's file has"
    if kind == stat.S_IFLNK:
        return "is a link"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a device or a pipe"
    if member.flag_bits & 0x1:
        return "is encrypted"
    if member.compress_type not in PLAIN:
        return f"is compressed by method {member.compress_type}, which `rnnlab archive` does not use"
    if path.name == "run.json" and member.file_size > RECORD:
        return f"unfolds to {member.file_size:,} bytes, which no run.json has"
    return ""


def refuse_giants(members: list[zipfile.ZipInfo], file: Path, folder: Path) -> None:
    """Raises UserError where `members` are too large: in total, for their compressed size, or for the disk."""
    size, packed = sum(m.file_size for m in members), sum(m.compress_size for m in members)
    room = min(TOTAL, shutil.disk_usage(folder).free)
    if size > room:
        raise UserError(f"{file}: unfolds to {size:,} bytes, more than {room:,}; not unpacked")
    if size > SMALL and size > RATIO * max(1, packed):
        raise UserError(f"{file}: unfolds to {size:,} bytes from {packed:,}; not unpacked")
