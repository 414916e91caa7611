"""A worker trains one run after another, each as if it were alone."""

import json
import os
import resource
import select
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from rnnlab.errors import Gone, UserError
from rnnlab.runs.files import write_whole
from rnnlab.runs.lock import Locked
from rnnlab.runs.run import Run, now
from rnnlab.runs.run_path import Place
from rnnlab.runs.sources import files
from rnnlab.signals import ASKING
from rnnlab.training.quiet import quiet

HEARTBEAT = 0.5  # seconds between two reports of the step that a run has reached
DATA_SETS = 64  # that are kept set up for the next run on the same one


@dataclass
class Job:
    """What a worker needs to know of a run, sent to it."""

    number: int
    config: dict[str, Any]
    place: Place
    overrides: list[str]
    command: list[str]
    restart: bool = False  # trains a finished run again
    pictures: bool = False


@dataclass
class Outcome:
    """How a job ended, sent back; `record` is the content of run.json."""

    number: int
    status: str  # finished, failed, stopped, or locked: another process trains it
    why: str = ""
    record: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    memory: int = 0  # bytes of this worker
    trained: bool = True  # False if another process had finished it meanwhile


def work(connection: Connection) -> int:
    """Answers each job with its outcome, and each function with its result, until the connection ends."""
    import torch

    torch.set_num_threads(1)
    worker = Worker(connection)
    for number in ASKING:
        signal.signal(number, worker.on_signal)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKING)  # the server has blocked them
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    threading.Thread(target=worker.heartbeat, daemon=True).start()
    with quiet():
        return worker.serve()


class StopWorker(BaseException):
    """A signal came between two runs."""


class Worker:
    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.leaving = False
        self.sending = threading.Lock()
        self.training: tuple[int, Any] | None = None  # the run under way: its number and its Trainer
        self.data: OrderedDict[str, Any] = OrderedDict()
        self.output = tempfile.TemporaryFile()  # noqa: SIM115
        for stream in (1, 2):
            os.dup2(self.output.fileno(), stream)

    def serve(self) -> int:
        while not self.leaving:
            try:
                message = self.connection.recv()
                if isinstance(message, Job):
                    self.send(self.run(message))
                elif isinstance(message, dict):  # names this worker's GPU, before torch looks for one
                    os.environ.update(message)
                elif callable(message):  # from a `Probe`
                    self.send(message())
                else:
                    break
            except (EOFError, BrokenPipeError, ConnectionResetError):
                break
            except StopWorker:
                break
        return 0

    def send(self, message: Any) -> None:
        with self.sending:
            self.connection.send(message)

    def on_signal(self, number: int, frame: Any) -> None:
        self.leaving = True
        if self.training is None:
            raise StopWorker

    def run(self, job: Job) -> Outcome:
        from rnnlab.display import InFiles
        from rnnlab.training.train import train_config

        begin, run = time.perf_counter(), Run(job.place.folder)
        unwritten: dict[str, Any] = {}  # the record of a failed run, if its folder cannot hold it
        self.training = (job.number, None)
        try:
            train_config(
                job.config,
                job.place,
                job.overrides,
                command=job.command,
                display=InFiles(figures=job.pictures),
                restart=job.restart,
                data_of=self.data_for,
                watch=self.on_trainer,
            )
        except Locked as locked:
            return Outcome(job.number, "locked", str(locked))
        except BaseException as error:
            # Lightning turns an interruption into such an exit; any other exit is the program's own, and a failure
            interrupted = self.leaving or isinstance(error.__context__, KeyboardInterrupt)
            interrupted = interrupted or type(error).__name__ == "SIGTERMException"
            if isinstance(error, KeyboardInterrupt) or (isinstance(error, SystemExit) and interrupted):
                self.leaving = True
                with suppress(OSError):
                    if run.known.get("status") in ("queued", "running"):
                        run.update(status="stopped", ended=now(), why="interrupted")
            else:
                unwritten = record_failure(run, job, error)
        finally:
            trained = self.training[1] is not None
            self.save_output(run)
            self.training = None  # from here on a signal ends this process at once
        record = unwritten or run.known
        if record.get("status") == "stopped":
            self.leaving = True
        seconds = time.perf_counter() - begin
        return Outcome(
            job.number,
            record.get("status", "failed"),
            record.get("why", ""),
            record,
            seconds,
            memory(),
            trained,
        )

    def on_trainer(self, trainer: Any) -> None:
        assert self.training is not None
        self.training = (self.training[0], trainer)
        if self.leaving:  # the signal came before the training listened to it
            raise SystemExit

    def data_for(self, config: dict[str, Any]) -> Any:
        """The data set of a config. The last few are kept: they change only if their files do."""
        from rnnlab.training.train import load_data

        key = json.dumps([config["data"], files({"data": config["data"]})], sort_keys=True, default=str)
        if key in self.data:
            self.data.move_to_end(key)
            self.data[key].trainer = None
        elif str(config["data"].get("_target_", "")).startswith("rnnlab.data."):
            self.data[key] = load_data(config)
            if len(self.data) > DATA_SETS:
                self.data.popitem(last=False)
        else:
            return load_data(config)  # a class of the user's own may change while it is used
        return self.data[key]

    def save_output(self, run: Run) -> None:
        """Writes what a run printed to its folder; most print nothing."""
        with suppress(OSError):
            sys.stdout.flush(), sys.stderr.flush()
        if os.lseek(self.output.fileno(), 0, os.SEEK_END):
            self.output.seek(0)
            with suppress(OSError):
                if run.is_there:
                    write_whole(run.folder / "output.txt", self.output.read())
            self.output.seek(0)
            self.output.truncate()

    def heartbeat(self) -> None:
        """Reports the step that the run has reached. If the sweep is gone, writes a checkpoint and exits."""
        waiting = select.poll()
        waiting.register(self.connection.fileno(), 0)
        while True:
            time.sleep(HEARTBEAT)
            if any(event & (select.POLLHUP | select.POLLERR) for _, event in waiting.poll(0)):
                if self.training is None:
                    os._exit(0)
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(60)
                os._exit(1)
            training = self.training
            if training is not None and training[1] is not None:
                try:
                    self.send((training[0], training[1].global_step))
                except OSError:
                    continue


def record_failure(run: Run, job: Job, error: BaseException) -> dict[str, Any]:
    """Marks a run as failed if the training has not done so itself (`Run.failing`).

    Returns the record if its folder cannot hold it, because it was deleted or its disk is full; else {}.
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
        run.create(
            job.place.id, job.config["name"], job.config, job.overrides, job.place.group, job.place.label
        )
        write_whole(run.folder / "traceback.txt", text.encode())
        run.update(status="failed", ended=now(), why=why, traceback="traceback.txt", **can_go_on)
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
