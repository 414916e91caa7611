"""A sweep's runs are the runs alone, bit for bit, whatever happens to the sweep."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import rnnlab

COMMON = (
    "experiment=sine", "data.n_points=200", "trainer.accelerator=cpu", "model.hidden_size=8", "trainer.max_epochs=8",
    "checkpoint.every_n_steps=7",
)  # fmt: skip
GRID = ("model.cell=elman,gru", "optimizer.lr=0.003,0.01", "seed=range(0,3)")


def command(folder, *overrides, base=COMMON):
    return [sys.executable, "-m", "rnnlab", "train", "-m", *base, *overrides, f"paths.outputs={folder}"]


def swept(folder, *overrides, base=COMMON):
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    return subprocess.run(command(folder, *overrides, base=base), capture_output=True, text=True, env=env)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An unbroken sweep, and what it printed."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, swept(folder, *GRID)


def content(run):
    """All that must be the same bits: the curves and every weight."""
    weights = [
        torch.load(p, weights_only=True)["state_dict"] for p in (run.last_checkpoint, run.best_checkpoint)
    ]
    return run.metrics_file.read_bytes(), [{k: v.numpy().tobytes() for k, v in w.items()} for w in weights]


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
        words = json.loads(run.manifest_file.read_text())["command"][1:]
        alone = rnnlab.train(*[w for w in words if "outputs" not in w], "~callbacks.progress", "~callbacks.pictures",
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


def test_the_table_says_what_came_out(whole):
    folder, done = whole
    lines = done.stdout.splitlines()
    assert lines[0].startswith("12 runs; planned in")
    best = min(rnnlab.runs(folder / "sine"), key=lambda r: r.objective)
    assert f"best {best.objective:.5g}" in done.stdout
    for word in ("persistence", "floor", "95% interval", "12 runs trained in"):
        assert word in done.stdout


def test_the_same_line_again_trains_nothing_and_a_wider_one_only_what_is_new(whole):
    folder, _ = whole
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}
    again = swept(folder, *GRID)
    assert again.returncode == 0
    assert "12 runs, 12 finished already" in again.stdout and "0 runs trained" in again.stdout
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()} == before
    dry = swept(folder, *GRID, "model.num_layers=1,2", "--dry-run")
    assert "24 runs, 12 finished already" in dry.stdout and "12 runs in" in dry.stdout


def test_a_stale_run_is_reported_and_trained_again_where_asked(whole):
    folder, _ = whole
    run, other = rnnlab.runs(folder / "sine")[:2]
    kept, made = content(run), (run.record["started"], other.record["started"])
    run.manifest_file.write_text(run.manifest_file.read_text().replace('"rnnlab": "', '"rnnlab": "old'))
    reported = swept(folder, *GRID)
    assert "1 finished runs are stale (rnnlab has changed)" in reported.stdout
    assert (run.record["started"], other.record["started"]) == made
    again = swept(folder, *GRID, "sweep.stale=rerun")
    assert "1 runs trained" in again.stdout
    assert run.manifest["sources"]["rnnlab"][:3] != "old" and other.record["started"] == made[1]
    assert content(run) == kept


def killed_when(folder, number, finished, *overrides):
    """Starts a sweep, and kills it (SIGKILL: and all its processes) when so many runs are finished."""
    process = subprocess.Popen(
        command(folder, *overrides), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if sum('"finished"' in p.read_text() for p in folder.glob("sine/*/run.json")) >= finished:
            break
        time.sleep(0.002)
    workers = children(process.pid)
    process.send_signal(number)
    if number == signal.SIGKILL:
        for pid in workers:
            os.kill(pid, number)
    return process.wait(timeout=30)


def children(pid):
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True
    ).stdout.split()
    return [int(p) for p in found] + [g for p in found for g in children(int(p))]


def test_stopped_killed_and_gone_on_with_by_another_number_of_workers_it_comes_to_the_same_bits(
    whole, tmp_path
):
    folder, _ = whole
    mixed = [GRID[2].replace("range(0,3)", "2,0,1"), GRID[1], GRID[0]]
    assert killed_when(tmp_path, signal.SIGTERM, 2, *mixed, "sweep.workers=3") == 143
    statuses = [r.status for r in rnnlab.runs(tmp_path / "sine")]
    assert set(statuses) <= {"finished", "stopped"} and statuses.count("finished") < 12
    killed_when(tmp_path, signal.SIGKILL, 6, *mixed, "sweep.workers=2")
    done = swept(tmp_path, *mixed, "sweep.workers=1", "sweep.renew_mb=1")
    assert done.returncode == 0, done.stderr
    assert_same(folder, tmp_path)


def test_two_sweeps_at_once_share_the_runs(whole, tmp_path):
    folder, _ = whole
    both = [subprocess.Popen(command(tmp_path, *GRID, "sweep.workers=1"), stdout=subprocess.PIPE, text=True)
            for _ in range(2)]  # fmt: skip
    said = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert_same(folder, tmp_path)
    assert not list(tmp_path.rglob(".claims"))
    trained = [int(re.search(r"(\d+) runs trained", text)[1]) for text in said]
    assert sum(trained) == 12
    for text in said:  # both see all runs at the end
        assert "persistence" in text


FAILING = ("optimizer=sgd", "optimizer.lr=0.01,1e6", "seed=0,1", "+callbacks.victim._target_=victim.Victim")


def test_a_failure_costs_only_its_run(tmp_path):
    done = swept(tmp_path, *FAILING)
    runs = {(r.config["optimizer"]["lr"], r.config["seed"]): r for r in rnnlab.runs(tmp_path / "sine")}
    assert done.returncode == 1
    assert "3 of 4 runs failed" in done.stderr
    assert [runs[0.01, s].status for s in (0, 1)] == ["finished", "failed"]
    assert [runs[1e6, s].status for s in (0, 1)] == ["failed", "failed"]
    assert "SIGKILL" in runs[0.01, 1].record["why"]  # the victim's worker
    assert "Diverged" in (runs[1e6, 0].folder / "traceback.txt").read_text()
    assert str(runs[1e6, 0].folder / "traceback.txt") in done.stdout
    stopped = swept(
        tmp_path, *FAILING, "sweep.max_failures=1", "sweep.workers=1"
    )  # failed ones are tried again
    assert stopped.returncode == 1 and "sweep.max_failures" in stopped.stderr
    assert "3 failed before, tried again" in stopped.stdout


def test_nothing_starts_where_a_point_cannot_be(tmp_path):
    refused = swept(tmp_path, "model.hidden_size=8,0", "optimizer.lr=0.1,-1", "sweep.workers=1")
    assert refused.returncode == 2 and not list(tmp_path.iterdir())
    assert refused.stderr.startswith("3 of 4 points cannot be:\n")
    assert "optimizer.lr=-1: must be a number of at least 0" in refused.stderr
