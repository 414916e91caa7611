"""Rank 0 of a run in several processes. It starts the others from the resolved config, and ends them."""

import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from rnnlab.config.run_config import RunConfig
from rnnlab.config.trainer_schema import processes
from rnnlab.errors import RunFailed
from rnnlab.runs.sources import foreign_targets
from rnnlab.signals import at_second
from rnnlab.training.distributed import World, is_of_connection
from rnnlab.training.interruption import Stopped

# this process's sys.path replaces the new one's, which begins with the working folder
ENTRY = "import sys; sys.path[:] = sys.argv[1:]; from rnnlab.training import follower; follower.main({})"
GRACE = 10.0  # seconds that rank 0 waits for a follower's last message
LOOK = 0.5  # seconds between two looks at the followers on GPUs
READY, ENDED = "ready", "ended"

Follower = tuple["subprocess.Popen[bytes]", Connection]
_spare: list[Follower] = []  # idle followers, kept for the next run; they end with this process


class RankFailed(RunFailed):
    """Another process of the run has failed, or was killed."""


@dataclass(frozen=True)
class Following:
    """The message that tells a follower which run to train."""

    rank: int
    size: int
    store: str
    config: RunConfig
    folder: Path
    checkpoint: Path | None
    threads: int
    path: list[str]  # sys.path, and the working folder
    here: Path
    environment: dict[str, str]


@dataclass(frozen=True)
class Failure:
    """The message of a follower whose run has failed."""

    why: str
    trace: str
    of_connection: bool  # only a consequence of another rank's end


class Leader(World):
    """Rank 0 as a context manager: inside its `with` block the followers run.

    Where one of them fails or is killed, all are ended, and `RankFailed` names that rank and the reason.
    """

    def __init__(self, config: RunConfig, folder: Path, checkpoint: Path | None) -> None:
        super().__init__(0, processes(config["trainer"]))
        self.config, self.folder, self.checkpoint = config, folder, checkpoint
        self.on_gpus = config["trainer"]["accelerator"] == "gpu"
        self.followers: dict[int, Follower] = {}
        self._over, self._urged = threading.Event(), threading.Event()
        self._listening = ExitStack()

    def __enter__(self) -> "Leader":
        self._listening.enter_context(at_second(self._hurry))
        self._place = tempfile.TemporaryDirectory(prefix="rnnlab-")  # kept: NCCL reads it later, too
        store, threads = str(Path(self._place.name) / "store"), torch.get_num_threads()
        at = list(sys.path), Path.cwd(), dict(os.environ)
        try:
            for rank in range(1, self.size):
                self.followers[rank] = _, connection = a_follower()
                told = Following(
                    rank, self.size, store, self.config, self.folder, self.checkpoint, threads, *at
                )
                with suppress(BrokenPipeError):  # the follower is dead, which the next read finds out
                    connection.send(told)
            for rank, (_, connection) in self.followers.items():
                said = _heard(connection)
                if said != READY:
                    raise self._failed(rank, said)
            self.connect(store, self.config["trainer"]["accelerator"])
        except BaseException:
            self._over.set()
            self._end(well=False)
            raise
        if self.on_gpus:
            threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._over.set()
        if error is None or isinstance(error, Stopped):
            try:
                self.disconnect()
            finally:
                self._end(well=True)
            return
        cut_off = is_of_connection(error)
        cause = self._cause() if cut_off and not self._urged.is_set() else None
        self._end(well=False)
        self.give_up()
        if cut_off and self._urged.is_set():
            raise KeyboardInterrupt from error
        if cause is not None:
            raise cause from cause.__cause__

    def _hurry(self) -> None:
        """Kills the followers at a second Ctrl-C: rank 0 may be waiting in C code, where no signal reaches it."""
        self._urged.set()
        for process, _ in self.followers.values():
            process.kill()
        if self.on_gpus:
            self.give_up()
        if not self._over.wait(GRACE):  # rank 0 hangs: exit at once, with the same effect as a kill
            os._exit(130)

    def _end(self, well: bool) -> None:
        """Ends the followers, or keeps them for the next run. Kept are those of a run that ended `well`, not those on
        GPUs, nor those that have imported the user's code, which may change.
        """
        keep = well and not self.on_gpus and not foreign_targets(self.config)
        for follower in self.followers.values():
            process, connection = follower
            if well and connection.poll(GRACE) and _heard(connection) == ENDED and keep:
                _spare.append(follower)
            else:
                process.kill()
                process.wait()
                connection.close()
        self._listening.close()
        self._place.cleanup()

    def _cause(self) -> RankFailed | None:
        """The error of the follower that caused the failure, and not of one that failed as its consequence."""
        heard: dict[int, Any] = {}
        until = time.monotonic() + GRACE
        while time.monotonic() < until and len(heard) < len(self.followers):
            for rank in self.followers.keys() - heard.keys():
                process, connection = self.followers[rank]
                if connection.poll(0.02) or process.poll() is not None:
                    heard[rank] = _heard(connection)
                    if heard[rank] == ENDED:
                        continue
                    if not (isinstance(heard[rank], Failure) and heard[rank].of_connection):
                        return self._failed(rank, heard[rank])
        return None

    def _failed(self, rank: int, said: Any) -> RankFailed:
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
        error.__cause__ = ChildProcessError(str(error))  # an outside reason: the run can resume
        return error

    def _watch(self) -> None:
        """Aborts the process group when a follower has died, because NCCL would go on waiting for it."""
        while not self._over.wait(LOOK):
            if any(process.poll() is not None for process, _ in self.followers.values()):
                self.give_up()
                return


def a_follower() -> Follower:
    """A process that waits for a run: an idle one, or a new one."""
    while _spare:
        process, connection = _spare.pop()
        if process.poll() is None:
            return process, connection
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(
        [sys.executable, "-c", ENTRY.format(theirs.fileno()), *sys.path],
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # rank 0 prints the same
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C reaches rank 0, which tells the others
    )
    theirs.close()
    return process, Connection(ours.detach())


def wait_until_gone(connection: Connection) -> None:
    """Returns when the other end is closed; messages before that are dropped."""
    waiting = select.poll()
    waiting.register(connection.fileno(), 0)
    waiting.poll()


def _heard(connection: Connection) -> Any:
    """The next message; None where the sender has gone."""
    try:
        return connection.recv()
    except (EOFError, OSError):
        return None
