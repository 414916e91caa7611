"""Where workers come from: the protocol that the scheduler speaks, and the processes of this machine."""

import signal
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from rnnlab.sweeps.forkserver import ForkServer, kill

# why a worker has gone whose run another takes, from its last checkpoint
LOST = "its node was lost"
MOVED = "its job's time was over"  # behind a checkpoint


@dataclass(eq=False)
class WorkerHandle:
    """A worker as the scheduler sees it."""

    pid: int  # or its number, where it is no process of this machine
    kind: str  # cpu, gpu or mps
    gpu: str | None = None  # the name of its GPU
    job: int | None = None
    since: float = 0.0  # when it was given that job
    lends: bool = False  # whether another may have its core: its run only waits for the disk
    ended_before: str | None = None  # when the job's run had finished, if it is trained again
    memory: int = 0  # bytes after its first run
    connection: Any = None  # a pool's own way to it


class Pool(Protocol):
    """Warm workers. What goes to one is a `Job`, or the answer to `Validated`; what comes back a `Step`, a
    `Validated`, `Waits` or an `Outcome` (`rnnlab.sweeps.worker`, `rnnlab.sweeps.job`).
    """

    def room(self, kind: str) -> int:
        """How many workers of a kind there can be, as things are now."""

    def open(self, kind: str, gpu: str | None = None) -> WorkerHandle:
        """Starts a worker, on a GPU of that name if one is given. Raises RunFailed where none can be started."""

    def send(self, worker: WorkerHandle, message: Any) -> None:
        """Raises OSError for a worker that has gone."""

    def ready(self, workers: list[WorkerHandle], timeout: float) -> list[tuple[WorkerHandle, Any]]:
        """What workers have sent, waiting `timeout` seconds for the first; None from one that has gone."""

    def stop(self, worker: WorkerHandle, now: bool = False) -> None:
        """Asks a worker to write a checkpoint and leave; ends it at once with `now`."""

    def close(self, worker: WorkerHandle) -> str:
        """Lets an idle worker go, or one that has gone; returns why it has, LOST for no fault of its run."""


@dataclass
class LocalPool:
    """Processes of this machine, forked from a server that has imported everything."""

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
        worker.connection.close()  # a worker exits when its connection ends
        return self.server.exit_reason(worker.pid)


def _received(connection: Connection) -> Any:
    try:
        return connection.recv()
    except (EOFError, OSError):
        return None
