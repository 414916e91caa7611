"""One file to attach to a paper, and how to open one from a stranger."""

import re
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from rnnlab.errors import UserError, nearest
from rnnlab.ledger.run import Run, legible, runs, silently
from rnnlab.ledger.seal import broken

OF_A_RUN = (
    "run.json",
    "config.yaml",
    "overrides.yaml",
    "manifest.json",
    "metrics.csv",
    "checkpoints/best.ckpt",
)
TOTAL, FILES = 8_000_000_000, 500_000  # bytes and files that an archive may unfold to
RATIO, SMALL = 200, 10_000_000  # how many times a file above SMALL bytes may be compressed
WHEN = (1980, 1, 1, 0, 0, 0)  # the same runs give the same archive

README = """\
# {name}: {n} runs

Made with rnnlab {version}. Every run's folder holds its config, what it was made with (manifest.json), every scalar of
its training (metrics.csv) and its best weights.

    rnnlab reproduce {file} --sample 1        # trains a run of it again, and says how well the two agree
    unzip {file}
    rnnlab report {name}                      # the leaderboard
    rnnlab evaluate {name}/RUN                # a run's best weights on its test part

The runs were asked for with:

{commands}
"""


def write(experiment: Path, file: Path) -> int:
    """Puts the runs of an experiment's folder into one zip file; returns how many. Raises UserError without any."""
    from rnnlab.commands.report import as_csv
    from rnnlab.sweeps import leaderboard

    found = [run for run, _ in legible(runs(experiment), look_through)]
    if not found:
        beside = (
            [p.name for p in experiment.parent.iterdir() if p.is_dir()] if experiment.parent.is_dir() else []
        )
        raise UserError(f"{experiment}: no runs there.{nearest(experiment.name, beside)}")
    temporary = file.with_name(f".{file.name}.part")
    try:
        with zipfile.ZipFile(temporary, "w") as archive:
            add(archive, "README.md", readme(experiment.name, found, file.name).encode())
            board = leaderboard.of_runs(found)
            add(archive, "leaderboard.csv", as_csv(board.records()))
            for run in found:
                for name in OF_A_RUN:
                    if (path := run.folder / name).is_file():
                        add(archive, f"{experiment.name}/{run.folder.name}/{name}", path.read_bytes())
        temporary.replace(file)
    except OSError as error:
        raise UserError(f"{file}: cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()
    return len(found)


def look_through(run: Run) -> None:
    """Raises UserError where a file of the run that others will need is damaged."""
    assert (run.config, run.manifest, run.overrides, run.metrics) is not None  # each is read
    if run.status == "finished" and (why := broken(run.best_checkpoint)):
        raise UserError(f"{run.best_checkpoint}: {why}")


def add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    about = zipfile.ZipInfo(name, WHEN)
    about.compress_type = zipfile.ZIP_STORED if name.endswith(".ckpt") else zipfile.ZIP_DEFLATED
    about.external_attr = 0o644 << 16
    archive.writestr(about, content)


def readme(name: str, found: list[Run], file: str) -> str:
    import rnnlab

    asked = dict.fromkeys(" ".join(run.manifest.get("command", [])) for run in found)
    commands = [f"    {line}" for line in asked if line][:50]
    return README.format(
        name=name, n=len(found), version=rnnlab.__version__, file=file, commands="\n".join(commands)
    )


@contextmanager
def opened(file: Path) -> Iterator[Path]:
    """The experiment's folder inside an archive, unpacked where it is removed again.

    Raises UserError for what is no archive of runs: paths that lead out of it, links, files that unfold to
    far more than they are.
    """
    folder = Path(tempfile.mkdtemp(prefix="rnnlab-"))
    try:
        try:
            with zipfile.ZipFile(file) as archive:
                unpack(archive, file, folder)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, ValueError) as error:
            raise UserError(f"{file}: cannot be read as an archive: {error}") from error
        inside = [p for p in folder.iterdir() if p.is_dir()]
        if len(inside) != 1 or not runs(inside[0], silently):
            raise UserError(f"{file}: not an archive of an experiment's runs")
        yield inside[0]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def unpack(archive: zipfile.ZipFile, file: Path, folder: Path) -> None:
    members = archive.infolist()
    if len(members) > FILES or sum(m.file_size for m in members) > TOTAL:
        raise UserError(f"{file}: unfolds to more than {TOTAL:,} bytes or {FILES:,} files; not unpacked")
    for member in members:
        path = PurePosixPath(member.filename)
        if path.is_absolute() or ".." in path.parts or re.search(r"[\\:\0]", member.filename):
            raise UserError(f"{file}: {member.filename!r} leads out of the archive; not unpacked")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise UserError(f"{file}: {member.filename!r} is a link; not unpacked")
        if member.file_size > SMALL and member.file_size > RATIO * max(1, member.compress_size):
            raise UserError(f"{file}: {member.filename!r} unfolds to {member.file_size:,} bytes from "
                            f"{member.compress_size:,}; not unpacked")  # fmt: skip
    for member in members:
        if member.is_dir():
            continue
        target = folder / member.filename
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(member) as source, target.open("wb") as sink:  # reads no more than file_size says
            shutil.copyfileobj(source, sink)
