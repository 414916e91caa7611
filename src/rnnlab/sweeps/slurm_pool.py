"""Warm workers in jobs of a Slurm cluster, for a search: its driver stays, and hears of each validation.

Each job (`Crew`) connects to the driver and passes on what its workers say. A job whose time is over, or that is
preempted, is queued again and connects anew; its runs go on from their checkpoints, there or in another job.
"""

import math
import os
import queue
import secrets
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener, wait
from pathlib import Path
from typing import Any

from rnnlab.errors import UserError
from rnnlab.sweeps import slurm
from rnnlab.sweeps.pack import PATIENCE, refuse_others, surroundings
from rnnlab.sweeps.pool import LOST, MOVED, WorkerHandle

LEAVES = "leaves"  # a crew's last word where its job is to be queued again
REACH = 60.0  # seconds in which a job must have reached the driver


@dataclass
class Crew:
    """What a job runs. `there` are the driver's host names and addresses; `key` lets no other connect."""

    there: list[str]
    port: int
    key: bytes
    workers: int
    made_with: dict[str, str]
    folder: str  # in which the command was given

    def __call__(self) -> None:
        """Raises UserError where this machine does not have the same program, or does not reach the driver."""
        from rnnlab.sweeps.forkserver import ForkServer
        from rnnlab.sweeps.pool import LocalPool

        refuse_others(self.made_with, surroundings())
        os.chdir(self.folder)
        self._driver = self._connected()
        self._driver.send((os.environ.get("SLURM_JOB_ID", ""), self.workers))
        server = ForkServer()
        self._pool, self._crew = LocalPool(server), dict[int, WorkerHandle]()
        try:
            while self._obey():
                self._pass_on(1.0)
        except (EOFError, OSError):  # the driver has gone
            self._stop_all()
        finally:
            server.close()

    def _connected(self) -> Connection:
        own = socket.gethostname()
        deadline = time.monotonic() + REACH
        while time.monotonic() < deadline:
            for host in ["127.0.0.1"] if own in self.there else self.there:
                with suppress(OSError):
                    return Client((host, self.port), authkey=self.key)
            time.sleep(1)
        raise UserError(f"{own} does not reach the search at {' or '.join(self.there)}, port {self.port}")

    def _obey(self) -> bool:
        """Does what the driver has asked for; False at its end."""
        while self._driver.poll():
            number, what, more = self._driver.recv()
            if what == "end":
                self._stop_all()
                return False
            if what == "open":
                names = [g for g in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if g]
                gpu = names[number % len(names)] if names and more == "gpu" else None
                self._crew[number] = self._pool.open(more, gpu)
            elif (worker := self._crew.get(number)) is not None:
                with suppress(OSError):  # one that has died says so itself
                    if what == "send":
                        self._pool.send(worker, more)
                    elif what == "stop":
                        self._pool.stop(worker, more)
                    else:
                        self._pool.close(self._crew.pop(number))
        return True

    def _pass_on(self, timeout: float) -> None:
        wait([self._driver, *(worker.connection for worker in self._crew.values())], timeout)
        of = {id(worker): number for number, worker in self._crew.items()}
        for worker, message in self._pool.ready(list(self._crew.values()), 0):
            number = of[id(worker)]
            why = self._pool.close(self._crew.pop(number)) if message is None else ""
            self._driver.send((number, message, why))

    def _stop_all(self) -> None:
        """Has all workers write their checkpoints, and waits for it."""
        for worker in self._crew.values():
            self._pool.stop(worker)
        deadline, live = time.monotonic() + PATIENCE, list(self._crew.values())
        while live and time.monotonic() < deadline:
            gone = [worker for worker, message in self._pool.ready(live, 0.1) if message is None]
            live = [worker for worker in live if worker not in gone]

    def checkpoint(self) -> Any:
        """What submitit calls in the middle of `__call__`, when the job's time is over or others need its place."""
        import submitit

        self._stop_all()
        with suppress(OSError):
            self._driver.send((-1, LEAVES, ""))
            self._driver.close()
        del self._driver, self._pool, self._crew
        return submitit.helpers.DelayedSubmission(self)


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
    stations: list[Station] = field(default_factory=list)
    of: dict[int, Station] = field(default_factory=dict)  # where a worker is
    died: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        asked = slurm.checked(self.options)
        per_job = asked["gpus"] * self.options["workers_per_gpu"] or asked["cpus"]
        self.wanted = self.options["workers"] or per_job
        key = secrets.token_bytes(32)
        self.listener = Listener(("", 0), backlog=64, authkey=key)
        self.coming: queue.Queue[tuple[Connection, str, int]] = queue.Queue()
        threading.Thread(target=self._welcome, daemon=True).start()
        place = self.folder.absolute() / slurm.FOLDER
        place.mkdir(parents=True, exist_ok=True)
        place.chmod(0o700)  # the key lies in it
        port, workers = self.listener.address[1], min(per_job, self.wanted)
        crew = Crew(addresses(), port, key, workers, surroundings(), str(Path.cwd()))
        executor = slurm.executor(place, asked, self.name)
        with executor.batch():
            made = [executor.submit(crew) for _ in range(math.ceil(self.wanted / per_job))]
        self.jobs = [job.job_id for job in made]
        self.asked_at = time.monotonic()

    def _welcome(self) -> None:
        while True:
            try:
                connection = self.listener.accept()
                job, room = connection.recv()
                self.coming.put((connection, job, room))
            except (AuthenticationError, EOFError, ConnectionError):
                continue
            except OSError:  # the listener is closed
                return

    def room(self, kind: str) -> int:
        while not self.coming.empty():
            self.stations.append(Station(*self.coming.get()))
        return sum(station.room for station in self.stations if not station.gone)

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
        if time.monotonic() - self.asked_at < slurm.ASK_SLURM or any(not s.gone for s in self.stations):
            return
        self.asked_at = time.monotonic()
        if not set(self.jobs) & slurm.in_queue() and self.coming.empty():
            said = slurm.last_words(self.folder / slurm.FOLDER, self.jobs[0])
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
        self.listener.close()


def addresses() -> list[str]:
    """What other machines may know this one by."""
    name = socket.gethostname()
    found = [name, socket.getfqdn()]
    with suppress(OSError):
        found += [str(info[4][0]) for info in socket.getaddrinfo(name, None, family=socket.AF_INET)]
    return list(dict.fromkeys(a for a in found if not a.startswith("127.")))
