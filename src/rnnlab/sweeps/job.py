"""A run as a worker trains it: what it is told, what it answers, and the function between the two.

`train_job` knows nothing of pipes, processes and signals, so that any engine that distributes work can call it.
"""

import json
import resource
import sys
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from rnnlab.config.checked import RunConfig
from rnnlab.errors import Gone, UserError
from rnnlab.runs.files import write_whole
from rnnlab.runs.lock import Locked, lock
from rnnlab.runs.record import ENDED
from rnnlab.runs.run import Run, now
from rnnlab.runs.run_path import Place
from rnnlab.runs.sources import files

DATA_SETS = 64  # that are kept set up for the next run on the same one


@dataclass
class Job:
    """What a worker needs to know of a run, sent to it."""

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
    """How a job ended, sent back; `record` is the content of run.json."""

    number: int
    status: str  # finished, failed, stopped, pruned, or locked: another process trains it
    why: str = ""
    record: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    memory: int = 0  # bytes of this worker
    trained: bool = True  # False if another process had finished it meanwhile


class Listener:
    """Hears of a job while it is trained. This one only listens; a subclass overrides what it needs."""

    def began(self, trainer: Any) -> None:
        """The training is about to begin, or to go on. An exception here ends it."""

    def validated(self, step: int, value: float) -> str:
        """Told the monitored metric after each validation; why the run is to be pruned, "" where it goes on."""
        return ""

    def waits(self) -> None:
        """Told when the training has ended and only the disk is waited for: the core is free for another run."""

    def stop(self) -> str:
        """Asked between two batches: why the run is to write a checkpoint and stop, "" where it goes on."""
        return ""


class DataSets:
    """The data sets of the last runs, set up: they change only if their files do, or a callback changes them."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[Any, dict[tuple[str, ...], Any]]] = OrderedDict()

    def of(self, config: RunConfig) -> Any:
        from rnnlab.training.train import load_data

        key = json.dumps([config["data"], files({"data": config["data"]})], sort_keys=True, default=str)
        if not str(config["data"].get("_target_", "")).startswith("rnnlab.data."):
            return load_data(config)  # a class of the user's own may change while it is used
        data, before = self._kept.pop(key, (None, {}))
        if data is None or not _is_as_it_was(data, before):
            data = load_data(config)
            before = _as_it_is(data)
        data.trainer = None
        self._kept[key] = data, before
        if len(self._kept) > DATA_SETS:
            self._kept.popitem(last=False)
        return data


def _as_it_is(data: Any) -> dict[tuple[str, ...], Any]:
    """What a callback may change in a data set: its settings, and its tensors, whose edits torch counts."""
    found: dict[tuple[str, ...], Any] = {}
    for name, value in vars(data).items():
        for key, part in value.items() if isinstance(value, dict) else (("", value),):
            if isinstance(part, int | float | str) or hasattr(part, "_version"):
                found[name, str(key)] = part
                found[name, str(key), "edits"] = getattr(part, "_version", 0)
    return found


def _is_as_it_was(data: Any, before: dict[tuple[str, ...], Any]) -> bool:
    now = _as_it_is(data)
    return all(
        now.get(at) is one or (isinstance(one, int | float | str) and now.get(at) == one)
        for at, one in before.items()
    )


def train_job(
    job: Job, data_sets: DataSets, listener: Listener, stopping: Callable[[], bool] = lambda: False
) -> Outcome:
    """Trains a job as if it were alone. It raises nothing: an error is the outcome's.

    `stopping` says of an exit that it was asked for from outside, and is not the program's own.
    """
    from rnnlab.display import InFiles
    from rnnlab.training.train import train_config

    begin, run, trained = time.perf_counter(), Run(job.place.folder), False
    unwritten: dict[str, Any] = {}  # the record of a failed run, if its folder cannot hold it

    def began(trainer: Any) -> None:
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
            waits=listener.waits,
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


def record_failure(run: Run, job: Job, error: BaseException) -> dict[str, Any]:
    """Marks a run as failed if the training has not done so itself (`Run.failing`).

    Returns the record if its folder cannot hold it, because it was deleted or its disk is full, or holds the results of
    an earlier training; else {}. A run that another process has finished meanwhile is left as it is. Raises Locked
    where one trains it.
    """
    from rnnlab.tensorboard.event_files import show_failure
    from rnnlab.training.resumption import is_under_way

    why = f"{type(error).__name__}: {error}"
    record = run.known
    if record.get("status") == "failed" and record.get("traceback"):
        return {}
    unwritten = record | {"status": "failed", "ended": now(), "why": why}
    if isinstance(error, Gone):
        return unwritten
    own = isinstance(error, SystemExit)  # the code exits: it would do so again
    can_go_on = {"can_go_on": True} if is_under_way(run) and not own else {}
    text = "".join(traceback.format_exception(error))
    try:
        with lock(run.folder):
            if run.known.get("status") in ENDED:
                return unwritten if job.restart else {}
            run.create(
                job.place.id, job.config["name"], job.config, job.overrides, job.place.group, job.place.label
            )
            write_whole(run.folder / "traceback.txt", text.encode())
            run.update(status="failed", ended=now(), why=why, traceback="traceback.txt", **can_go_on)
    except Locked:
        raise
    except (OSError, UserError):
        return unwritten | can_go_on
    show_failure(run)
    return {}


def memory() -> int:
    """Bytes that this process holds."""
    try:
        with open("/proc/self/statm") as f:  # noqa: PTH123
            return int(f.read().split()[1]) * resource.getpagesize()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak * (1 if sys.platform == "darwin" else 1024)
