"""The sockets between a search and its Slurm jobs: who may connect, what is passed on at a job's end, lost nodes."""

import os
import socket
import stat
import threading
import time
from multiprocessing import AuthenticationError
from types import SimpleNamespace

import pytest

from waiting import PATIENCE, until

submitit = pytest.importorskip("submitit", reason="submitit is not installed")

from rnnlab.errors import UserError  # noqa: E402
from rnnlab.sweeps import slurm, slurm_pool, slurm_queue  # noqa: E402
from rnnlab.sweeps.pool import LOST, MOVED  # noqa: E402
from rnnlab.sweeps.scheduler import View  # noqa: E402
from rnnlab.sweeps.slurm_crew import LEAVES, reached  # noqa: E402
from rnnlab.sweeps.slurm_pool import SlurmPool  # noqa: E402

KEYS = {"minutes_per_job": 30, "minutes": 120, "cpus": 4, "gpus": 0, "memory_gb": None, "partition": None,
        "account": None, "setup": [], "parallel": 256, "detach": False, "more": {}}  # fmt: skip


@pytest.fixture
def pool(tmp_path, monkeypatch):
    monkeypatch.setattr(slurm, "submit", lambda executor, works: [f"7_{i}" for i, _ in enumerate(works)])
    monkeypatch.setattr(slurm_queue, "in_queue", lambda: {"7_0": "RUNNING", "7": "RUNNING", "8": "RUNNING"})
    monkeypatch.setattr(slurm_queue, "state", lambda job: "RUNNING")
    monkeypatch.setattr(slurm_queue, "cancel", lambda jobs: None)
    found = SlurmPool({"slurm": KEYS, "workers_per_gpu": 1, "workers": 4}, tmp_path, "sine", per_job=4)
    yield found
    found.end()


def crew_of(pool, job="7", room=4):
    there = reached("127.0.0.1", pool.listener.address[1], pool.key)
    there.send((job, room))
    until(lambda: not pool.coming.empty(), pause=0.01)
    pool.room("cpu")
    return there


def heard(pool, workers):
    return until(lambda: pool.ready(workers, 0.05))


def test_strangers_that_say_nothing_or_anything_keep_no_job_away(pool):
    port = pool.listener.address[1]
    silent = socket.create_connection(("127.0.0.1", port))
    for said in (b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 64, b"\x00\x00\x00\x01x", b""):
        with socket.create_connection(("127.0.0.1", port)) as stranger:
            stranger.sendall(said)
    with pytest.raises((OSError, EOFError, AuthenticationError)):
        reached("127.0.0.1", port, b"another key")
    time.sleep(0.1)
    there = crew_of(pool)
    assert pool.room("cpu") == 4 and not there.closed
    silent.close()


def test_a_silent_peer_is_waited_for_no_longer_than_a_handshake(pool, monkeypatch):
    monkeypatch.setattr(slurm_pool, "HANDSHAKE", 1)
    silent = socket.create_connection(("127.0.0.1", pool.listener.address[1]))
    silent.settimeout(PATIENCE)
    while silent.recv(100):  # the challenge, then the end
        pass
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(OSError):
        reached("127.0.0.1", server.getsockname()[1], b"key")


def test_both_sides_ask_whether_the_other_is_alive(pool):
    there = crew_of(pool)
    for connection in (there, pool.stations[0].connection):
        with socket.socket(fileno=os.dup(connection.fileno())) as own:
            assert own.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            # a search takes long
            assert own.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16) == bytes(16)


def test_a_job_that_runs_anew_takes_the_place_of_the_one_whose_node_vanished(pool):
    old = crew_of(pool)
    worker = pool.open("cpu")
    new = crew_of(pool)
    assert [station.gone for station in pool.stations] == [LOST, ""] and pool.room("cpu") == 4
    assert heard(pool, [worker]) == [(worker, None)] and pool.close(worker) == LOST
    assert old.recv()[1] == "open"
    with pytest.raises(EOFError):  # a job that is there after all sees that nobody listens
        old.recv()
    pool.open("cpu")
    assert new.recv()[1] == "open"


@pytest.mark.parametrize(("queued", "gone"), [({"7": "RUNNING"}, ["", LOST]), ({"7": "PENDING"}, [LOST, LOST]),
                                              (None, ["", ""]), ({}, [LOST, LOST])])  # fmt: skip
def test_a_job_that_slurm_has_no_more_is_lost(pool, monkeypatch, queued, gone):
    kept = [crew_of(pool, "7"), crew_of(pool, "8")]
    monkeypatch.setattr(slurm_queue, "in_queue", lambda: queued)
    pool.ready([], 0)
    assert [station.gone for station in pool.stations] == ["", ""]  # it has not been asked yet
    pool.asked_at -= slurm_pool.LOOK
    pool.ready([], 0)
    assert [station.gone for station in pool.stations] == gone and len(kept) == 2


def test_a_slurm_that_does_not_answer_ends_no_search(pool, monkeypatch):
    monkeypatch.setattr(slurm_queue, "in_queue", lambda: None)
    pool.asked_at -= slurm.ASK_SLURM
    assert pool.ready([], 0) == []
    monkeypatch.setattr(slurm_queue, "in_queue", dict)
    pool.asked_at -= slurm.ASK_SLURM
    with pytest.raises(UserError, match="no job is left"):
        pool.ready([], 0)
    monkeypatch.setattr(slurm_queue, "about", lambda job: {"JobState": "CANCELLED"})
    pool.asked_at -= slurm.ASK_SLURM
    with pytest.raises(
        UserError, match=r"no job is left .*: job 7_0 was cancelled; the same command goes on$"
    ):
        pool.ready([], 0)


def test_the_key_is_for_nobody_else_and_the_ledger_for_a_group(tmp_path, pool):
    assert stat.S_IMODE(pool.place.stat().st_mode) == 0o700
    (tmp_path / "plain").mkdir()
    assert pool.place.parent.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_job_that_leaves_tells_so_behind_its_last_words(pool):
    there = crew_of(pool)
    worker = pool.open("cpu")
    there.send((worker.pid, "a word", ""))
    there.send((-1, LEAVES, ""))
    assert (worker, "a word") in heard(pool, [worker])
    assert heard(pool, [worker]) == [(worker, None)] and pool.close(worker) == MOVED


def test_what_sbatch_says_is_one_line_and_nothing_stays_open(tmp_path, monkeypatch):
    class Refusing:
        def batch(self):
            raise submitit.core.utils.FailedJobError("sbatch: error: invalid partition specified: gpuu\n")

    before = threading.active_count()
    monkeypatch.setattr(slurm, "executor", lambda *args: Refusing())
    with pytest.raises(
        UserError, match=r"no job could be submitted: sbatch: error: invalid partition .*: gpuu$"
    ):
        SlurmPool({"slurm": KEYS, "workers_per_gpu": 1, "workers": 4}, tmp_path, "sine", per_job=4)
    until(lambda: threading.active_count() <= before)


# ---------------------------------------------------------------------- what Slurm says


def test_jobs_are_found_by_all_their_names(monkeypatch):
    said = "12_0 12_0 13 RUNNING\n12_1 12_1 12 PENDING\n12_2 12_2 12 RUNNING\n15 15_N/A 15 PENDING\n"
    monkeypatch.setattr(slurm_queue, "command", lambda *words, **more: said)
    states = {"12_0": "RUNNING", "13": "RUNNING", "12_1": "PENDING", "12": "RUNNING", "12_2": "RUNNING",
              "15": "PENDING", "15_N/A": "PENDING"}  # fmt: skip
    assert slurm_queue.in_queue() == states
    monkeypatch.setattr(slurm_queue, "command", lambda *words, **more: "")
    assert slurm_queue.in_queue() == {}
    monkeypatch.setattr(slurm_queue, "command", lambda *words, **more: None)
    assert slurm_queue.in_queue() is None


def test_so_many_failures_stop_a_sweep_and_its_jobs(tmp_path, monkeypatch):
    monkeypatch.setattr(slurm, "POLL", 0.01)
    monkeypatch.setattr(slurm, "ASK_SLURM", 0.0)
    monkeypatch.setattr(slurm_queue, "in_queue", dict)
    cancelled = []
    monkeypatch.setattr(slurm_queue, "cancel", cancelled.extend)
    known = [{"status": "failed", "ended": "now"}, {"status": "running"}]
    due = [
        SimpleNamespace(
            run=SimpleNamespace(known={}), status="", place=SimpleNamespace(folder=tmp_path / str(i))
        )
        for i in range(2)
    ]
    options = {"slurm": KEYS, "stale": "report", "max_failures": 1}
    sweep = slurm.SlurmSweep(due, options, View(), [], print)
    for planned, record in zip(due, known, strict=True):
        planned.run.known = record
    sweep._watch({"7_0": ["0", "1"]})
    assert cancelled == ["7_0"] and sweep.stopping == "sweep.max_failures=1"
    assert {i: outcome.status for i, outcome in sweep.outcomes.items()} == {0: "failed"}


def test_a_sweep_waits_for_a_slurm_that_does_not_answer(tmp_path, monkeypatch):
    monkeypatch.setattr(slurm, "POLL", 0.01)
    monkeypatch.setattr(slurm, "ASK_SLURM", 0.0)
    asked = iter([None, {"7_0": "RUNNING"}, None, {}])
    monkeypatch.setattr(slurm_queue, "in_queue", lambda: next(asked))
    run = SimpleNamespace(known={"status": "running"})
    planned = SimpleNamespace(run=run, status="", place=SimpleNamespace(folder=tmp_path / "a run"))
    sweep = slurm.SlurmSweep(
        [planned], {"slurm": KEYS, "stale": "report", "max_failures": None}, View(), [], print
    )
    sweep._watch({"7_0": ["a run"]})
    assert next(asked, "all asked") == "all asked" and sweep.outcomes[0].status == "failed"
    (tmp_path / slurm.FOLDER).mkdir()
    sweep._note({"7_0": ["a run"]})
    monkeypatch.setattr(slurm_queue, "in_queue", lambda: None)
    with pytest.raises(UserError, match="squeue does not say"):
        sweep.run()  # which would have submitted the run a second time
