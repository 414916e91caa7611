"""A process that imports everything once and then forks warm workers on request.

Python's `multiprocessing.set_forkserver_preload` is not used. Measured, it takes 1.2 times as long to the first worker
(medians of 9.3 and 7.6 s on a busy machine) and 1.1 times for each other (51 and 45 ms). Its server and workers also
share this process's session, so that Ctrl-C and a hangup reach them; it hides why a module cannot be imported; it looks
for modules in the working folder; and each worker imports the main script again.
"""

import gc
import os
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from multiprocessing.connection import Connection

from rnnlab import quick_import
from rnnlab.errors import RunFailed
from rnnlab.signals import ASKING

FORKS = sys.platform == "linux"  # elsewhere a fork after such imports is unsafe: each worker is a new process
MODULES = (
    "rnnlab.training.train", "rnnlab.tasks", "rnnlab.data", "rnnlab.native.serving", "rnnlab.native.program",
    "rnnlab.terminal.progress", "rnnlab.training.schedules", "lightning.pytorch.callbacks", "torch.optim.lr_scheduler",
    "tensorboard.compat.proto.event_pb2", "tensorboard.compat.proto.summary_pb2",
    "tensorboard.summary.writer.record_writer", "rnnlab.sweeps.worker",
)  # fmt: skip
UNKNOWN = 1 << 32  # the exit code of a worker whose server is gone, and cannot tell it
NO_FORK = bytes(8)  # the answer of a server that cannot make one more process
LEFT = "its worker was told to leave"
# this process's sys.path replaces the new one's, which begins with the working folder
ENTRY = "import sys; sys.path[:] = sys.argv[1:]; from rnnlab.sweeps import forkserver; forkserver.{}({})"


class ForkServer:
    """The sweep's side. It starts the server process at once; the server is ready when its imports are done."""

    def __init__(self) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._process: subprocess.Popen[bytes] | None = None
        self._unforked: dict[int, subprocess.Popen[bytes]] = {}
        self._used = False
        if FORKS:
            self._start_server()

    def _start_server(self) -> None:
        self._socket, theirs = socket.socketpair()
        self._process = self._start("serve", theirs)

    def _start(self, function: str, end: socket.socket) -> "subprocess.Popen[bytes]":
        number = end.fileno()
        process = subprocess.Popen(
            [sys.executable, "-c", ENTRY.format(function, number), *sys.path],
            pass_fds=[number],
            stdin=subprocess.DEVNULL,
            stdout=self._errors,
            stderr=self._errors,
            start_new_session=True,  # Ctrl-C reaches only the sweep, which tells the workers
        )
        end.close()
        return process

    def start_worker(self) -> tuple[int, Connection]:
        """Starts a worker; returns its process id and the connection to it. Raises RunFailed if that fails."""
        ours, theirs = socket.socketpair()
        self._used = True
        if not FORKS:
            process = self._start("run_worker", theirs)
            self._unforked[process.pid] = process
            return process.pid, Connection(ours.detach())
        answer = self._request_fork(theirs)
        # the server was killed
        if len(answer) < 8 and self._process is not None and self._process.wait() < 0:
            self._socket.close()
            self._start_server()
            answer = self._request_fork(theirs)
        theirs.close()
        if len(answer) < 8 or answer == NO_FORK:
            ours.close()
            self._errors.seek(0)
            text = self._errors.read().decode(errors="replace").strip()
            raise RunFailed("no worker could be started:", *text.splitlines())
        return int.from_bytes(answer, "little"), Connection(ours.detach())

    def _request_fork(self, end: socket.socket) -> bytes:
        try:
            socket.send_fds(self._socket, [b"f"], [end.fileno()])
            return self._socket.recv(8)
        except OSError:
            return b""

    def exit_reason(self, pid: int) -> str:
        """Waits until a worker has exited; returns the reason."""
        if not FORKS:
            code = self._unforked.pop(pid).wait()
        else:
            try:
                self._socket.send(b"w" + pid.to_bytes(8, "little"))
                answer = self._socket.recv(8)
            except OSError:
                answer = b""
            code = int.from_bytes(answer, "little", signed=True) if len(answer) == 8 else UNKNOWN
        if code == 0:
            return LEFT
        if code == UNKNOWN:
            return "its worker was killed"
        if code == -signal.SIGKILL:
            return "its worker was killed (SIGKILL); out of memory?"
        if code < 0:
            return f"its worker was killed ({signal.Signals(-code).name})"
        return f"its worker exited with code {code}"

    def close(self) -> None:
        if self._process is not None:
            self._socket.close()
            if not self._used:  # it may still be importing, and has no workers
                self._process.kill()
            try:
                self._process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for process in self._unforked.values():
            process.wait()


_spare: ForkServer | None = None


def start_early() -> None:
    """Starts the server's imports while the command line is still being read."""
    release(_spare or ForkServer())


def acquire() -> ForkServer:
    """The server that was started early or kept by `release`, or a new one."""
    global _spare
    found, _spare = _spare or ForkServer(), None
    return found


def release(server: ForkServer) -> None:
    """Keeps a server for the next sweep of this process; it exits with the process."""
    global _spare
    _spare = server


def kill(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


# ---------------------------------------------------------------------- the server's side


def load() -> None:
    """Imports what a training needs. Computes nothing: a running thread would break a later fork."""
    import importlib

    gc.disable()  # imports make no garbage, and the collector takes a quarter of the time
    quick_import.torchmetrics()
    for name in MODULES:
        with suppress(ImportError):
            importlib.import_module(name)
    import rnnlab.training.train  # noqa: F401  (shows the reason if this one can't be imported)

    gc.freeze()  # the workers' collectors skip these objects, too
    gc.enable()


def serve(number: int) -> None:
    """The server's loop: answers `f` with the id of a new worker, and `w` + a worker's id with its exit code."""
    end = socket.socket(fileno=number)
    # the server must outlive its workers; a worker unblocks the signals once it can handle them
    signal.pthread_sigmask(signal.SIG_BLOCK, ASKING)
    for name in ("SIGUSR1", "SIGUSR2"):  # clusters send these; the sweep's process handles them
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    load()
    while True:
        try:
            message, descriptors, _, _ = socket.recv_fds(end, 9, 1)
        except OSError:
            message = b""
        if not message:  # the sweep is gone; its workers notice by themselves
            os._exit(0)  # an ordinary exit with torch takes a second, for which the sweep would wait
        if message[:1] == b"w":
            try:
                _, status = os.waitpid(int.from_bytes(message[1:], "little"), 0)
                code = os.waitstatus_to_exitcode(status)
            except ChildProcessError:  # an earlier server started this worker
                code = UNKNOWN
            end.send(code.to_bytes(8, "little", signed=True))
            continue
        try:
            pid = os.fork()
        except OSError as error:  # too many processes, or too little memory: the workers so far go on
            print(error, file=sys.stderr, flush=True)  # noqa: T201
            os.close(descriptors[0])
            end.send(NO_FORK)
            continue
        if pid == 0:
            end.close()
            run_worker(descriptors[0])
        os.close(descriptors[0])
        end.send(pid.to_bytes(8, "little"))


def run_worker(number: int) -> None:
    """Runs as a worker; never returns."""
    from rnnlab.sweeps.worker import work

    code = 1
    try:
        code = work(Connection(number))
    finally:
        sys.stdout.flush()
        os._exit(code)
