"""Warm workers in jobs of a Slurm cluster, for a search: its driver stays, and hears of each validation.

Each job (`Crew`) connects to the driver and passes on what its workers say. A job whose time is over, or that is
preempted, is queued again and connects anew; its runs go on from their checkpoints, there or in another job.
"""

import math
import os
import queue
import secrets
import socket
import struct
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, Listener, answer_challenge, deliver_challenge, wait
from pathlib import Path
from typing import Any

from rnnlab.errors import UserError
from rnnlab.sweeps import slurm
from rnnlab.sweeps.job import Outcome
from rnnlab.sweeps.pack import PATIENCE, refuse_others, surroundings
from rnnlab.sweeps.pool import LOST, MOVED, WorkerHandle
from rnnlab.sweeps.worker import Validated

LEAVES = "leaves"  # a crew's last word where its job is to be queued again
REACH = 60.0  # seconds in which a job must have reached the driver
HANDSHAKE = 10  # seconds that whoever connects has for each of its words
ANSWERS = 10.0  # seconds in which a driver that is there has answered a validation
KEEPALIVE = {
    "TCP_KEEPIDLE": 60,
    "TCP_KEEPINTVL": 15,
    "TCP_KEEPCNT": 4,
}  # a lost node is seen after two minutes
LOOK = 60.0  # seconds between two questions to Slurm about jobs that have connected


@dataclass
class Crew:
    """What a job runs. `there` are the driver's host names and addresses; `key` lets no other connect."""

    there: list[str]
    port: int
    key: bytes
    workers: int
    made_with: dict[str, str]
    folder: str  # in which the command was given
    gpus_each: int = 1  # that a worker has for itself
    _driver: Any = field(default=None, init=False)  # multiprocessing's connection
    _pool: Any = field(default=None, init=False)  # a `LocalPool`
    _crew: dict[int, WorkerHandle] = field(default_factory=dict, init=False)
    _leaving: bool = field(default=False, init=False)
    _asking: set[int] = field(
        default_factory=set, init=False
    )  # workers that wait for the answer to a validation

    def __call__(self) -> None:
        """Raises UserError where this machine does not have the same program, or does not reach the driver."""
        from rnnlab.sweeps.forkserver import ForkServer
        from rnnlab.sweeps.pool import LocalPool

        refuse_others(self.made_with, surroundings())
        os.chdir(self.folder)
        driver = self._connected()
        driver.send((os.environ.get("SLURM_JOB_ID", ""), self.workers))
        server = ForkServer()
        self._driver, self._pool = driver, LocalPool(server)
        try:
            while self._obey():
                self._pass_on(1.0)
        except (EOFError, OSError):  # the driver has gone
            self._stop_all(alone=True)
        finally:
            server.close()

    def _connected(self) -> Connection:
        own = socket.gethostname()
        deadline = time.monotonic() + REACH
        while time.monotonic() < deadline:
            for host in ["127.0.0.1"] if own in self.there else self.there:
                with suppress(OSError, EOFError, AuthenticationError, AssertionError):
                    return reached(host, self.port, self.key)
            time.sleep(1)
        raise UserError(f"{own} does not reach the search at {' or '.join(self.there)}, port {self.port}")

    def _obey(self) -> bool:
        """Does what the driver has asked for; False at its end."""
        while self._driver.poll():
            number, what, more = self._driver.recv()
            if what == "end":
                self._stop_all(alone=True)
                return False
            if what == "open":
                if not self._leaving:
                    self._crew[number] = self._pool.open(more, self._gpu() if more == "gpu" else None)
            elif (worker := self._crew.get(number)) is not None:
                with suppress(OSError):  # one that has died says so itself
                    if what == "send":
                        self._asking.discard(number)
                        self._pool.send(worker, more)
                    elif what == "stop":
                        self._pool.stop(worker, more)
                    else:
                        self._pool.close(self._crew.pop(number))
        return True

    def _gpu(self) -> str | None:
        """Of this job's GPUs those that fewest workers have."""
        names = [g for g in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if g]
        starts = range(0, len(names) - self.gpus_each + 1, self.gpus_each)
        busy = Counter(worker.gpu for worker in self._crew.values())
        return min(
            (",".join(names[i : i + self.gpus_each]) for i in starts), key=busy.__getitem__, default=None
        )

    def _pass_on(self, timeout: float, to_driver: bool = True) -> None:
        """What the workers say. That they stop or go where all of them leave is for `LEAVES` to say."""
        connections = [worker.connection for worker in self._crew.values()]
        wait([*connections, self._driver] if to_driver else connections, timeout)
        of = {id(worker): number for number, worker in self._crew.items()}
        for worker, message in self._pool.ready(list(self._crew.values()), 0):
            number = of[id(worker)]
            why = self._pool.close(self._crew.pop(number)) if message is None else ""
            if isinstance(message, Validated):
                self._asking.add(number)
            stops = message is None or (isinstance(message, Outcome) and message.status == "stopped")
            if to_driver and not (self._leaving and stops):
                with suppress(OSError):  # that the driver has gone is for `_obey` to find
                    self._driver.send((number, message, why))

    def _stop_all(self, alone: bool = False) -> None:
        """Has all workers write their checkpoints, and waits for it. A worker may be waiting for the answer to a
        validation: until they have gone what they say is passed on, or answered where the driver does not (`alone`).
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

    def checkpoint(self) -> Any:
        """What submitit calls in the middle of `__call__`, when the job's time is over or others need its place."""
        import submitit

        self._stop_all()
        if self._driver is not None:
            with suppress(OSError):
                self._driver.send((-1, LEAVES, ""))
                self._driver.close()
        return submitit.helpers.DelayedSubmission(replace(self))  # without what cannot be written


@dataclass
class Station:
    """A job that has connected."""

    connection: Any  # multiprocessing's
    job: str  # as Slurm numbers it, for squeue
    room: int
    workers: set[int] = field(default_factory=set)  # numbers of those that are open there
    gone: str = ""  # why it has


@dataclass
class SlurmPool:
    """`options` is the `sweep` section, `folder` the experiment's. Raises UserError where nothing can be submitted."""

    options: dict[str, Any]
    folder: Path
    name: str
    gpus_each: int = 1  # that a worker has for itself
    stations: list[Station] = field(default_factory=list)
    of: dict[int, Station] = field(default_factory=dict)  # where a worker is
    died: dict[int, str] = field(default_factory=dict)
    closed: bool = False

    def __post_init__(self) -> None:
        asked = slurm.checked(self.options)
        per_job = max(1, asked["gpus"] // self.gpus_each) * self.options["workers_per_gpu"]
        per_job = per_job if asked["gpus"] else asked["cpus"]
        self.wanted = self.options["workers"] or per_job
        self.key = secrets.token_bytes(32)
        self.listener = Listener(("", 0), backlog=64)
        self.coming: queue.Queue[tuple[Connection, str, int]] = queue.Queue()
        threading.Thread(target=self._welcome, daemon=True).start()
        ledgers = self.folder.absolute() / slurm.FOLDER
        ledgers.mkdir(parents=True, exist_ok=True)
        self.place = Path(tempfile.mkdtemp(prefix="search-", dir=ledgers))  # no other may read the key in it
        port, workers = self.listener.address[1], min(per_job, self.wanted)
        crew = Crew(addresses(), port, self.key, workers, surroundings(), str(Path.cwd()), self.gpus_each)
        executor = slurm.executor(self.place, asked, self.name)
        try:
            self.jobs = slurm.submit(executor, [crew] * math.ceil(self.wanted / per_job))
        except UserError:
            self._close()
            raise
        self.asked_at = time.monotonic()

    def _welcome(self) -> None:
        while not self.closed:
            try:
                connection = self.listener.accept()
            except OSError:  # of one that has gone already, or no file is left to open
                time.sleep(0.1)
                continue
            threading.Thread(target=self._greet, args=(connection,), daemon=True).start()

    def _greet(self, connection: Connection) -> None:
        """Anyone may connect, and say nothing or anything; who has the key is a job."""
        try:
            bound(connection, HANDSHAKE)
            deliver_challenge(connection, self.key)
            answer_challenge(connection, self.key)
            job, room = connection.recv()
            bound(connection, 0)
            self.coming.put((connection, job, room))
        except Exception:  # whatever bytes can raise
            connection.close()

    def _close(self) -> None:
        self.closed = True
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.listener.address[1]), 1):
            pass  # which has `_welcome` see it
        self.listener.close()

    def room(self, kind: str) -> int:
        while not self.coming.empty():
            connection, job, room = self.coming.get()
            for station in self.stations:
                if job and station.job == job:  # it runs anew: its node had been lost
                    self._lose(station)
            self.stations.append(Station(connection, job, room))
        return sum(station.room for station in self.stations if not station.gone)

    @staticmethod
    def _lose(station: Station) -> None:
        if not station.gone:
            station.gone = LOST
            station.connection.close()  # a job that is there after all writes its checkpoints

    def open(self, kind: str, gpu: str | None = None) -> WorkerHandle:
        worker = WorkerHandle(len(self.of), kind)
        live = [station for station in self.stations if not station.gone]
        station = (
            max(live, key=lambda s: s.room - len(s.workers)) if live else Station(None, "", 0, gone=MOVED)
        )
        self.of[worker.pid] = station
        station.workers.add(worker.pid)
        with suppress(OSError):
            self._say(worker, "open", kind)
        return worker

    def _say(self, worker: WorkerHandle, what: str, more: Any = None) -> None:
        station = self.of[worker.pid]
        if station.gone:
            raise OSError(station.gone)
        station.connection.send((worker.pid, what, more))

    def send(self, worker: WorkerHandle, message: Any) -> None:
        self._say(worker, "send", message)

    def stop(self, worker: WorkerHandle, now: bool = False) -> None:
        with suppress(OSError):
            self._say(worker, "stop", now)

    def ready(self, workers: list[WorkerHandle], timeout: float) -> list[tuple[WorkerHandle, Any]]:
        """Raises UserError where no job is left that could train."""
        known = {worker.pid: worker for worker in workers}
        live = [station for station in self.stations if not station.gone]
        if not live:
            time.sleep(timeout)
        heard: list[tuple[WorkerHandle, Any]] = []
        for connection in wait([station.connection for station in live], timeout) if live else ():
            heard += self._heard(next(one for one in live if one.connection is connection), known)
        told = {worker.pid for worker, _ in heard}
        for number, worker in known.items():
            if number not in told and (number in self.died or self.of[number].gone):
                heard.append((worker, None))
        self._look_at_jobs()
        return heard

    def _heard(self, station: Station, known: dict[int, WorkerHandle]) -> list[tuple[WorkerHandle, Any]]:
        heard: list[tuple[WorkerHandle, Any]] = []
        try:
            while not station.gone and station.connection.poll():
                number, message, why = station.connection.recv()
                if message == LEAVES:
                    station.gone = MOVED
                elif message is None:
                    self.died[number] = why
                elif number in known:
                    heard.append((known[number], message))
        except (EOFError, OSError):
            station.gone = LOST
        return heard

    def _look_at_jobs(self) -> None:
        live = [station for station in self.stations if not station.gone]
        if time.monotonic() - self.asked_at < (LOOK if live else slurm.ASK_SLURM):
            return
        self.asked_at = time.monotonic()
        if (found := slurm.in_queue()) is None:  # Slurm does not answer: the next time
            return
        for station in live:
            if station.job and found.get(station.job, "PENDING") == "PENDING":  # ended, or queued again
                self._lose(station)
        if not live and not found.keys() & set(self.jobs) and self.coming.empty():
            said = slurm.last_words(self.place, self.jobs[0])
            raise UserError(f"sweep.pool=slurm: no job is left to train the search{said}")

    def close(self, worker: WorkerHandle) -> str:
        """Why it has gone: LOST with its node, MOVED where its job is queued again."""
        station = self.of[worker.pid]
        station.workers.discard(worker.pid)
        if worker.pid in self.died:
            return self.died.pop(worker.pid)
        with suppress(OSError):
            self._say(worker, "close")
        return station.gone or "it was let go"

    def end(self) -> None:
        """Lets the jobs go: those that are under way end by themselves, behind their checkpoints."""
        self.room("cpu")
        for station in self.stations:
            with suppress(OSError):
                station.connection.send((-1, "end", None))
        reached = {station.job for station in self.stations if not station.gone}
        slurm.cancel([job for job in self.jobs if not reached or slurm.state(job) == "PENDING"])
        self._close()


def reached(host: str, port: int, key: bytes) -> Connection:
    """A connection to a driver. Raises OSError, EOFError, AuthenticationError or AssertionError."""
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
    """Has reading end with an OSError where nothing comes for so long (0: never), or from a node that has vanished."""
    with socket.socket(fileno=os.dup(connection.fileno())) as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", seconds, 0))
        own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEPALIVE.items():
            if hasattr(socket, name):
                own.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def addresses() -> list[str]:
    """What other machines may know this one by."""
    name = socket.gethostname()
    found = [name, socket.getfqdn()]
    with suppress(OSError):
        found += [str(info[4][0]) for info in socket.getaddrinfo(name, None, family=socket.AF_INET)]
    return list(dict.fromkeys(a for a in found if not a.startswith("127.")))
