"""A worker: takes one run after another, each as if it were alone."""

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

BEAT = 0.5  # seconds between two words of a run that is under way
DATA_SETS = 64  # kept set up, for the next run on the same one


@dataclass
class Job:
    """What a worker needs to know of a run."""

    number: int
    config: dict[str, Any]
    place: Place
    overrides: list[str]
    command: list[str]
    afresh: bool = False  # although it is finished
    pictures: bool = False


@dataclass
class Outcome:
    """What came of it; `record` is run.json."""

    number: int
    status: str  # finished, failed, stopped, or claimed: another process has it
    why: str = ""
    record: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    memory: int = 0  # bytes of this worker
    trained: bool = True  # here; else another process had finished it meanwhile


def work(connection: Connection) -> int:
    """Answers jobs with outcomes, and the scout's questions, until the connection ends."""
    import torch

    torch.set_num_threads(1)
    worker = Worker(connection)
    for number in ASKING:
        signal.signal(number, worker.leave)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKING)  # the nursery holds them back
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    threading.Thread(target=worker.beat, daemon=True).start()
    with quiet():
        return worker.serve()


class Leave(BaseException):
    """A signal came between two runs."""


class Worker:
    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.leaving = False
        self.speaking = threading.Lock()
        self.training: tuple[int, Any] | None = None  # the run under way: its number and its Trainer
        self.data: OrderedDict[str, Any] = OrderedDict()
        self.output = tempfile.TemporaryFile()  # noqa: SIM115
        for stream in (1, 2):
            os.dup2(self.output.fileno(), stream)

    def serve(self) -> int:
        while not self.leaving:
            try:
                asked = self.connection.recv()
                if isinstance(asked, Job):
                    self.say(self.run(asked))
                elif isinstance(asked, dict):  # which GPU is this worker's, before torch looks for one
                    os.environ.update(asked)
                elif callable(asked):  # a question of the scout's
                    self.say(asked())
                else:
                    break
            except (EOFError, BrokenPipeError, ConnectionResetError):
                break
            except Leave:
                break
        return 0

    def say(self, message: Any) -> None:
        with self.speaking:
            self.connection.send(message)

    def leave(self, number: int, frame: Any) -> None:
        self.leaving = True
        if self.training is None:
            raise Leave

    def run(self, job: Job) -> Outcome:
        from rnnlab.training.train import train_config

        begin, run = time.perf_counter(), Run(job.place.folder)
        lost: dict[str, Any] = {}  # the record of a run whose folder cannot hold it
        self.training = (job.number, None)
        try:
            train_config(
                job.config,
                job.place,
                job.overrides,
                command=job.command,
                verbose=False,
                restart=job.afresh,
                pictures=job.pictures,
                data_of=self.data_of,
                watch=self.watch,
            )
        except Locked as locked:
            return Outcome(job.number, "claimed", str(locked))
        except BaseException as error:
            # Lightning makes such exits of an interruption; any other is the program's own, and a failure
            interrupted = self.leaving or isinstance(error.__context__, KeyboardInterrupt)
            interrupted = interrupted or type(error).__name__ == "SIGTERMException"
            if isinstance(error, KeyboardInterrupt) or (isinstance(error, SystemExit) and interrupted):
                self.leaving = True
                with suppress(OSError):
                    if run.known.get("status") in ("queued", "running"):
                        run.update(status="stopped", ended=now(), why="interrupted")
            else:
                lost = failed(run, job, error)
        finally:
            trained = self.training[1] is not None
            self.keep_output(run)
            self.training = None  # from here on a signal ends this process at once
        record = lost or run.known
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

    def watch(self, trainer: Any) -> None:
        assert self.training is not None
        self.training = (self.training[0], trainer)
        if self.leaving:  # the signal came before the training could hear it
            raise SystemExit

    def data_of(self, config: dict[str, Any]) -> Any:
        """The data set of a config; the last few are kept, for nothing in them changes but the files."""
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
            return load_data(config)  # a class of the user's own may change as it is used
        return self.data[key]

    def keep_output(self, run: Run) -> None:
        """What a run printed goes to its folder, where there is room for it; most print nothing."""
        with suppress(OSError):
            sys.stdout.flush(), sys.stderr.flush()
        if os.lseek(self.output.fileno(), 0, os.SEEK_END):
            self.output.seek(0)
            with suppress(OSError):
                if run.is_there:
                    write_whole(run.folder / "output.txt", self.output.read())
            self.output.seek(0)
            self.output.truncate()

    def beat(self) -> None:
        """Tells how far the run under way is; and when nobody listens any more, checkpoints and leaves."""
        waiting = select.poll()
        waiting.register(self.connection.fileno(), 0)
        while True:
            time.sleep(BEAT)
            if any(event & (select.POLLHUP | select.POLLERR) for _, event in waiting.poll(0)):
                if self.training is None:
                    os._exit(0)
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(60)
                os._exit(1)
            training = self.training
            if training is not None and training[1] is not None:
                try:
                    self.say(("at", training[0], training[1].global_step))
                except OSError:
                    continue


def failed(run: Run, job: Job, error: BaseException) -> dict[str, Any]:
    """Marks a run as failed where `Run.failing` was not yet there to do it; what it had learned is not lost.

    Returns the record that its folder cannot hold, being gone or on a full disk; {} where it does.
    """
    from rnnlab.training.failures import show_failure
    from rnnlab.training.resumption import is_under_way

    why = f"{type(error).__name__}: {error}"
    record = run.known
    if record.get("status") == "failed" and record.get("traceback"):
        return {}
    unwritten = record | {"status": "failed", "ended": now(), "why": why}
    if isinstance(error, Gone):
        return unwritten
    own = isinstance(error, SystemExit)  # an exit of the code: it would come again
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
