"""What a Slurm job of a search passes on, and how it leaves."""

import signal
import socket
import threading
import time
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from types import SimpleNamespace

import pytest

from waiting import PATIENCE, until

submitit = pytest.importorskip("submitit", reason="submitit is not installed")

from rnnlab.sweeps import slurm_crew  # noqa: E402
from rnnlab.sweeps.job import Outcome  # noqa: E402
from rnnlab.sweeps.pool import LocalPool, WorkerHandle  # noqa: E402
from rnnlab.sweeps.slurm_crew import LEAVES, Crew, bound  # noqa: E402
from rnnlab.sweeps.worker import Validated  # noqa: E402


class Pretended(LocalPool):
    """Workers that a test speaks for."""

    def __init__(self):
        self.theirs: dict[int, Connection] = {}
        self.stopped = []

    def open(self, kind, gpu=None):
        ours, theirs = Pipe()
        number = len(self.theirs)
        self.theirs[number] = theirs
        return WorkerHandle(number, kind, gpu, connection=ours)

    def stop(self, worker, by=signal.SIGTERM):
        self.stopped.append(worker.pid)

    def close(self, worker):
        worker.connection.close()
        return "why"


@pytest.fixture
def crew(monkeypatch):
    """A job with two workers, and the driver's end of its connection."""
    monkeypatch.setattr(slurm_crew, "PATIENCE", PATIENCE)
    found = Crew([], 0, b"", 2, {}, ".")
    found._pool = Pretended()
    driver, found._driver = Pipe()
    found._crew = {5: found._pool.open("cpu"), 6: found._pool.open("cpu")}
    return SimpleNamespace(job=found, driver=driver, theirs=found._pool.theirs, pool=found._pool)


def test_a_job_on_another_machine_of_the_same_name_reaches_the_driver(monkeypatch):
    def reached(host, port, key):
        if host == "127.0.0.1":
            raise ConnectionRefusedError
        return host

    monkeypatch.setattr(slurm_crew, "reached", reached)
    monkeypatch.setattr(socket, "gethostname", lambda: "node")
    monkeypatch.setattr(slurm_crew, "REACH", PATIENCE)
    monkeypatch.setattr(slurm_crew.time, "sleep", lambda _: pytest.fail("it tries the first address alone"))
    assert Crew(["node", "10.0.0.7"], 1, b"", 1, {}, ".")._connected() == "node"


def ends_like_a_worker(connection, number, answers):
    """Asks, waits for the answer, and leaves as a worker does that was told to stop."""
    connection.send(Validated(number, 10, 0.5))
    answers.append(connection.recv())
    connection.send(Outcome(number, "finished" if answers[-1] == "" else "pruned"))
    connection.close()


@pytest.mark.parametrize("driver", ["answers", "silent", "gone", "ends"])
def test_a_worker_that_waits_for_a_verdict_has_it_before_the_job_leaves(crew, driver, monkeypatch):
    monkeypatch.setattr(slurm_crew, "ANSWERS", 0.5)
    answers = []
    worker = threading.Thread(target=ends_like_a_worker, args=(crew.theirs[0], 1, answers))
    crew.theirs[1].send(Outcome(2, "finished"))
    crew.theirs[1].send(Outcome(3, "stopped"))
    crew.theirs[1].close()
    said = []

    def listen():
        while True:
            try:
                said.append(crew.driver.recv())
            except EOFError:
                return
            if isinstance(said[-1][1], Validated) and driver == "answers":
                crew.driver.send((5, "send", "pruned (asha)"))

    if driver == "gone":
        crew.driver.close()
    else:
        threading.Thread(target=listen, daemon=True).start()
    worker.start()
    if driver == "ends":
        crew.driver.send((-1, "end", None))
    began = time.monotonic()
    again = crew.job.checkpoint()
    assert time.monotonic() - began < PATIENCE and crew.pool.stopped[:2] == [0, 1]
    worker.join(PATIENCE)
    assert answers == (["pruned (asha)"] if driver == "answers" else [""])
    if driver in ("answers", "silent"):
        until(lambda: any(message == LEAVES for _, message, _ in said))
    messages = [message for _, message, _ in said]
    if driver in ("answers", "silent"):
        assert messages[-1] == LEAVES and Outcome(2, "finished") in messages
        assert any(isinstance(message, Validated) for message in messages)
        # that they stopped is no word on their runs: those go on elsewhere
        assert None not in messages and Outcome(3, "stopped") not in messages
    if driver == "answers":
        assert Outcome(1, "pruned") in messages
    assert again.function._driver is None and again.function._crew == {} and again.function.workers == 2


def test_a_job_that_is_stopped_before_it_reached_the_search_is_queued_again():
    again = Crew(["x"], 1, b"key", 2, {}, ".").checkpoint()
    assert again.function == Crew(["x"], 1, b"key", 2, {}, ".")


@pytest.mark.parametrize(("each", "expected"), [(1, ["2", "3", "4", "5", "2"]), (2, ["2,3", "4,5", "2,3"])])
def test_each_worker_takes_the_gpus_that_fewest_have(crew, monkeypatch, each, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3,4,5")
    crew.job._crew, crew.job.gpus_each = {}, each
    for i in range(len(expected)):
        crew.driver.send((100 + 2 * i, "open", "gpu"))  # the odd ones are another job's
    crew.job._obey()
    assert [worker.gpu for worker in crew.job._crew.values()] == expected


def test_reading_ends_where_nothing_comes():
    with socket.create_server(("127.0.0.1", 0)) as server:
        connection = Connection(socket.create_connection(server.getsockname()).detach())
        bound(connection, 1)
        with pytest.raises(BlockingIOError):
            connection.recv_bytes()
