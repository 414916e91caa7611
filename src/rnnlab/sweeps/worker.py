"""A worker of this machine: a process that trains one job after another and answers through a pipe."""

import os
import select
import signal
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import FrameType
from typing import TYPE_CHECKING

from rnnlab.runs.files import write_whole
from rnnlab.runs.run import Run
from rnnlab.signals import ASKING
from rnnlab.sweeps.job import DataSets, Job, Listener, Outcome, train_job
from rnnlab.training.quiet import quiet

if TYPE_CHECKING:
    from lightning import Trainer

HEARTBEAT = 0.5  # seconds between two reports of the step that a run has reached


@dataclass
class Step:
    """Message of a worker: the optimizer step that its job has reached."""

    number: int
    step: int


@dataclass
class Waits:
    """Message of a worker: its job's training has ended, and only writing to the disk is left: its core is free."""

    number: int


@dataclass
class Validated:
    """Message of a worker: its job's monitored metric. The worker waits for the answer: why to prune the run, or ""."""

    number: int
    step: int
    value: float


ToWorker = Job | str  # a job, and the answer to a `Validated`
FromWorker = Step | Waits | Validated | Outcome


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
    """A signal arrived between two runs."""


class Worker(Listener):
    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.leaving = False
        self.sending = threading.Lock()
        self.number: int | None = None  # of the current job, until its outcome has been sent
        self.trainer: Trainer | None = None  # of the current job, once there is one
        self.data_sets = DataSets()
        self.output = tempfile.TemporaryFile()  # noqa: SIM115
        for stream in (1, 2):
            os.dup2(self.output.fileno(), stream)

    def serve(self) -> int:
        while not self.leaving:
            try:
                message = self.connection.recv()
                if isinstance(message, Job):
                    self.send(self.run(message))
                    self.number = None  # from here on a signal ends this process at once
                elif isinstance(message, dict):  # variables that select a GPU, before torch starts CUDA
                    os.environ.update(message)
                elif callable(message):  # a question of a `Probe`
                    self.send(message())
                else:
                    break
            except (EOFError, BrokenPipeError, ConnectionResetError):
                break
            except StopWorker:
                break
        return 0

    def send(self, message: object) -> None:
        with self.sending:
            self.connection.send(message)

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        self.leaving = True
        if self.number is None:
            raise StopWorker

    def run(self, job: Job) -> Outcome:
        self.number, self.trainer = job.number, None
        try:
            outcome = train_job(job, self.data_sets, self, lambda: self.leaving)
        finally:
            self.save_output(Run(job.place.folder))
            self.trainer = None
        if outcome.status == "stopped":
            self.leaving = True
        return outcome

    # ------------------------------------------------------------------ while a job is trained

    def began(self, trainer: "Trainer") -> None:
        self.trainer = trainer
        if self.leaving:  # the signal arrived before the training handled signals
            raise SystemExit

    def disk_wait(self) -> None:
        assert self.number is not None
        with suppress(OSError):  # `validated` and `heartbeat` notice that the sweep is gone
            self.send(Waits(self.number))

    def validated(self, step: int, value: float) -> str:
        assert self.number is not None
        try:
            self.send(Validated(self.number, step, value))
            return self.connection.recv()
        except (EOFError, OSError):  # the sweep is gone: write a checkpoint and leave
            os.kill(os.getpid(), signal.SIGTERM)
            return ""

    def save_output(self, run: Run) -> None:
        """Writes what a run printed to its folder (most runs print nothing)."""
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
                if self.number is None:
                    os._exit(0)
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(60)
                os._exit(1)
            number, trainer = self.number, self.trainer
            if number is not None and trainer is not None:
                try:
                    self.send(Step(number, trainer.global_step))
                except OSError:
                    continue
