"""The driver's pool for a search with workers in Slurm jobs. The driver must keep running: it gets each validation.

Each job (`rnnlab.sweeps.slurm_crew.Crew`) connects to the driver and passes on its workers' messages. A job whose time
is over, or that is preempted, is queued again and connects again; its runs resume from their checkpoints, in any job.
"""

import math
import queue
import secrets
import signal
import socket
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Listener, answer_challenge, deliver_challenge, wait
from pathlib import Path

from rnnlab.config.run_config import SweepConfig
from rnnlab.errors import UserError
from rnnlab.sweeps import slurm, slurm_queue
from rnnlab.sweeps.pack import surroundings
from rnnlab.sweeps.pool import LOST, MOVED, Heard, WorkerHandle
from rnnlab.sweeps.slurm_crew import HANDSHAKE, LEAVES, Crew, bound
from rnnlab.sweeps.worker import ToWorker

LOOK = 60.0  # seconds between two calls of squeue while jobs are connected


@dataclass
class Station:
    """A job that has connected."""

    connection: Connection
    job: str  # SLURM_JOB_ID
    room: int
    workers: set[int] = field(default_factory=set)  # ids of its workers
    gone: str = ""  # why the job has gone; "" while it is connected


@dataclass
class SlurmPool:
    """Workers in Slurm jobs. `options` is the `sweep` section, `folder` the experiment's. Raises UserError where no job
    can be submitted.
    """

    options: SweepConfig
    folder: Path
    name: str
    per_job: int  # workers that fit in a job
    gpus_each: int = 1  # GPUs of each worker
    stations: list[Station] = field(default_factory=list)
    of: dict[int, Station | None] = field(default_factory=dict)  # {worker: its job; None where none was left}
    died: dict[int, str] = field(default_factory=dict)
    closed: bool = False

    def __post_init__(self) -> None:
        self.wanted = self.options["workers"] or self.per_job
        self.key = secrets.token_bytes(32)
        self.listener = Listener(("", 0), backlog=64)
        self.coming: queue.Queue[tuple[Connection, str, int]] = queue.Queue()
        threading.Thread(target=self._welcome, daemon=True).start()
        ledgers = self.folder.absolute() / slurm.FOLDER
        ledgers.mkdir(parents=True, exist_ok=True)
        self.place = Path(tempfile.mkdtemp(prefix="search-", dir=ledgers))  # private: its files hold the key
        port, workers = self.listener.address[1], min(self.per_job, self.wanted)
        crew = Crew(addresses(), port, self.key, workers, surroundings(), str(Path.cwd()), self.gpus_each)
        executor = slurm.executor(self.place, self.options["slurm"], self.name)
        try:
            self.jobs = slurm.submit(executor, [crew] * math.ceil(self.wanted / self.per_job))
        except UserError:
            self._close()
            raise
        self.asked_at = time.monotonic()

    def _welcome(self) -> None:
        while not self.closed:
            try:
                connection = self.listener.accept()
            except OSError:  # the peer has gone, or too many files are open
                time.sleep(0.1)
                continue
            threading.Thread(target=self._greet, args=(connection,), daemon=True).start()

    def _greet(self, connection: Connection) -> None:
        """Authenticates a new connection. Anyone may connect and send anything; only a job has the key."""
        try:
            bound(connection, HANDSHAKE)
            deliver_challenge(connection, self.key)
            answer_challenge(connection, self.key)
            job, room = connection.recv()
            bound(connection, 0)
            self.coming.put((connection, job, room))
        except Exception:  # arbitrary bytes may raise anything
            connection.close()

    def _close(self) -> None:
        self.closed = True
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.listener.address[1]), 1):
            pass  # wakes `_welcome`
        self.listener.close()

    def room(self, kind: str) -> int:
        while not self.coming.empty():
            connection, job, room = self.coming.get()
            for station in self.stations:
                if job and station.job == job:  # Slurm restarted the job, because its node was lost
                    self._lose(station)
            self.stations.append(Station(connection, job, room))
        return sum(station.room for station in self.stations if not station.gone)

    @staticmethod
    def _lose(station: Station) -> None:
        if not station.gone:
            station.gone = LOST
            station.connection.close()  # if the job is alive after all, it notices and writes checkpoints

    def open(self, kind: str, gpu: str | None = None) -> WorkerHandle:
        worker = WorkerHandle(len(self.of), kind)
        live = [station for station in self.stations if not station.gone]
        station = max(live, key=lambda s: s.room - len(s.workers), default=None)
        self.of[worker.pid] = station
        if station is not None:
            station.workers.add(worker.pid)
        with suppress(OSError):
            self._say(worker, "open", kind)
        return worker

    def _gone(self, number: int) -> str:
        """Why a worker's job has gone; "" while it is connected."""
        station = self.of[number]
        return MOVED if station is None else station.gone

    def _say(self, worker: WorkerHandle, what: str, more: object = None) -> None:
        station = self.of[worker.pid]
        if station is None or station.gone:
            raise OSError(self._gone(worker.pid))
        station.connection.send((worker.pid, what, more))

    def send(self, worker: WorkerHandle, message: ToWorker) -> None:
        self._say(worker, "send", message)

    def stop(self, worker: WorkerHandle, by: int = signal.SIGTERM) -> None:
        with suppress(OSError):
            self._say(worker, "stop", by)

    def ready(self, workers: list[WorkerHandle], timeout: float) -> Heard:
        """As `Pool.ready`. Raises UserError where no job is left that could train."""
        known = {worker.pid: worker for worker in workers}
        live = [station for station in self.stations if not station.gone]
        if not live:
            time.sleep(timeout)
        heard: Heard = []
        for connection in wait([station.connection for station in live], timeout) if live else ():
            heard += self._heard(next(one for one in live if one.connection is connection), known)
        told = {worker.pid for worker, _ in heard}
        for number, worker in known.items():
            if number not in told and (number in self.died or self._gone(number)):
                heard.append((worker, None))
        self._look_at_jobs()
        return heard

    def _heard(self, station: Station, known: dict[int, WorkerHandle]) -> Heard:
        heard: Heard = []
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
        if (found := slurm_queue.in_queue()) is None:  # Slurm does not answer: try again later
            return
        for station in live:
            if station.job and found.get(station.job, "PENDING") == "PENDING":  # ended, or queued again
                self._lose(station)
        if not live and not found.keys() & set(self.jobs) and self.coming.empty():
            job = self.jobs[0]
            cancelled = slurm_queue.about(job).get("JobState") == "CANCELLED"
            said = (
                f": job {job} was cancelled; the same command goes on"
                if cancelled
                else slurm.last_words(self.place, job)
            )
            raise UserError(f"sweep.pool=slurm: no job is left to train the search{said}")

    def close(self, worker: WorkerHandle) -> str:
        """As `Pool.close`: LOST where its node is lost, MOVED where its job is queued again."""
        if (station := self.of[worker.pid]) is not None:
            station.workers.discard(worker.pid)
        if worker.pid in self.died:
            return self.died.pop(worker.pid)
        with suppress(OSError):
            self._say(worker, "close")
        return self._gone(worker.pid) or "it was let go"

    def end(self) -> None:
        """Ends the jobs: running ones write checkpoints and exit by themselves; pending ones are cancelled."""
        self.room("cpu")
        for station in self.stations:
            with suppress(OSError):
                station.connection.send((-1, "end", None))
        reached = {station.job for station in self.stations if not station.gone}
        slurm_queue.cancel([job for job in self.jobs if not reached or slurm_queue.state(job) == "PENDING"])
        self._close()


def addresses() -> list[str]:
    """Host names and addresses by which other machines may reach this one."""
    name = socket.gethostname()
    found = [name, socket.getfqdn()]
    with suppress(OSError):
        found += [str(info[4][0]) for info in socket.getaddrinfo(name, None, family=socket.AF_INET)]
    return list(dict.fromkeys(a for a in found if not a.startswith("127.")))
