"""Writes the runs of an experiment into one archive, for example for a paper; see `rnnlab.reproduce.unpacking`."""

import os
import zipfile
from contextlib import suppress
from pathlib import Path
from shlex import join, quote

from rnnlab.errors import UserError, counted, nearest
from rnnlab.regular_files import read_file
from rnnlab.runs.checksum import checksum_error
from rnnlab.runs.record import ENDED
from rnnlab.runs.run import Run, legible, runs

OF_A_RUN = (
    "run.json",
    "config.yaml",
    "overrides.yaml",
    "manifest.json",
    "metrics.csv",
    "checkpoints/best.ckpt",
)
WHEN = (1980, 1, 1, 0, 0, 0)  # a fixed date: the same runs give the same archive

README = """\
# {name}: {runs}

Made with rnnlab {version}. Every run's folder holds its config, what it was made with (manifest.json), every scalar of
its training (metrics.csv) and its best weights.

    rnnlab reproduce {file} --sample 1        # trains a run of it again, and says how well the two agree
    unzip {file}
    rnnlab report {folder}                      # the leaderboard
    rnnlab evaluate {folder}/RUN                # a run's best weights on its test part

The runs were asked for with:

{commands}
"""


def write(experiment: Path, file: Path) -> int:
    """Writes the runs of an experiment's folder into a zip file; returns how many. Raises UserError where none is."""
    from rnnlab.cli.report import as_csv
    from rnnlab.report import leaderboard

    found = [run for run, _ in legible(runs(experiment), look_through)]
    if (experiment / "run.json").is_file():
        raise UserError(
            f"{experiment}: this is a single run; archive takes its experiment: {experiment.parent}"
        )
    if not found:
        beside = (
            [p.name for p in experiment.parent.iterdir() if p.is_dir()] if experiment.parent.is_dir() else []
        )
        raise UserError(f"{experiment}: no runs there that can be read.{nearest(experiment.name, beside)}")
    if file.is_dir():
        raise UserError(f"{file}: a folder is there; an archive is a file, such as {file / 'runs.zip'}")
    name = Path(os.path.abspath(experiment)).name  # noqa: PTH100 (of ".", too, and of a link its own)
    temporary = file.with_name(f".{file.name}.part")
    try:
        with zipfile.ZipFile(temporary, "w") as archive:
            add(archive, "README.md", readme(name, found, file.name).encode())
            board = leaderboard.of_runs(found)
            add(archive, "leaderboard.csv", as_csv(board.records()))
            for run in found:
                for inside in OF_A_RUN:
                    if (path := run.folder / inside).is_file():
                        add(archive, f"{name}/{run.folder.name}/{inside}", read_file(path))
        temporary.replace(file)
    except OSError as error:
        raise UserError(f"{file}: cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()
    return len(found)


def look_through(run: Run) -> None:
    """Raises UserError where a file of the run that is needed for reproducing it is damaged."""
    assert (run.config, run.manifest, run.overrides, run.metrics) is not None  # each file is read
    if run.status in ENDED and (why := checksum_error(run.best_checkpoint)):
        raise UserError(f"{run.best_checkpoint}: {why}")


def add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    about = zipfile.ZipInfo(name, WHEN)
    about.compress_type = zipfile.ZIP_STORED if name.endswith(".ckpt") else zipfile.ZIP_DEFLATED
    about.external_attr = 0o644 << 16
    archive.writestr(about, content)


def readme(name: str, found: list[Run], file: str) -> str:
    import rnnlab

    words = [[*run.manifest.get("command", []), ""] for run in found]
    # "rnnlab train" is one word
    asked = dict.fromkeys(f"{begin} {join(rest[:-1])}".strip() for begin, *rest in words)
    commands = [f"    {line}" for line in asked if line][:50]
    return README.format(
        name=name,
        runs=counted(len(found), "run"),
        folder=quote(name),
        version=rnnlab.__version__,
        file=quote(file),
        commands="\n".join(commands),
    )
