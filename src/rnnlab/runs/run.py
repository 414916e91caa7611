"""Opens, writes and lists runs."""

import errno
import os
import shutil
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from rnnlab.config.run_config import RunConfig
from rnnlab.errors import Gone, UserError, nearest, warn
from rnnlab.regular_files import from_home
from rnnlab.runs.files import write_json, write_whole
from rnnlab.runs.folder import Folder
from rnnlab.runs.record import LONG
from rnnlab.runs.secrets import without_secrets
from rnnlab.runs.yaml import to_yaml


def now() -> str:
    return stamp(time.time())


def stamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(seconds))


def since_1970(stamp: str | None) -> float:
    """The seconds since 1970 of a `stamp`, which may come from another time zone; 0 for an invalid one."""
    try:
        return datetime.strptime(stamp or "", "%Y-%m-%dT%H:%M:%S%z").timestamp()
    except (ValueError, OverflowError):
        return 0.0


@dataclass(frozen=True)
class Run(Folder):
    """One run: its folder, which `Folder` reads, and the methods that write it."""

    @classmethod
    def open(cls, folder: str | Path) -> "Run":
        """The run in `folder`. Raises UserError where there is none; the message suggests the most similar name."""
        folder = from_home(folder)
        if (folder / "run.json").is_file():
            return cls(folder)
        if folder.is_dir() and (inside := [r.folder.name for r in runs(folder, silently)]):
            raise UserError(
                f"{folder} is an experiment, not a run; it holds {len(inside)} run{'s' * (len(inside) > 1)}, "
                f"such as {folder / inside[-1]}"
            )
        if "=" in folder.name and not folder.exists():
            raise UserError(
                f"{folder}: a setting, where the folder of a run should be; give the folder first, then settings"
            )
        beside = [r.folder.name for r in runs(folder.parent, silently)] if folder.parent.is_dir() else []
        hint = nearest(folder.name, beside) if beside else ""
        raise UserError(f"{folder}: no run there (a run's folder holds run.json).{hint}")

    # ------------------------------------------------------------------ writing

    def update(self, **changes: Any) -> None:
        """Changes the record (run.json). Raises FileNotFoundError where it was deleted, and does not create it again.

        A status other than "running" is written only after the last checkpoint is on the disk.
        """
        path = self.folder / "run.json"
        if not self.is_there:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        ended = changes.get("status", "running") != "running"
        write_json(path, self.known | changes, after=[self.last_checkpoint.parent] if ended else None)

    def create(
        self,
        identifier: str,
        name: str,
        config: RunConfig,
        overrides: list[str],
        group: str = "",
        label: str = "",
        durable: bool = False,
    ) -> None:
        """Makes the folder with config, overrides and record. Raises UserError where it cannot be made.

        With `durable` (for a run that has checkpoints) it waits until the files are on the disk.

        A run that resumes keeps the times at which it was created and started, its duration so far, and its parent.
        Where its record is damaged, the time of its oldest file becomes the time of creation.
        """
        try:
            kept = {k: v for k, v in self.record.items() if k in ("created", "started", "parent", "seconds")}
        except UserError:
            kept = {"created": stamp(min(file.stat().st_mtime for file in self.folder.iterdir()))}
        about = {
            "id": identifier,
            "group": group,  # shared by the runs that differ only in their seed
            "label": label,
            "experiment": name,
            "status": "queued",
            "created": now(),
        }
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.write_config(config, overrides, durable)
            write_json(self.folder / "run.json", about | kept, durable)
        except OSError as error:
            raise UserError(f"paths.outputs: cannot make {self.folder}: {error.strerror}") from error

    def remove(self) -> None:
        """Removes the folder; run.json first, so that a folder removed by half does not count as a run."""
        with suppress(IsADirectoryError, PermissionError):  # where it is a folder: Linux's error, and macOS's
            (self.folder / "run.json").unlink(missing_ok=True)
        shutil.rmtree(self.folder)

    def write_config(self, config: RunConfig, overrides: list[str], durable: bool = False) -> None:
        for file, content in (("config.yaml", config), ("overrides.yaml", list(overrides))):
            write_whole(self.folder / file, to_yaml(without_secrets(content)).encode(), durable)

    def write_manifest(self, manifest: dict[str, Any], durable: bool = False) -> None:
        write_json(self.manifest_file, without_secrets(manifest), durable)

    @property
    def beginnings(self) -> list[Path]:
        """The files written before the training, which must be on the disk by the first checkpoint."""
        return [self.folder / name for name in ("run.json", "config.yaml", "overrides.yaml", "manifest.json")]

    @contextmanager
    def failing(self) -> Iterator[None]:
        """While open, an exception marks the run as failed, with the reason and a traceback file.

        An interruption marks it as stopped. After a full disk or missing memory the record also says that the run can
        resume (`can_go_on`), if the record itself can be written.
        """
        try:
            yield
        except (KeyboardInterrupt, SystemExit):
            with suppress(OSError):
                self.update(status="stopped", ended=now(), why="interrupted")
            raise
        except Gone:  # the folder may belong to another process now
            raise
        except BaseException as error:
            file, why = self.folder / "traceback.txt", reason(error)
            if not self.is_there:
                raise
            is_outside = isinstance(error.__cause__, OSError) or out_of_memory(error)
            can_go_on = {"can_go_on": True} if is_outside else {}
            with suppress(OSError):
                write_whole(file, trace(error))
                vars(error)["trace_file"] = file  # for the command's one-line message
                self.update(status="failed", ended=now(), why=why, traceback=file.name, **can_go_on)
            raise


def reason(error: BaseException) -> str:
    """Why a run failed, as run.json holds it: without secrets, and no longer than a text there may be."""
    return without_secrets(f"{type(error).__name__}: {error}")[:LONG]


def trace(error: BaseException) -> bytes:
    """The content of traceback.txt."""
    return without_secrets("".join(traceback.format_exception(error))).encode(errors="backslashreplace")


def out_of_memory(error: BaseException) -> bool:
    """Whether an error is Python's for missing memory, torch's for a GPU, or torch's for the CPU."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in str(error)
    )


Say = Callable[[str], None]
Thing = TypeVar("Thing")


def silently(line: str) -> None:
    """Drops the line: a `Say` that reports nothing."""


def legible(
    things: Iterable[Thing], read: Callable[[Thing], Any], say: Say = warn
) -> Iterator[tuple[Thing, Any]]:
    """(thing, content) of each thing. A thing whose `read` raises UserError is left out, with a line to `say`."""
    for thing in things:
        try:
            content = read(thing)
        except UserError as error:
            say(f"left out: {error}")
            continue
        yield thing, content


def _folders(experiment: Path) -> list[Path]:
    try:
        return sorted(experiment.iterdir())
    except PermissionError as error:
        raise UserError(f"{experiment}: cannot be read: {error.strerror}") from error
    except OSError:
        return []


def holds_run(place: Path) -> bool:
    """Whether there is a run in a folder. Raises UserError where the folder may not be read."""
    try:
        (place / "run.json").stat()
        return True
    except PermissionError as error:
        raise UserError(f"{place}: cannot be read: {error.strerror}") from error
    except OSError:
        return False


def runs(experiment: str | Path, say: Say = warn) -> list[Run]:
    """The runs directly in an experiment's folder, oldest first.

    A run with a damaged run.json, or in a folder that may not be read, is reported through `say` and left out. Raises
    UserError where the experiment's folder may not be read.
    """
    inside = legible(_folders(Path(experiment)), holds_run, say)
    there = (Run(place) for place, is_run in inside if is_run)
    found = [(since_1970(record.get("created")), run.folder.name, run)
             for run, record in legible(there, lambda run: run.record, say)]  # fmt: skip
    return [run for *_, run in sorted(found, key=lambda one: one[:2])]
