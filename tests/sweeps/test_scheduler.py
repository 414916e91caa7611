"""Which worker gets which run and device, and how each run ends, with threads in the place of workers."""

import errno
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from io import BytesIO
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace

import pytest

from rnnlab.errors import RunFailed
from rnnlab.runs.run import Run
from rnnlab.runs.run_path import Place
from rnnlab.sweeps import forkserver
from rnnlab.sweeps import pool as pooling
from rnnlab.sweeps import scheduler as scheduling
from rnnlab.sweeps import worker as workers
from rnnlab.sweeps.devices import Devices
from rnnlab.sweeps.forkserver import LEFT
from rnnlab.sweeps.job import Job, Outcome
from rnnlab.sweeps.pool import LocalPool
from rnnlab.sweeps.scheduler import PoolOptions, Scheduler, View
from rnnlab.sweeps.worker import Step, Waits
from waiting import PATIENCE

NOBODY = 1 << 30  # no process has such an id


class FakeServer:
    """A fork server whose workers are threads; `answer(job, worker)` gives an outcome, or None for one that dies."""

    def __init__(self, answer):
        self.answer, self.workers, self.closed, self.threads = answer, [], [], []

    def start_worker(self):
        ours, theirs = Pipe()
        worker = SimpleNamespace(pid=NOBODY + len(self.workers), environment={}, jobs=[], end=theirs)
        self.workers.append(worker)
        self.threads.append(threading.Thread(target=self.serve, args=(worker,), daemon=True))
        self.threads[-1].start()
        return worker.pid, ours

    def serve(self, worker):
        while True:
            try:
                asked = worker.end.recv()
            except (EOFError, OSError):
                return
            if isinstance(asked, dict):
                assert not worker.jobs, "torch may have looked for its devices already"
                worker.environment |= asked
                continue
            worker.jobs.append(asked.number)
            outcome = self.answer(asked, worker)
            if outcome is None:
                worker.end.close()
                return
            worker.end.send(outcome)

    end = "its worker was killed (SIGKILL); out of memory?"

    def exit_reason(self, pid):
        self.closed.append(pid)
        return self.end


class Due(SimpleNamespace):
    @property
    def config(self):
        return self.make_config()


def finished(job, worker):
    return Outcome(job.number, "finished", memory=100)


def scheduled(
    tmp_path, kinds, pool, answer=finished, config=dict, end=FakeServer.end, restart=False, **before
):
    due = []
    for i, kind in enumerate(kinds):
        run = Run(tmp_path / str(i))
        run.create(str(i), "test", {}, [])
        run.update(**({"status": "running"} | before))
        place = Place(run.folder, str(i), "", "")
        due.append(Due(accelerator=kind, place=place, overrides=[], status=before.get("status", ""),
                                   run=run, make_config=config))  # fmt: skip
    server = FakeServer(answer)
    server.end = end
    scheduler = Scheduler(LocalPool(server), pool, View(), ["rnnlab"])
    outcomes = scheduler.run(due, restart)
    for thread in server.threads:
        thread.join()  # it may still be reading what it was sent; behind that it finds the end
    return outcomes, server, scheduler


@pytest.mark.parametrize(("allowed", "names"), [(None, "0101"), ("3,GPU-5f", ["3", "GPU-5f"] * 2)])
def test_workers_are_spread_over_the_gpus(tmp_path, monkeypatch, allowed, names):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if allowed:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    kinds = ["gpu", "cpu"] * 8
    outcomes, server, _ = scheduled(tmp_path, kinds, PoolOptions({"cpu": 3, "gpu": 4}, gpus=2))
    assert sorted(outcomes) == list(range(16))
    on_gpu = [w for w in server.workers if w.environment]
    assert [w.environment["CUDA_VISIBLE_DEVICES"] for w in on_gpu] == list(names)
    assert len(server.workers) == 7
    for worker in server.workers:  # each works for its own kind of device
        assert {kinds[n] for n in worker.jobs} <= {"gpu" if worker in on_gpu else "cpu"}


def test_a_worker_whose_runs_take_two_gpus_has_two_for_itself(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    _, server, _ = scheduled(tmp_path, ["gpu"] * 4, PoolOptions({"gpu": 2}, gpus=5, gpus_each=2))
    assert [w.environment["CUDA_VISIBLE_DEVICES"] for w in server.workers] == ["0,1", "2,3"]


def test_no_more_workers_than_runs_and_none_chooses_a_gpu_elsewhere(tmp_path):
    _, server, _ = scheduled(tmp_path, ["mps", "mps"], PoolOptions({"mps": 4}))
    assert len(server.workers) == 2 and not any(w.environment for w in server.workers)


def test_a_worker_whose_memory_has_grown_is_renewed_on_its_gpu(tmp_path):
    def growing(job, worker):
        return Outcome(job.number, "finished", memory=100 * len(worker.jobs))

    outcomes, server, _ = scheduled(
        tmp_path, ["gpu"] * 8, PoolOptions({"gpu": 1}, gpus=1, renew_bytes=150), growing
    )
    assert len(outcomes) == 8
    assert [len(w.jobs) for w in server.workers] == [3, 3, 2]
    assert {w.environment["CUDA_VISIBLE_DEVICES"] for w in server.workers} == {"0"}
    assert len(server.closed) == 3


def test_a_worker_that_dies_costs_its_run_which_can_go_on(tmp_path):
    def dying(job, worker):
        return finished(job, worker) if job.number != 1 else None

    outcomes, server, _ = scheduled(tmp_path, ["gpu"] * 4, PoolOptions({"gpu": 2}, gpus=2), dying)
    assert [outcomes[i].status for i in range(4)] == ["finished", "failed", "finished", "finished"]
    assert "SIGKILL" in outcomes[1].why and outcomes[1].record["can_go_on"]
    assert (tmp_path / "1" / "traceback.txt").read_text().startswith("its worker was killed")
    gpus = [w.environment["CUDA_VISIBLE_DEVICES"] for w in server.workers]
    assert sorted(gpus) == ["0", "1", "1"]


def test_where_no_further_worker_can_be_started_those_that_there_are_train_all(tmp_path, monkeypatch, capsys):
    start, there = FakeServer.start_worker, 2

    def refused(self):
        if len(self.workers) == there:
            raise RunFailed("no worker could be started:", "[Errno 11] Resource temporarily unavailable")
        return start(self)

    monkeypatch.setattr(FakeServer, "start_worker", refused)
    outcomes, server, _ = scheduled(tmp_path, ["cpu"] * 9, PoolOptions({"cpu": 6}))
    assert [outcomes[i].status for i in range(9)] == ["finished"] * 9 and len(server.workers) == 2
    assert capsys.readouterr().err == (
        "no more than 2 workers could be started: [Errno 11] Resource temporarily unavailable\n"
    )
    there = 0
    with pytest.raises(RunFailed, match="no worker could be started"):
        scheduled(tmp_path / "none", ["cpu"], PoolOptions({"cpu": 6}))


def test_a_server_that_cannot_fork_says_why_and_goes_on(monkeypatch):
    ours, theirs = socket.socketpair()

    def refuse():
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(forkserver, "load", lambda: None)
    monkeypatch.setattr(os, "fork", refuse)
    monkeypatch.setattr(os, "_exit", sys.exit)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(signal, "pthread_sigmask", lambda *_: None)

    def serve():
        with suppress(SystemExit, OSError):
            forkserver.serve(theirs.detach())

    serving = threading.Thread(target=serve, daemon=True)
    serving.start()
    server = object.__new__(forkserver.ForkServer)
    server._socket, server._errors, server._process = (
        ours,
        BytesIO(b"Resource temporarily unavailable\n"),
        None,
    )
    for _ in range(2):
        with pytest.raises(RunFailed, match="no worker could be started:\nResource temporarily unavailable"):
            server.start_worker()
    assert serving.is_alive()
    ours.close()
    serving.join()


def test_the_view_learns_of_each_run_its_start_its_steps_and_its_end(tmp_path, monkeypatch):
    seen = []
    for name in ("started", "progressed", "ended"):
        monkeypatch.setattr(
            View, name, lambda self, planned, *more, name=name: seen.append((name, planned.place.id, *more))
        )

    def reporting(job, worker):
        worker.end.send(Step(job.number, 7))
        return finished(job, worker)

    scheduled(tmp_path, ["cpu"] * 2, PoolOptions({"cpu": 1}), reporting)
    ends = [Outcome(i, "finished", memory=100) for i in range(2)]
    assert seen == [("started", "0"), ("progressed", "0", 7), ("ended", "0", ends[0]),
                    ("started", "1"), ("progressed", "1", 7), ("ended", "1", ends[1])]  # fmt: skip


@pytest.mark.parametrize(("lends", "short", "workers"), [(True, True, 2), (False, True, 1), (True, False, 1)])
def test_a_worker_that_waits_for_the_disk_leaves_its_core_to_one_more(
    tmp_path, monkeypatch, lends, short, workers
):
    monkeypatch.setattr(scheduling, "SHORT", PATIENCE if short else -1.0)
    training, most, waited = [], [], threading.Event()

    def waiting(job, worker):
        training.append(job.number)
        most.append(len(training))
        training.remove(job.number)
        worker.end.send(Waits(job.number))
        if job.number == 0 and workers == 2:
            assert waited.wait(PATIENCE)  # until another worker has trained all other runs
        if job.number == 3:
            waited.set()
        return finished(job, worker)

    outcomes, server, _ = scheduled(tmp_path, ["cpu"] * 4, PoolOptions({"cpu": 1}, lends=lends), waiting)
    assert [outcomes[i].status for i in range(4)] == ["finished"] * 4
    assert server.workers[0].jobs == ([0] if workers == 2 else [0, 1, 2, 3])
    assert set(most) == {1}  # never more than there are workers


def test_no_more_runs_train_at_once_than_there_are_workers_when_those_that_waited_are_back(tmp_path):
    both, at_once, now = threading.Barrier(2, timeout=PATIENCE), [], []

    def waiting(job, worker):
        now.append(job.number)
        at_once.append(len(now))
        if job.number < 2:
            both.wait()  # two train
        now.remove(job.number)
        worker.end.send(Waits(job.number))
        return finished(job, worker)

    _, server, scheduler = scheduled(tmp_path, ["cpu"] * 40, PoolOptions({"cpu": 2}, lends=True), waiting)
    assert max(at_once) == 2 and 2 <= len(server.workers) <= 4
    assert not +scheduler._at_work and not scheduler.workers


@pytest.mark.parametrize(("again", "status"), [("yesterday", "failed"), ("today", "finished")])
def test_a_finished_run_that_is_begun_again_has_finished_when_it_has_again(tmp_path, again, status):
    def dies(job, worker):
        Run(job.place.folder).update(ended=again)

    outcomes, *_ = scheduled(
        tmp_path, ["cpu"], PoolOptions({"cpu": 1}), dies, status="finished", ended="yesterday"
    )
    assert outcomes[0].status == status


def test_a_run_that_begins_again_does_so_once_whatever_becomes_of_its_worker(tmp_path):
    asked = []

    def answer(job, worker):
        asked.append(job.config["rerun"])
        return (
            Outcome(job.number, "stopped", "SIGTERM at step 7") if len(asked) == 1 else finished(job, worker)
        )

    scheduled(tmp_path, ["cpu"], PoolOptions({"cpu": 1}), answer, config=lambda: {"rerun": True})
    assert asked == [True, False]


def test_a_run_that_was_pruned_is_pruned_also_where_its_worker_could_not_say_so(tmp_path):
    def pruned_again(job, worker):
        steps.append(steps[-1] + 5)
        Run(job.place.folder).update(
            status="pruned", ended="now", results={"steps": steps[-1]}, why="pruned (asha)"
        )

    def never_begun(job, worker):
        return None

    before = {"status": "pruned", "ended": "now", "results": {"steps": 5}}
    steps = [5]
    for answer, status in ((pruned_again, "pruned"), (never_begun, "failed")):
        outcomes, *_ = scheduled(tmp_path / status, ["cpu"], PoolOptions({"cpu": 1}), answer, **before)
        assert outcomes[0].status == status


def test_a_signal_while_a_worker_answers_loses_no_answer(monkeypatch):
    class Pipe:
        def recv(self):
            return Job(7, {}, Place(Path("nowhere"), "", "", ""), [], [])

        def send(self, message):
            worker.on_signal(signal.SIGTERM, None)
            sent.append(message)

    sent = []
    outcome = Outcome(7, "pruned")
    monkeypatch.setattr(workers, "train_job", lambda *_: outcome)
    worker = object.__new__(workers.Worker)  # a new one takes over the output of this process
    worker.connection, worker.sending, worker.data_sets = Pipe(), threading.Lock(), None
    worker.leaving, worker.number = False, None
    with tempfile.TemporaryFile() as worker.output:
        assert worker.serve() == 0
    assert sent == [outcome]


def test_a_run_whose_worker_alone_was_stopped_resumes_once_in_another(tmp_path):
    def stopped(times):
        def answer(job, worker):
            seen.append(job.number)
            if job.number == 1 and seen.count(1) <= times:
                return Outcome(1, "stopped", "SIGTERM at step 7")
            return finished(job, worker)

        return answer

    for times, status in ((1, "finished"), (2, "failed")):
        seen: list[int] = []
        outcomes, _, _ = scheduled(tmp_path, ["cpu"] * 3, PoolOptions({"cpu": 1}), stopped(times))
        assert outcomes[1].status == status and seen.count(1) == 2
        assert all(outcomes[i].status == "finished" for i in (0, 2))


def test_a_worker_that_was_told_to_leave_between_two_runs_costs_none(tmp_path):
    seen: list[int] = []

    def leaving(job, worker):
        seen.append(job.number)
        return None if seen.count(1) == 1 and job.number == 1 else finished(job, worker)

    outcomes, *_ = scheduled(tmp_path, ["cpu"] * 3, PoolOptions({"cpu": 1}), leaving, end=LEFT)
    assert [outcomes[i].status for i in range(3)] == ["finished"] * 3 and seen == [0, 1, 1, 2]
    outcomes, *_ = scheduled(
        tmp_path / "each", ["cpu"], PoolOptions({"cpu": 1}), lambda job, worker: None, end=LEFT
    )
    assert outcomes[0].status == "failed"  # and none is tried for ever


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_while_a_run_is_handed_out_reaches_its_worker(tmp_path, monkeypatch, by):
    """The worker gets the signal that the sweep got: the run's record said SIGTERM after Ctrl-C."""
    told = threading.Event()

    def kill(pid, number):
        assert (pid, number) == (NOBODY, by)
        told.set()

    def at_the_worst_moment():
        os.kill(os.getpid(), by)
        return {}

    def training(job, worker):
        return Outcome(job.number, "stopped" if told.wait(PATIENCE) else "finished")

    monkeypatch.setattr(pooling, "kill", kill)
    outcomes, server, scheduler = scheduled(
        tmp_path, ["cpu"] * 2, PoolOptions({"cpu": 1}), training, at_the_worst_moment
    )
    assert {i: o.status for i, o in outcomes.items()} == {0: "stopped"}
    assert scheduler.stopping == by.name and server.workers[0].jobs == [0]


def test_a_stale_run_that_another_sweep_trains_meanwhile_is_not_trained_once_more(tmp_path):
    restarts = {}

    def answer(job, worker):
        restarts[job.number] = job.restart
        Run(tmp_path / "1").update(ended="after this sweep was planned")
        return finished(job, worker)

    scheduled(
        tmp_path, ["cpu"] * 3, PoolOptions({"cpu": 1}), answer, restart=True, status="finished", ended="then"
    )
    assert restarts == {0: True, 1: False, 2: True}


def test_a_run_that_finished_as_the_sweep_was_stopped_has_finished_also_where_its_worker_could_not_say_so(
    tmp_path, monkeypatch
):
    def silent(job, worker):
        Run(job.place.folder).update(status="finished", ended="now")
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(pooling, "kill", lambda pid, number: None)
    outcomes, _, scheduler = scheduled(tmp_path, ["cpu"], PoolOptions({"cpu": 1}), silent)
    assert outcomes[0].status == "finished" and scheduler.stopping == "SIGTERM"


def test_the_exit_code_of_a_worker_is_unknown_if_its_server_is_killed(monkeypatch):
    monkeypatch.setattr(forkserver, "FORKS", True)
    monkeypatch.setattr(forkserver.ForkServer, "_start_server", lambda self: None)
    server = forkserver.ForkServer()
    server._socket, theirs = socket.socketpair()
    theirs.shutdown(socket.SHUT_WR)  # hears the question, and is gone
    assert server.exit_reason(NOBODY) == "its worker was killed"


def test_a_run_that_another_process_trains_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(scheduling, "RETRY_LOCKED", 0.01)
    seen = []

    def locked(job, worker):
        seen.append(job.number)
        return finished(job, worker) if seen.count(job.number) > 2 else Outcome(job.number, "locked")

    outcomes, _, _ = scheduled(tmp_path, ["cpu"] * 2, PoolOptions({"cpu": 2}), locked)
    assert [outcomes[i].status for i in (0, 1)] == ["finished"] * 2 and len(seen) == 6


def test_so_many_failures_stop_the_sweep(tmp_path):
    def failing(job, worker):
        return Outcome(job.number, "failed", "ValueError")

    outcomes, _, scheduler = scheduled(
        tmp_path, ["cpu"] * 9, PoolOptions({"cpu": 1}, max_failures=3), failing
    )
    assert len(outcomes) == 3 and scheduler.stopping == "sweep.max_failures=3"


class FakeProbe:
    def __init__(self, there, gpus):
        self.devices = lambda: (there, gpus)


def test_as_many_workers_as_devices_and_threads_allow(monkeypatch):
    monkeypatch.setattr("rnnlab.sweeps.devices.DRIVERS", ("/",))  # there is a driver
    monkeypatch.setattr("rnnlab.sweeps.devices.cores", lambda: 8)
    devices = Devices(FakeProbe({"gpu": "H100 and 1 more", "cpu": "8 threads"}, 2))
    assert [devices.choose(asked) for asked in ("auto", "cpu", "gpu")] == ["gpu", "cpu", "gpu"]
    with pytest.raises(Exception, match="which has gpu \\(H100 and 1 more\\), cpu"):
        devices.choose("mps")
    options = {"workers": None, "workers_per_gpu": 3, "renew_mb": 1, "max_failures": None, "pictures": False}

    def planned(threads, processes=1, accelerator="cpu"):
        trainer = {"threads": threads, "devices": processes}
        return SimpleNamespace(config={"trainer": trainer}, accelerator=accelerator)

    assert devices.pool([planned(None)], options).workers == {"cpu": 8, "gpu": 6, "mps": 3}
    assert devices.pool([planned(1), planned(4)], options).workers["cpu"] == 2
    assert devices.pool([planned(16)], options | {"workers": 5}).workers == {"cpu": 5, "gpu": 5, "mps": 3}
    assert devices.pool([planned(16)], options | {"workers": 9}).workers == {"cpu": 9, "gpu": 6, "mps": 3}
    assert devices.pool([planned(None), planned(2, 2)], options).workers["cpu"] == 2
    shared = devices.pool([planned(None, [0, 1], "gpu"), planned(None, 4)], options | {"workers_per_gpu": 1})
    assert (shared.workers["gpu"], shared.workers["cpu"], shared.gpus_each) == (1, 2, 2)


def test_what_workers_are_forked_from_has_not_asked_for_a_gpu():
    """CUDA cannot be used in a process that was forked from one in which so much as the GPUs were counted."""
    code = """
import threading, torch
asked = []
for name in ("_cuda_getDeviceCount", "_cuda_init", "_cuda_getCurrentRawStream"):  # a torch without CUDA has none
    setattr(torch._C, name, lambda *_, name=name: asked.append(name) or 0)
from rnnlab.sweeps.forkserver import load
load()
assert not asked, asked
assert threading.active_count() == 1, threading.enumerate()
torch.cuda.is_available()
assert asked, "this test sees nothing"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
