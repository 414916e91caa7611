"""Pools of workers: the interface for the scheduler, and the pool of processes on this machine."""

import signal
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Protocol

from rnnlab.sweeps.forkserver import ForkServer, kill
from rnnlab.sweeps.visible_gpus import VARIABLE
from rnnlab.sweeps.worker import FromWorker, ToWorker

# reasons why a worker has gone for which another worker resumes its run
LOST = "its node was lost"
MOVED = "its job's time was over"  # after writing a checkpoint

Ending = tuple[str | None, str | None, int | None]  # of a run: status, when, and after how many steps


@dataclass(eq=False)
class WorkerHandle:
    """A worker as the scheduler sees it."""

    pid: int  # process id; a number of the pool, where the worker is on another machine
    kind: str  # cpu, gpu or mps
    gpu: str | None = None  # the name of its GPU
    job: int | None = None
    since: float = 0.0  # when it got its job (time.monotonic)
    lends: bool = False  # another worker may use its core, because its run only waits for the disk
    before: Ending = (None, None, None)  # how the job's run had ended before
    memory: int = 0  # its memory in bytes after its first run
    connection: Connection | None = None  # to a process on this machine


Heard = list[tuple[WorkerHandle, FromWorker | None]]  # a message None: the worker has gone


class Pool(Protocol):
    """A pool of warm workers."""

    def room(self, kind: str) -> int:
        """How many workers of a kind there can be at present."""

    def open(self, kind: str, gpu: str | None = None) -> WorkerHandle:
        """Starts a worker, on the GPU of name `gpu` if given. Raises RunFailed where none can be started."""

    def send(self, worker: WorkerHandle, message: ToWorker) -> None:
        """Sends a message. Raises OSError where the worker has gone."""

    def ready(self, workers: list[WorkerHandle], timeout: float) -> Heard:
        """All messages that have arrived, after at most `timeout` seconds."""

    def stop(self, worker: WorkerHandle, by: int = signal.SIGTERM) -> None:
        """Asks a worker to write a checkpoint and exit; by SIGKILL ends it at once. `by`: the signal that the sweep was
        stopped with, which the run's record names; Ray's workers get none.
        """

    def close(self, worker: WorkerHandle) -> str:
        """Removes a worker that is idle or has gone; returns why it has gone (LOST or MOVED: not through its run)."""


@dataclass
class LocalPool:
    """Worker processes on this machine, forked from a server that has imported everything."""

    server: ForkServer

    def room(self, kind: str) -> int:
        return sys.maxsize

    def open(self, kind: str, gpu: str | None = None) -> WorkerHandle:
        pid, connection = self.server.start_worker()
        if gpu is not None:
            connection.send({VARIABLE: gpu})
        return WorkerHandle(pid, kind, gpu, connection=connection)

    def send(self, worker: WorkerHandle, message: ToWorker) -> None:
        connection_to(worker).send(message)

    def ready(self, workers: list[WorkerHandle], timeout: float) -> Heard:
        of = {connection_to(worker): worker for worker in workers}
        heard = wait(list(of), timeout)
        return [(worker, _received(connection)) for connection, worker in of.items() if connection in heard]

    def stop(self, worker: WorkerHandle, by: int = signal.SIGTERM) -> None:
        kill(worker.pid, by)

    def close(self, worker: WorkerHandle) -> str:
        connection_to(worker).close()  # the worker then exits
        return self.server.exit_reason(worker.pid)


def connection_to(worker: WorkerHandle) -> Connection:
    assert worker.connection is not None, "only a worker of this machine has one"
    return worker.connection


def _received(connection: Connection) -> FromWorker | None:
    try:
        return connection.recv()
    except (EOFError, OSError):
        return None
