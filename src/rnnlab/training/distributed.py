"""One run on several devices: a process for each (distributed data parallel), which take the same steps together.

Rank 0 is the process that was asked to train: it alone holds the lock and writes. It starts the others, the followers
(training/follower.py), from the resolved config. Each takes its rows of every batch; gradients and losses are added
up with the weights of these rows, so that a step is the step of one process on the whole batch.
"""

import atexit
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments import ClusterEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, distributed

from rnnlab.config.trainer_schema import processes
from rnnlab.errors import RunFailed, UserError
from rnnlab.training.interruption import Stopped

ENTRY = "import sys; sys.path[:] = sys.argv[1:]; from rnnlab.training import follower; follower.main({})"
LATEST = timedelta(minutes=30)  # that one rank waits for another in a step
GRACE = 10.0  # seconds in which a follower says why it has failed, or ends by itself
READY, ENDED = "ready", "ended"

Follower = tuple["subprocess.Popen[bytes]", Connection]
_spare: list[Follower] = []  # that have followed a run to its end, and wait for the next


class RankFailed(RunFailed):
    """Another process of the run has failed, or was killed."""


@dataclass(frozen=True)
class Failure:
    """What a follower says before it leaves."""

    why: str
    trace: str
    of_connection: bool  # a consequence: another rank has gone


@dataclass(frozen=True)
class Following:
    """What a follower is told of the run."""

    rank: int
    size: int
    store: str
    config: dict[str, Any]
    folder: Path
    checkpoint: Path | None
    threads: int
    path: list[str]  # Python's, and the working folder
    here: Path


def settle(trainer: dict[str, Any]) -> None:
    """Makes `devices` of a Trainer's config a number that any machine reads alike. Raises UserError where it cannot."""
    asked = trainer["devices"]
    if asked not in ("auto", -1):
        return
    there = torch.cuda.device_count() if trainer["accelerator"] == "gpu" else 1
    if there > 1:
        raise UserError(
            f"trainer.devices={asked}: this machine has {there}, and the number decides a run's numbers; "
            f"set trainer.devices={there}, or 1"
        )


# ---------------------------------------------------------------------- what a rank does with the others


class World:
    """The processes that train one run, seen from one of them."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self.first_row = 0
        """Where this rank's rows begin in the batch last taken."""

    def part(self, rows: int) -> tuple[int, int]:
        """Which of so many rows are this rank's: from the first to the one behind the last."""
        return rows * self.rank // self.size, rows * (self.rank + 1) // self.size

    def rows(self, batch: Any) -> tuple[Any, float]:
        """Of a batch, a tuple of tensors (B, ...) and flags, the rows of this rank, and their share of all.

        Where there are fewer rows than ranks, one that gets none is given the first, with a share of 0.
        """
        rows = next(len(one) for one in batch if isinstance(one, Tensor))
        first, behind = self.part(rows)
        share = (behind - first) / rows
        if not share:
            first, behind = 0, 1
        self.first_row = first
        taken = [one[first:behind] if isinstance(one, Tensor) else one for one in batch]
        return (type(batch)(*taken) if hasattr(batch, "_fields") else tuple(taken)), share

    def add_up(self, parameters: Sequence[Tensor], loss: Tensor) -> Tensor:
        """Gives the parameters the sum of all ranks' gradients, and returns that of their losses (a 0-d tensor)."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        kind = torch.promote_types(gradients[0].dtype if gradients else loss.dtype, torch.float32)
        flat = torch.cat([one.reshape(-1).to(kind) for one in (*gradients, loss)])
        distributed.all_reduce(flat)
        for gradient, total in zip(gradients, flat[:-1].split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(total.view_as(gradient))
        return flat[-1].to(loss.dtype)

    def gather(self, thing: Any) -> list[Any]:
        """What each rank gives, in their order."""
        found: list[Any] = [None] * self.size
        distributed.all_gather_object(found, thing)
        return found

    def first(self, *said: str) -> tuple[str, ...]:
        """Of each word what the first rank says that has something to say; "" where none has."""
        any_said = torch.tensor([any(said)], dtype=torch.uint8)
        distributed.all_reduce(any_said, distributed.ReduceOp.MAX)
        if not any_said.item():
            return said
        return tuple(next(filter(None, words), "") for words in zip(*self.gather(said), strict=True))

    @contextmanager
    def connected(self, store: str, accelerator: str) -> Iterator[None]:
        """Inside, the ranks hear each other: CPUs through gloo on this machine's own address, GPUs through NCCL."""
        name, hook = "GLOO_SOCKET_IFNAME", sys.excepthook
        given = os.environ.get(name)
        os.environ[name] = given or ("lo" if sys.platform == "linux" else "lo0")
        try:
            distributed.init_process_group(
                "cpu:gloo,cuda:nccl" if accelerator == "gpu" else "gloo",
                store=distributed.FileStore(store, self.size),
                rank=self.rank,
                world_size=self.size,
                timeout=LATEST,
            )
        finally:
            sys.excepthook = hook  # torch has put "[rank0]:" before each line of an error
            if given is None:
                del os.environ[name]
        try:
            yield
        finally:
            distributed.destroy_process_group()


# ---------------------------------------------------------------------- Lightning


class Ranks(ClusterEnvironment):
    """Tells Lightning which rank this process is, and that the others are there."""

    creates_processes_externally = True
    main_address = ""  # nobody asks: the processes are connected before
    main_port = 0

    def __init__(self, world: World) -> None:
        self.world = world

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self.world.size

    def global_rank(self) -> int:
        return self.world.rank

    def local_rank(self) -> int:
        return self.world.rank

    def node_rank(self) -> int:
        return 0

    def set_world_size(self, size: int) -> None:
        assert size == self.world.size

    def set_global_rank(self, rank: int) -> None:
        assert rank == self.world.rank


class Together(DDPStrategy):
    """Lightning's strategy, but that nothing is launched, and that a task adds up its gradients itself.

    So parameters may be frozen and thawed on the way, and accumulated batches are exchanged once a step.
    """

    def __init__(self, world: World) -> None:
        super().__init__(cluster_environment=Ranks(world))

    def _configure_launcher(self) -> None:
        """The processes are there."""

    def configure_ddp(self) -> None:
        """All ranks begin with rank 0's weights, as under torch's DistributedDataParallel."""
        assert self.model is not None
        for tensor in (*self.model.parameters(), *self.model.buffers()):
            distributed.broadcast(tensor.data, 0)


# ---------------------------------------------------------------------- rank 0 and its followers


class Leader(World):
    """Rank 0: inside its `with`, the followers are there.

    Where one of them fails or is killed, all end, and `RankFailed` says which one and why.
    """

    def __init__(self, config: dict[str, Any], folder: Path, checkpoint: Path | None) -> None:
        super().__init__(0, processes(config["trainer"]))
        self.config, self.folder, self.checkpoint = config, folder, checkpoint
        self.followers: dict[int, Follower] = {}

    def __enter__(self) -> "Leader":
        self._place = tempfile.TemporaryDirectory(prefix="rnnlab-")
        store = str(Path(self._place.name) / "store")
        threads, path, here = torch.get_num_threads(), list(sys.path), Path.cwd()
        try:
            for rank in range(1, self.size):
                self.followers[rank] = _, connection = _a_follower()
                told = Following(
                    rank, self.size, store, self.config, self.folder, self.checkpoint, threads, path, here
                )
                with suppress(BrokenPipeError):  # it has gone, which is heard of next
                    connection.send(told)
            for rank, (_, connection) in self.followers.items():
                said = _heard(connection)
                if said != READY:
                    raise self._failed(rank, said)
            self._connected = self.connected(store, self.config["trainer"]["accelerator"])
            self._connected.__enter__()
        except BaseException:
            self._end(well=False)
            raise
        if self.config["trainer"]["accelerator"] == "gpu":
            threading.Thread(target=self._abort_when_one_dies, daemon=True).start()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        cause = self._cause() if error is not None and is_of_connection(error) else None
        self._end(well=error is None or isinstance(error, Stopped))
        with suppress(Exception):
            self._connected.__exit__(None, None, None)
        if cause is not None:
            raise cause from cause.__cause__

    def _cause(self) -> "RankFailed | None":
        """Which follower's end was the first, and not the consequence of another's."""
        heard: dict[int, Any] = {}
        until = time.monotonic() + GRACE
        while time.monotonic() < until and len(heard) < len(self.followers):
            for rank in self.followers.keys() - heard.keys():
                process, connection = self.followers[rank]
                if connection.poll(0.02) or process.poll() is not None:
                    heard[rank] = _heard(connection)
                    if not (isinstance(heard[rank], Failure) and heard[rank].of_connection):
                        return self._failed(rank, heard[rank])
        return None

    def _failed(self, rank: int, said: Any) -> "RankFailed":
        error: RankFailed
        if isinstance(said, Failure):
            error = RankFailed(*(f"rank {rank}: {line}" for line in said.why.splitlines()))
            error.__cause__ = RankFailed(said.trace)
            return error
        code = self.followers[rank][0].wait()
        if code >= 0:
            return RankFailed(f"rank {rank} exited with code {code}")
        oom = "; out of memory?" if code == -signal.SIGKILL else ""
        error = RankFailed(f"rank {rank} was killed ({signal.Signals(-code).name}){oom}")
        error.__cause__ = ChildProcessError(str(error))  # no fault of the run's: it can go on
        return error

    def _end(self, well: bool) -> None:
        """Keeps the followers of a run that has ended as it was asked to for the next run."""
        for follower in self.followers.values():
            process, connection = follower
            if well and connection.poll(GRACE) and _heard(connection) == ENDED:
                _spare.append(follower)
            else:
                process.kill()
                process.wait()
                connection.close()
        self._place.cleanup()

    def _abort_when_one_dies(self) -> None:
        """NCCL would wait for it: what waits is given up, and rank 0 finds out why."""
        from torch.distributed.distributed_c10d import _abort_process_group

        while all(process.poll() is None for process, _ in self.followers.values()):
            time.sleep(0.5)
        if any(process.poll() != 0 for process, _ in self.followers.values()):
            with suppress(Exception):
                _abort_process_group()


def _a_follower() -> Follower:
    while _spare:
        process, connection = _spare.pop()
        if process.poll() is None:
            return process, connection
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(
        [sys.executable, "-c", ENTRY.format(theirs.fileno()), *sys.path],
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # what callbacks print, rank 0 prints
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C reaches rank 0, which tells the others
    )
    theirs.close()
    return process, Connection(ours.detach())


@atexit.register
def _let_go() -> None:
    for process, _ in _spare:
        process.kill()


def _heard(connection: Connection) -> Any:
    """The next message; None from one that has gone."""
    try:
        return connection.recv()
    except (EOFError, OSError):
        return None


def end_with(connection: Connection) -> None:
    """Ends this process when its leader has gone."""
    waiting = select.poll()
    waiting.register(connection.fileno(), 0)
    waiting.poll()
    os._exit(1)


def is_of_connection(error: BaseException) -> bool:
    """Whether an error says that another rank does not answer."""
    words = ("gloo", "nccl", "connection closed", "connection reset", "broken pipe", "process group")
    return isinstance(error, distributed.DistError) or (
        isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
    )
