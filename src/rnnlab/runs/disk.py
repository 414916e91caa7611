"""Turns errors of the disk during a run into one line for the user."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from rnnlab.errors import Gone, RunFailed, UserError
from rnnlab.runs.run import Run

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE)


class Unwritable(RunFailed):
    """The run's folder cannot be written; once it can, the same command resumes from the last checkpoint."""


def refuse_unwritable(folder: Path) -> None:
    """Raises UserError where an experiment's folder, which need not exist yet, cannot be written. Creates nothing."""
    try:
        there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        with TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise UserError(f"paths.outputs: cannot write to {folder}: {error.strerror}") from error


def deleted(run: Run) -> str:
    return (
        f"{run.folder}: the folder was deleted while its run was training, or moved away; the training ends"
    )


@contextmanager
def disk(run: Run) -> Iterator[None]:
    """Inside, an OSError of the disk becomes `Unwritable`, and one because the folder was deleted becomes `Gone`."""
    try:
        yield
    except OSError as error:
        inside = str(error.filename or "").startswith(f"{run.folder}{os.sep}")
        if not run.is_there or (error.errno == errno.ENOENT and inside):
            raise Gone(deleted(run)) from error
        if error.errno not in FULL + CLOSED:
            raise
        why = "the disk is full" if error.errno in FULL else "it cannot be written any more"
        kept = next((c for c in (run.last_checkpoint, run.previous_checkpoint) if c.is_file()), None)
        then = (
            f"{kept.name} is whole, and the same command goes on from it" if kept else "nothing was kept yet"
        )
        raise Unwritable(f"{run.folder}: {why} ({error.strerror}); {then}") from error
