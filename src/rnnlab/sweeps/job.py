"""A job of a worker: the message that describes a run, the answer, and the function that trains the run.

`train_job` does not depend on pipes, processes or signals, so that any system that distributes work can call it.
"""

import json
import resource
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rnnlab.config.run_config import RunConfig
from rnnlab.errors import Gone, UserError
from rnnlab.runs.files import write_whole
from rnnlab.runs.lock import Locked, lock
from rnnlab.runs.record import ENDED, Record
from rnnlab.runs.run import Run, now, reason, trace
from rnnlab.runs.run_path import Place
from rnnlab.runs.sources import files

if TYPE_CHECKING:
    from lightning import Trainer

DATA_SETS = 64  # how many data sets are kept for later runs with the same data


@dataclass
class Job:
    """The message that describes a run to a worker."""

    number: int
    config: RunConfig
    place: Place
    overrides: list[str]
    command: list[str]
    restart: bool = False  # trains a finished run again
    pictures: bool = False
    judged: bool = False  # each validation is reported, and the answer may end the run


@dataclass
class Outcome:
    """The message that tells how a job has ended; `record` is the content of run.json."""

    number: int
    status: str  # finished, failed, stopped, pruned, or locked: another process trains it
    why: str = ""
    record: Record = field(default_factory=Record)
    seconds: float = 0.0
    memory: int = 0  # bytes of the worker
    trained: bool = True  # False if another process had finished it meanwhile


class Listener:
    """Is called while a job is trained. This base class does nothing; a subclass overrides what it needs."""

    def began(self, trainer: "Trainer") -> None:
        """Called before the training begins or resumes. An exception here ends it."""

    def validated(self, step: int, value: float) -> str:
        """Called with the monitored metric after each validation; returns why the run is pruned, or ""."""
        return ""

    def disk_wait(self) -> None:
        """Called when the training has ended and only writing to the disk is left: the core is free for another run."""

    def stop(self) -> str:
        """Called between two batches; returns why the run must write a checkpoint and stop, or ""."""
        return ""


class DataSets:
    """Keeps the data sets of the last runs, set up. One is made again if its files or a callback has changed it."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[Any, dict[tuple[str, ...], object]]] = OrderedDict()

    def of(self, config: RunConfig) -> Any:
        from rnnlab.training.train import load_data

        key = json.dumps([config["data"], files({"data": config["data"]})], sort_keys=True, default=str)
        if not str(config["data"].get("_target_", "")).startswith("rnnlab.data."):
            return load_data(config)  # a user-defined data set may change during a run
        data, before = self._kept.pop(key, (None, {}))
        if data is None or not _is_as_it_was(data, before):
            data = load_data(config)
            before = _as_it_is(data)
        data.trainer = None
        self._kept[key] = data, before
        if len(self._kept) > DATA_SETS:
            self._kept.popitem(last=False)
        return data


def _as_it_is(data: object) -> dict[tuple[str, ...], object]:
    """A fingerprint of what a callback may change in a data set: settings, and tensors by torch's count of edits."""
    found: dict[tuple[str, ...], object] = {}
    for name, value in vars(data).items():
        for key, part in value.items() if isinstance(value, dict) else (("", value),):
            if isinstance(part, int | float | str) or hasattr(part, "_version"):
                found[name, str(key)] = part
                found[name, str(key), "edits"] = getattr(part, "_version", 0)
    return found


def _is_as_it_was(data: object, before: dict[tuple[str, ...], object]) -> bool:
    now = _as_it_is(data)
    return all(
        now.get(at) is one or (isinstance(one, int | float | str) and now.get(at) == one)
        for at, one in before.items()
    )


def train_job(
    job: Job, data_sets: DataSets, listener: Listener, stopping: Callable[[], bool] = lambda: False
) -> Outcome:
    """Trains a job like a single run. Raises nothing: errors are part of the outcome.

    `stopping()`: whether an exit was requested from outside, and is not the program's own.
    """
    from rnnlab.display import InFiles
    from rnnlab.training.train import train_config

    begin, run, trained = time.perf_counter(), Run(job.place.folder), False
    unwritten: Record = {}  # the record of a failed run, if its folder cannot hold it

    def began(trainer: "Trainer") -> None:
        nonlocal trained
        trained = True
        listener.began(trainer)

    try:
        train_config(
            job.config,
            job.place,
            job.overrides,
            command=job.command,
            display=InFiles(figures=job.pictures),
            restart=job.restart,
            data_of=data_sets.of,
            watch=began,
            judge=listener.validated if job.judged else None,
            stop=listener.stop,
            disk_wait=listener.disk_wait,
        )
    except Locked as locked:
        return Outcome(job.number, "locked", str(locked))
    except BaseException as error:
        # Lightning turns an interruption into such an exit; any other exit is the program's own, and a failure
        interrupted = stopping() or isinstance(error.__context__, KeyboardInterrupt)
        interrupted = interrupted or type(error).__name__ == "SIGTERMException"
        if isinstance(error, KeyboardInterrupt) or (isinstance(error, SystemExit) and interrupted):
            with suppress(OSError):
                if run.known.get("status") in ("queued", "running"):
                    run.update(status="stopped", ended=now(), why="interrupted")
        else:
            try:
                unwritten = record_failure(run, job, error)
            except Locked as locked:
                return Outcome(job.number, "locked", str(locked))
    record = unwritten or run.known
    seconds = time.perf_counter() - begin
    status, why = record.get("status", "failed"), record.get("why", "")
    return Outcome(job.number, status, why, record, seconds, memory(), trained)


def record_failure(run: Run, job: Job, error: BaseException) -> Record:
    """Marks a run as failed if the training has not done so itself (`Run.failing`).

    Returns {}, or the record where the folder cannot hold it: it was deleted, its disk is full, or it holds the results
    of an earlier training. A run that another process has finished meanwhile is not changed. Raises Locked where
    another process trains it.
    """
    from rnnlab.tensorboard.event_files import show_failure
    from rnnlab.training.resumption import is_under_way

    why = reason(error)
    record = run.known
    if record.get("status") == "failed" and record.get("traceback"):
        return {}
    unwritten = record | {"status": "failed", "ended": now(), "why": why}
    if isinstance(error, Gone):
        return unwritten
    own = isinstance(error, SystemExit)  # the run's code exits, and would do so again
    can_go_on: Record = {"can_go_on": True} if is_under_way(run) and not own else {}
    try:
        with lock(run.folder):
            if run.known.get("status") in ENDED:
                return unwritten if job.restart else {}
            run.create(
                job.place.id, job.config["name"], job.config, job.overrides, job.place.group, job.place.label
            )
            write_whole(run.folder / "traceback.txt", trace(error))
            run.update(status="failed", ended=now(), why=why, traceback="traceback.txt", **can_go_on)
    except Locked:
        raise
    except (OSError, UserError):
        return unwritten | can_go_on
    show_failure(run)
    return {}


def memory() -> int:
    """The memory of this process in bytes."""
    try:
        with open("/proc/self/statm") as f:  # noqa: PTH123
            return int(f.read().split()[1]) * resource.getpagesize()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak * (1 if sys.platform == "darwin" else 1024)
