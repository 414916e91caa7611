"""A process that imports everything once and forks a warm worker whenever one is asked for."""

import gc
import os
import signal
import socket
import subprocess
import sys
import tempfile
from multiprocessing.connection import Connection

from rnnlab.errors import RunFailed
from rnnlab.signals import ASKING

FORKS = sys.platform == "linux"  # elsewhere forking after such imports is not safe: a process each
MODULES = (
    "rnnlab.training.train", "rnnlab.tasks", "rnnlab.data", "rnnlab.native.engine", "rnnlab.native.program",
    "rnnlab.terminal.progress", "rnnlab.training.schedules", "lightning.pytorch.callbacks", "torch.optim.lr_scheduler",
    "tensorboard.compat.proto.event_pb2", "tensorboard.compat.proto.summary_pb2",
    "tensorboard.summary.writer.record_writer", "rnnlab.sweeps.worker",
)  # fmt: skip
NOT_OURS = 1 << 32  # the exit code of a worker that nobody can tell
LEFT = "its worker was told to leave"
# the path comes first of all: Python begins with the working folder on it
ENTRY = "import sys; sys.path[:] = sys.argv[1:]; from rnnlab.sweeps import forkserver; forkserver.{}({})"


class Nursery:
    """The parent's side: starts at once, and is ready when its imports are done."""

    def __init__(self) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._process: subprocess.Popen[bytes] | None = None
        self._alone: dict[int, subprocess.Popen[bytes]] = {}
        self._asked = False
        if FORKS:
            self._begin()

    def _begin(self) -> None:
        self._socket, theirs = socket.socketpair()
        self._process = self._start("serve", theirs)

    def _start(self, what: str, end: socket.socket) -> "subprocess.Popen[bytes]":
        number = end.fileno()
        process = subprocess.Popen(
            [sys.executable, "-c", ENTRY.format(what, number), *sys.path],
            pass_fds=[number],
            stdin=subprocess.DEVNULL,
            stdout=self._errors,
            stderr=self._errors,
            start_new_session=True,  # Ctrl-C reaches the sweep alone, which tells the workers
        )
        end.close()
        return process

    def worker(self) -> tuple[int, Connection]:
        """Asks for a worker; its process id and the connection to it. Raises RunFailed where none can be had."""
        ours, theirs = socket.socketpair()
        self._asked = True
        if not FORKS:
            process = self._start("alone", theirs)
            self._alone[process.pid] = process
            return process.pid, Connection(ours.detach())
        answer = self._ask(theirs)
        if len(answer) < 8 and self._process is not None and self._process.wait() < 0:  # killed: a new one
            self._socket.close()
            self._begin()
            answer = self._ask(theirs)
        theirs.close()
        if len(answer) < 8:
            ours.close()
            self._errors.seek(0)
            text = self._errors.read().decode(errors="replace").strip()
            raise RunFailed("no worker could be started:", *text.splitlines())
        return int.from_bytes(answer, "little"), Connection(ours.detach())

    def _ask(self, end: socket.socket) -> bytes:
        try:
            socket.send_fds(self._socket, [b"f"], [end.fileno()])
            return self._socket.recv(8)
        except OSError:
            return b""

    def end_of(self, pid: int) -> str:
        """Why a worker that has gone is gone, in words."""
        if not FORKS:
            code = self._alone.pop(pid).wait()
        else:
            try:
                self._socket.send(b"w" + pid.to_bytes(8, "little"))
                answer = self._socket.recv(8)
            except OSError:
                answer = b""
            code = int.from_bytes(answer, "little", signed=True) if len(answer) == 8 else NOT_OURS
        if code == 0:
            return LEFT
        if code == NOT_OURS:
            return "its worker was killed"
        if code == -signal.SIGKILL:
            return "its worker was killed (SIGKILL); out of memory?"
        if code < 0:
            return f"its worker was killed ({signal.Signals(-code).name})"
        return f"its worker exited with code {code}"

    def close(self) -> None:
        if self._process is not None:
            self._socket.close()
            if not self._asked:  # it may still be importing, and nobody depends on it
                self._process.kill()
            try:
                self._process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for process in self._alone.values():
            process.wait()


_kept: Nursery | None = None


def start_early() -> None:
    """Lets the workers' imports begin while the command line is still being read."""
    keep(_kept or Nursery())


def take() -> Nursery:
    """The nursery that was started early or kept, or a new one."""
    global _kept
    found, _kept = _kept or Nursery(), None
    return found


def keep(home: Nursery) -> None:
    """For the next sweep of this process; it goes with the process, which holds its end of a socket."""
    global _kept
    _kept = home


def load() -> None:
    """Imports what a training needs; nothing is computed, so that no thread is there at a fork."""
    import contextlib
    import importlib

    gc.disable()  # nothing of this is garbage, and looking for it would take a quarter of the time
    for name in MODULES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    import rnnlab.training.train  # noqa: F401  (of this one the failure is said)

    gc.freeze()  # nor are the workers to look at it
    gc.enable()


def serve(number: int) -> None:
    """The nursery's own loop: forks on `f`, and tells on `w` how a child has ended."""
    end = socket.socket(fileno=number)
    # it leaves with the sweep, whose workers need it till then; a worker lets signals in when it can answer them
    signal.pthread_sigmask(signal.SIG_BLOCK, ASKING)
    load()
    while True:
        try:
            message, descriptors, _, _ = socket.recv_fds(end, 9, 1)
        except OSError:
            message = b""
        if not message:  # the sweep is gone, and its workers will notice, too
            os._exit(0)  # at once: taking torch down would take a second, and the sweep waits
        if message[:1] == b"w":
            try:
                _, status = os.waitpid(int.from_bytes(message[1:], "little"), 0)
                code = os.waitstatus_to_exitcode(status)
            except ChildProcessError:  # of a nursery before this one
                code = NOT_OURS
            end.send(code.to_bytes(8, "little", signed=True))
            continue
        pid = os.fork()
        if pid == 0:
            end.close()
            alone(descriptors[0])
        os.close(descriptors[0])
        end.send(pid.to_bytes(8, "little"))


def alone(number: int) -> None:
    """A worker; never returns."""
    from rnnlab.sweeps.worker import work

    code = 1
    try:
        code = work(Connection(number))
    finally:
        sys.stdout.flush()
        os._exit(code)
