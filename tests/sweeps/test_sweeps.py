"""A sweep's runs are the runs alone, bit for bit, whatever happens to the sweep."""

import fcntl
import json
import os
import random
import re
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import replace

import pytest
from asking import GRID, content, words

import rnnlab
from rnnlab.config import check, compose
from rnnlab.errors import UserError
from rnnlab.runs.lock import lock
from rnnlab.runs.run import Run, runs
from rnnlab.runs.run_path import Place
from rnnlab.sweeps.devices import cores
from rnnlab.sweeps.job import DataSets, Job, Listener, train_job
from waiting import PATIENCE, until


def command(folder, *overrides):
    return [sys.executable, "-m", "rnnlab", "train", "-m", *words(folder, *overrides)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An unbroken sweep, and what it printed."""
    folder = tmp_path_factory.mktemp("whole")
    # without the width of the terminal, which readline puts into the environment behind Python's back
    return folder, subprocess.run(command(folder, *GRID), capture_output=True, text=True, env={**os.environ})


def assert_same(ours, theirs):
    ours, theirs = rnnlab.runs(ours / "sine"), rnnlab.runs(theirs / "sine")
    a, b = ({r.folder.name: content(r) for r in found} for found in (ours, theirs))
    assert a == b


def test_a_run_of_a_sweep_is_the_run_alone(whole, tmp_path):
    folder, done = whole
    assert done.returncode == 0, done.stderr
    runs = rnnlab.runs(folder / "sine")
    assert len(runs) == 12 and {r.status for r in runs} == {"finished"}
    for run in random.Random(1).sample(runs, 3):
        asked = json.loads(run.manifest_file.read_text())["command"][1:]
        alone = rnnlab.train(*[w for w in asked if "outputs" not in w], "~callbacks.progress", "~callbacks.pictures",
                             f"paths.outputs={tmp_path}")  # fmt: skip
        assert alone.folder.name == run.folder.name
        assert content(alone) == content(run)
        files = [
            sorted(p.relative_to(r.folder).as_posix() for p in r.folder.rglob("*")) for r in (alone, run)
        ]
        assert files[0] == files[1]
        assert alone.record.keys() == run.record.keys()
        assert {k: v for k, v in alone.config.items() if k not in ("paths", "callbacks")} == {
            k: v for k, v in run.config.items() if k not in ("paths", "callbacks")
        }


def test_a_job_tells_once_that_its_training_has_ended_and_only_the_disk_is_waited_for(tmp_path):
    config = check(compose(words(tmp_path, "seed=0", "checkpoint.every_n_steps=null")))
    config.pop("sweep")
    run, told = Run(tmp_path / "run"), []

    class Hears(Listener):
        def disk_wait(self):
            told.append((run.status, run.last_checkpoint.exists(), run.metrics_file.read_bytes()))

    outcome = train_job(Job(0, config, Place(run.folder, "run", "", ""), [], []), DataSets(), Hears())
    assert outcome.status == run.status == "finished" and run.last_checkpoint.exists()
    assert told == [("running", False, run.metrics_file.read_bytes())]


def test_a_job_that_fails_leaves_what_another_process_has_trained_or_trains(tmp_path, monkeypatch):
    config = check(compose(words(tmp_path, "seed=0")))
    config.pop("sweep")
    run = Run(tmp_path / "run")
    job = Job(0, config, Place(run.folder, "run", "", ""), [], [])
    assert train_job(job, DataSets(), Listener()).status == "finished"
    record, results = run.record, content(run)

    def fails(*_, **__):
        raise UserError("paths.outputs: cannot write")

    monkeypatch.setattr("rnnlab.training.train.train_config", fails)
    assert train_job(job, DataSets(), Listener()).status == "finished"  # by the other
    again = train_job(replace(job, restart=True), DataSets(), Listener())
    assert (again.status, again.why) == ("failed", "UserError: paths.outputs: cannot write")
    assert run.record == record and content(run) == results and not (run.folder / "traceback.txt").exists()
    run.update(status="running")
    with lock(run.folder):
        assert train_job(job, DataSets(), Listener()).status == "locked"
    assert run.status == "running"
    assert train_job(job, DataSets(), Listener()).status == run.status == "failed"


@pytest.mark.parametrize("how", ["values", "tensor", "setting"])
def test_what_a_callback_changes_in_the_data_stays_in_its_run(tmp_path, how):
    data_sets = DataSets()

    def train(at):
        asked = "+callbacks.edit._target_=victim.Edit", f"+callbacks.edit.how={how}"
        config, run = check(compose(words(tmp_path, *asked))), Run(tmp_path / at)
        config.pop("sweep")
        outcome = train_job(Job(0, config, Place(run.folder, at, "", ""), [], []), data_sets, Listener())
        assert outcome.status == "finished", outcome.why
        return content(run)

    assert train("first") == train("second")


def test_runs_share_a_data_set_that_nobody_changes(tmp_path):
    config, data_sets = check(compose(words(tmp_path))), DataSets()
    assert data_sets.of(config) is data_sets.of(config)


def test_the_table_says_what_came_out(whole):
    _, done = whole
    lines = done.stdout.splitlines()
    assert lines[0].startswith("12 runs; planned in")
    for word in ("persistence", "floor", "95% interval", "12 runs trained in"):
        assert word in done.stdout


def test_the_same_line_again_trains_nothing_and_a_wider_one_only_what_is_new(whole, multirun):
    folder, _ = whole
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}
    again = multirun(*words(folder, *GRID))
    assert again.code == 0
    assert "12 runs, 12 finished already" in again.out and "\n0 runs trained" in again.out
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()} == before
    dry = multirun(*words(folder, *GRID, "model.num_layers=1,2"), "--dry-run")
    here = min(cores(), 12)
    assert f"12, longest first; {here} worker{'s' * (here > 1)} on cpu" in dry.out
    assert "24 runs, 12 finished already" in dry.out
    assert "(from 12 finished runs of this experiment)" in dry.out and "(from the trial)" in dry.out
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()} == before


def test_a_dry_run_of_what_was_never_trained_tries_some_steps_and_leaves_nothing(tmp_path, multirun):
    dry = multirun(*words(tmp_path, "model.hidden_size=8,64", "seed=0,1"), "--dry-run")
    assert dry.code == 0 and "(from a trial of 2 of 2 kinds of runs, engine native)" in dry.out
    assert "model.hidden_size        8, 64\n" in dry.out
    assert not list(tmp_path.iterdir())


def test_a_stale_run_is_reported_and_trained_again_where_asked(whole, multirun):
    folder, _ = whole
    run, other = rnnlab.runs(folder / "sine")[:2]
    kept, made = content(run), (run.record["started"], other.record["started"])
    run.manifest_file.write_text(run.manifest_file.read_text().replace('"rnnlab": "', '"rnnlab": "old'))
    reported = multirun(*words(folder, *GRID))
    assert "1 run that finished is stale (rnnlab has changed)" in reported.out
    assert (run.record["started"], other.record["started"]) == made
    again = multirun(*words(folder, *GRID, "sweep.stale=rerun"))
    assert "1 finished, stale and trained again (sweep.stale=rerun)" in again.out
    assert "sweep.stale=rerun trains again" not in again.out
    assert "\n1 run trained" in again.out
    assert run.manifest["sources"]["rnnlab"][:3] != "old" and other.record["started"] == made[1]
    assert content(run) == kept


def test_runs_are_stale_when_the_file_of_their_data_has_changed(tmp_path, multirun):
    table = tmp_path / "table.csv"
    values = [f"{(i * 37) % 101 / 50}\n" for i in range(600)]
    table.write_text("y\n" + "".join(values))
    asked = words(tmp_path / "runs", "seed=0,1", base=(
        "data=series", f"data.path={table}", "data.target=y", "data.window=10", "model.hidden_size=4",
        "trainer.max_epochs=1", "trainer.accelerator=cpu", "name=mine"))  # fmt: skip
    assert multirun(*asked).code == 0
    table.touch()
    assert "2 runs, 2 finished already" in (same := multirun(*asked)).out and "are stale" not in same.out
    table.write_text("y\n" + "".join(values[::-1]))
    changed = multirun(*asked)
    assert "2 runs that finished are stale (the file of data.path has changed)" in changed.out
    before = [r.metrics_file.read_bytes() for r in rnnlab.runs(tmp_path / "runs" / "mine")]
    assert "\n2 runs trained" in multirun(*asked, "sweep.stale=rerun").out
    after = rnnlab.runs(tmp_path / "runs" / "mine")
    assert not {r.metrics_file.read_bytes() for r in after} & set(before)
    assert "are stale" not in multirun(*asked).out


def test_rerun_trains_finished_runs_again(whole, multirun):
    folder, _ = whole
    some = words(folder, "model.cell=gru", "optimizer.lr=0.01", "seed=0,1", "rerun=true")
    again = multirun(*some)
    assert (
        "2 runs, 2 finished and trained again (rerun=true)" in again.out and "\n2 runs trained" in again.out
    )


@pytest.fixture
def begin():
    """Begins a sweep in a process of its own, which does not outlive the test."""
    begun = []

    def begin(folder, *overrides, **options):
        begun.append(subprocess.Popen(command(folder, *overrides), **options))
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
        process.wait()


def wait_until_finished(process, folder, number):
    """Of a sweep in another process, so many runs."""
    over = False
    while sum(run.status == "finished" for run in runs(folder / "sine")) < number:
        assert not over, "it ended before"
        over = process.poll() is not None  # it may have finished the last ones since they were counted
        time.sleep(0.002)


def kill_all(process):
    """kill -9 of a sweep with all its processes."""
    workers = children(process.pid)
    for pid in (process.pid, *workers):
        with suppress(ProcessLookupError):  # what serves the sweep leaves with it
            os.kill(pid, signal.SIGKILL)
    process.wait()


def children(pid):
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True
    ).stdout.split()
    return [int(p) for p in found] + [g for p in found for g in children(int(p))]


def test_stopped_killed_and_gone_on_with_by_another_number_of_workers_it_comes_to_the_same_bits(
    whole, tmp_path, multirun, when_trained, begin
):
    folder, _ = whole
    mixed = [GRID[2].replace("range(0,3)", "2,0,1"), GRID[1], GRID[0]]
    when_trained(2, lambda: os.kill(os.getpid(), signal.SIGTERM))
    stopped = multirun(*words(tmp_path, *mixed, "sweep.workers=3"))
    assert stopped.code == 143 and "Stopped (SIGTERM) with" in stopped.out
    statuses = [r.status for r in rnnlab.runs(tmp_path / "sine")]
    assert set(statuses) <= {"finished", "stopped"} and statuses.count("finished") < 12
    process = begin(tmp_path, *mixed, "sweep.workers=2", stdout=subprocess.DEVNULL)
    wait_until_finished(process, tmp_path, 6)
    kill_all(process)
    done = multirun(*words(tmp_path, *mixed, "sweep.workers=1", "sweep.renew_mb=1"))
    assert done.code == 0, done.err
    assert_same(folder, tmp_path)


def take_terminal():
    """In a child before it begins: a session of its own, whose terminal its standard input is."""
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_a_terminal_that_is_closed_stops_the_sweep_and_the_same_line_goes_on(
    whole, tmp_path, multirun, begin
):
    folder, _ = whole
    ours, theirs = os.openpty()
    process = begin(tmp_path, *GRID, "sweep.workers=2", stdin=theirs, stdout=theirs, stderr=theirs,
                    preexec_fn=take_terminal)  # fmt: skip
    os.close(theirs)
    closing = threading.Event()
    reader = threading.Thread(target=drain, args=[ours, closing])
    reader.start()
    wait_until_finished(process, tmp_path, 2)
    left = children(process.pid)
    os.kill(process.pid, signal.SIGSTOP)  # lest it finish first; the system wakes it with SIGHUP
    closing.set()
    reader.join()
    os.close(ours)
    assert process.wait(PATIENCE) == 129
    records = [r.record for r in rnnlab.runs(tmp_path / "sine")]
    assert {r["status"] for r in records} <= {"finished", "stopped"}
    assert {r["why"].split()[0] for r in records if r["status"] == "stopped"} <= {"SIGHUP", "interrupted"}
    until(lambda: not any(alive(pid) for pid in left))
    assert multirun(*words(tmp_path, *GRID)).code == 0
    assert_same(folder, tmp_path)


def drain(terminal, closing):
    while not closing.is_set():
        if select.select([terminal], [], [], 0.02)[0]:
            os.read(terminal, 65536)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_two_sweeps_at_once_share_the_runs(whole, tmp_path, multirun, when_trained, begin):
    folder, _ = whole
    _, *others = (run.folder.name for run in rnnlab.runs(folder / "sine"))
    with ExitStack() as held:
        # lest the first do all before the second begins, it finds all runs but one taken
        for name in others:
            held.enter_context(lock(tmp_path / "sine" / name))
        first = begin(tmp_path, *GRID, "sweep.workers=1", stdout=subprocess.PIPE, text=True)
        wait_until_finished(first, tmp_path, 1)
        first.send_signal(signal.SIGSTOP)
    when_trained(1, lambda: first.send_signal(signal.SIGCONT))
    second = multirun(*words(tmp_path, *GRID, "sweep.workers=1"))
    said = [first.communicate()[0], second.out]
    assert (first.returncode, second.code) == (0, 0)
    assert_same(folder, tmp_path)
    assert not list(tmp_path.rglob(".claims"))
    trained = [int(re.search(r"(\d+) runs? trained", text)[1]) for text in said]
    assert sum(trained) == 12 and min(trained) > 0
    for text in said:  # both see all runs at the end
        assert "persistence" in text


def test_a_worker_that_trained_a_hundred_others_gives_the_bits_of_a_fresh_process(tmp_path, multirun):
    short = ("experiment=sine", "data.n_points=200", "trainer.accelerator=cpu", "trainer.max_epochs=1",
             "model.num_layers=2", "model.dropout=0.3", "model.hidden_size=8", "trainer.threads=1")  # fmt: skip
    done = multirun(*short, "model.cell=lstm,gru,elman", "model.engine=torch,native", "optimizer=adam,sgd,rmsprop",
                    "scheduler=constant,cosine", "seed=range(5,11)", "sweep.workers=1",
                    "sweep.exclude=['model.engine=torch seed=6,7,8,9,10','model.engine=torch optimizer=sgd,rmsprop']",
                    f"paths.outputs={tmp_path}")  # fmt: skip
    assert done.code == 0 and "\n114 runs trained" in done.out
    last = max(rnnlab.runs(tmp_path / "sine"), key=lambda r: (r.folder / "run.json").stat().st_mtime_ns)
    asked = [w for w in json.loads(last.manifest_file.read_text())["command"][1:] if "outputs" not in w]
    code = f"import rnnlab; rnnlab.train(*{asked!r}, 'callbacks=none', 'paths.outputs={tmp_path / 'alone'}')"
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    (fresh,) = rnnlab.runs(tmp_path / "alone" / "sine")
    assert fresh.folder.name == last.folder.name and content(fresh) == content(last)
