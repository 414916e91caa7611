"""Pools of workers: the interface for the scheduler, and the pool of processes on this machine."""

import signal
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from rnnlab.sweeps.forkserver import ForkServer, kill

# reasons why a worker has gone for which another worker resumes its run
LOST = "its node was lost"
MOVED = "its job's time was over"  # after writing a checkpoint


@dataclass(eq=False)
class WorkerHandle:
    """A worker as the scheduler sees it."""

    pid: int  # process id; a number of the pool, where the worker is on another machine
    kind: str  # cpu, gpu or mps
    gpu: str | None = None  # the name of its GPU
    job: int | None = None
    since: float = 0.0  # when it got its job (time.monotonic)
    lends: bool = False  # another worker may use its core, because its run only waits for the disk
    before: Any = None  # how the job's run had ended before, see `ending`
    memory: int = 0  # its memory in bytes after its first run
    connection: Any = None  # how its pool reaches it


class Pool(Protocol):
    """A pool of warm workers. Messages to a worker: a `Job`, and the answer to a `Validated`. Messages from a worker:
    `Step`, `Validated`, `Waits` and `Outcome` (`rnnlab.sweeps.worker`, `rnnlab.sweeps.job`).
    """

    def room(self, kind: str) -> int:
        """How many workers of a kind there can be at present."""

    def open(self, kind: str, gpu: str | None = None) -> WorkerHandle:
        """Starts a worker, on the GPU of name `gpu` if given. Raises RunFailed where none can be started."""

    def send(self, worker: WorkerHandle, message: Any) -> None:
        """Sends a message. Raises OSError where the worker has gone."""

    def ready(self, workers: list[WorkerHandle], timeout: float) -> list[tuple[WorkerHandle, Any]]:
        """(worker, message) of all that have arrived, after at most `timeout` seconds; the message None means that the
        worker has gone.
        """

    def stop(self, worker: WorkerHandle, now: bool = False) -> None:
        """Asks a worker to write a checkpoint and exit; with `now` ends it at once."""

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
            connection.send({"CUDA_VISIBLE_DEVICES": gpu})
        return WorkerHandle(pid, kind, gpu, connection=connection)

    def send(self, worker: WorkerHandle, message: Any) -> None:
        worker.connection.send(message)

    def ready(self, workers: list[WorkerHandle], timeout: float) -> list[tuple[WorkerHandle, Any]]:
        heard: Any = wait([worker.connection for worker in workers], timeout)
        return [(w, _received(w.connection)) for w in workers if w.connection in heard]

    def stop(self, worker: WorkerHandle, now: bool = False) -> None:
        kill(worker.pid, signal.SIGKILL if now else signal.SIGTERM)

    def close(self, worker: WorkerHandle) -> str:
        worker.connection.close()  # the worker then exits
        return self.server.exit_reason(worker.pid)


def _received(connection: Connection) -> Any:
    try:
        return connection.recv()
    except (EOFError, OSError):
        return None
