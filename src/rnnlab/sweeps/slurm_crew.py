"""The program of a Slurm job in a search: warm workers, and a connection that passes their messages to the driver."""

import os
import socket
import struct
import time
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge, wait
from typing import TYPE_CHECKING

from rnnlab.errors import UserError
from rnnlab.signals import in_main_thread, listening
from rnnlab.sweeps.forkserver import ForkServer
from rnnlab.sweeps.job import Outcome
from rnnlab.sweeps.pack import PATIENCE, queue_again, refuse_others, surroundings
from rnnlab.sweeps.pool import LocalPool, WorkerHandle, connection_to
from rnnlab.sweeps.visible_gpus import least_used, visible_gpus
from rnnlab.sweeps.worker import Validated

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

LEAVES = "leaves"  # a crew's last message where its job is queued again
REACH = 60.0  # seconds in which a job must reach the driver
HANDSHAKE = 10  # seconds for each message of the handshake
ANSWERS = 10.0  # seconds in which a living driver answers a validation
# so that a lost node is noticed after two minutes
KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}


@dataclass
class Crew:
    """The function of a job. `there`: the driver's host names and addresses; `key`: authenticates the job."""

    there: list[str]
    port: int
    key: bytes
    workers: int
    made_with: dict[str, str]
    folder: str  # the command's working folder
    gpus_each: int = 1  # GPUs of each worker
    _driver: Connection | None = field(default=None, init=False)  # None until the job has reached it
    _pool: LocalPool = field(init=False, repr=False, compare=False)
    _crew: dict[int, WorkerHandle] = field(default_factory=dict, init=False)
    _leaving: bool = field(default=False, init=False)
    # workers that wait for an answer to a validation
    _asking: set[int] = field(default_factory=set, init=False)

    def __call__(self) -> None:
        """Raises UserError where this machine has other versions or other code, or does not reach the driver."""
        refuse_others(self.made_with, surroundings())
        os.chdir(self.folder)
        driver = self._connected()
        driver.send((os.environ.get("SLURM_JOB_ID", ""), self.workers))
        server = ForkServer()
        self._driver, self._pool = driver, LocalPool(server)
        told: list[int] = []  # SIGTERM: the job is cancelled or preempted
        try:
            with listening(lambda number, _: told.append(number)) if in_main_thread() else nullcontext():
                while not told and self._obey():
                    self._pass_on(1.0)
                if told:
                    self._leave()
                    queue_again()
        except (EOFError, OSError):  # the driver has gone
            self._stop_all(alone=True)
        finally:
            server.close()

    def _connected(self) -> Connection:
        own = socket.gethostname()
        deadline = time.monotonic() + REACH
        while time.monotonic() < deadline:
            for host in ["127.0.0.1", *self.there] if own in self.there else self.there:
                with suppress(OSError, EOFError, AuthenticationError, AssertionError):
                    return reached(host, self.port, self.key)
            time.sleep(1)
        raise UserError(f"{own} cannot reach the search at {' or '.join(self.there)}, port {self.port}")

    @property
    def driver(self) -> Connection:
        assert self._driver is not None, "the job has not reached the driver yet"
        return self._driver

    def _obey(self) -> bool:
        """Executes the driver's requests; returns False when the search has ended."""
        while self.driver.poll():
            number, what, more = self.driver.recv()
            if what == "end":
                self._stop_all(alone=True)
                return False
            if what == "open":
                if not self._leaving:
                    self._crew[number] = self._pool.open(more, self._gpu() if more == "gpu" else None)
            elif (worker := self._crew.get(number)) is not None:
                with suppress(OSError):  # a dead worker is reported by `_pass_on`
                    if what == "send":
                        self._asking.discard(number)
                        self._pool.send(worker, more)
                    elif what == "stop":
                        self._pool.stop(worker, more)
                    else:
                        self._pool.close(self._crew.pop(number))
        return True

    def _gpu(self) -> str | None:
        """The GPUs of this job that the fewest workers use; None where the job has none."""
        return least_used(visible_gpus(), self.gpus_each, (worker.gpu for worker in self._crew.values()))

    def _pass_on(self, timeout: float, to_driver: bool = True) -> None:
        """Passes the workers' messages to the driver. While all workers leave, their stops are not passed on: LEAVES
        replaces them.
        """
        connections = [connection_to(worker) for worker in self._crew.values()]
        wait([*connections, self.driver] if to_driver else connections, timeout)
        of = {id(worker): number for number, worker in self._crew.items()}
        for worker, message in self._pool.ready(list(self._crew.values()), 0):
            number = of[id(worker)]
            why = self._pool.close(self._crew.pop(number)) if message is None else ""
            if isinstance(message, Validated):
                self._asking.add(number)
            stops = message is None or (isinstance(message, Outcome) and message.status == "stopped")
            if to_driver and not (self._leaving and stops):
                with suppress(OSError):  # `_obey` notices that the driver has gone
                    self.driver.send((number, message, why))

    def _stop_all(self, alone: bool = False) -> None:
        """Makes all workers write checkpoints and exit, and waits for that. A worker may be waiting for the answer to a
        validation: until all have gone, messages are passed on, or answered here where the driver does not (`alone`).
        """
        self._leaving = True
        for worker in self._crew.values():
            self._pool.stop(worker)
        began = time.monotonic()
        while self._crew and time.monotonic() < began + PATIENCE:
            alone = alone or time.monotonic() > began + ANSWERS
            try:
                self._pass_on(0.1, not alone)
                alone = alone or not self._obey()
            except (EOFError, OSError):
                alone = True
            for number in self._asking & self._crew.keys() if alone else ():
                self._asking.discard(number)
                with suppress(OSError):
                    self._pool.send(self._crew[number], "")

    def checkpoint(self) -> "DelayedSubmission":
        """Called by submitit during `__call__`, when the job's time is over or the job is preempted."""
        import submitit

        self._leave()
        return submitit.helpers.DelayedSubmission(replace(self))  # without unpicklable fields

    def _leave(self) -> None:
        self._stop_all()
        if self._driver is not None:
            with suppress(OSError):
                self._driver.send((-1, LEAVES, ""))
                self._driver.close()


def reached(host: str, port: int, key: bytes) -> Connection:
    """An authenticated connection to a driver. Raises OSError, EOFError, AuthenticationError or AssertionError."""
    with socket.create_connection((host, port), HANDSHAKE) as found:
        found.settimeout(None)
        connection = Connection(found.detach())
    try:
        bound(connection, HANDSHAKE)
        answer_challenge(connection, key)
        deliver_challenge(connection, key)
        bound(connection, 0)
    except BaseException:
        connection.close()
        raise
    return connection


def bound(connection: Connection, seconds: int) -> None:
    """Makes reads raise OSError after `seconds` without data (0: never), or when the other node has vanished."""
    with socket.socket(fileno=os.dup(connection.fileno())) as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", seconds, 0))
        own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEPALIVE.items():
            if hasattr(socket, name):
                own.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
