"""What a sweep reads, writes and calls for a hundred runs and for a thousand, by scripts/simulate.py."""

import importlib
import sys
from collections import Counter

import pytest

from rnnlab.runs.run import runs as runs_in
from rnnlab.sweeps.template import Template


@pytest.fixture
def simulate(monkeypatch, warm_server):
    monkeypatch.setattr("rnnlab.sweeps.forkserver.ForkServer", lambda: warm_server)
    monkeypatch.delitem(sys.modules, "simulate", raising=False)
    module = importlib.import_module("simulate")  # anew, with this server
    monkeypatch.setattr(module, "FATES", {"failed": 0.02, "died": 0.01, "lost": 0.02, "locked": 0.02})
    return module


@pytest.mark.parametrize("runs", [200, 1000])
def test_a_sweep_reads_each_record_once_and_writes_nothing_for_a_run(simulate, tmp_path, monkeypatch, runs):
    made = Counter()
    make = Template._make
    monkeypatch.setattr(Template, "_make", lambda self, s, p: made.update([s.name]) or make(self, s, p))
    first = simulate.swept(runs, 50, str(tmp_path))
    seeds = runs // simulate.KINDS
    assert made == {"model": 4, "optimizer": 5, "data": seeds, "": seeds, "trainer": 1, "paths": 1}
    statuses = Counter(run.status for run in runs_in(tmp_path / "sine"))
    there, finished = statuses.total(), statuses["finished"]
    assert runs > there > finished > 0.9 * runs  # those that died have no folder
    second = simulate.swept(runs, 50, str(tmp_path))
    for cost in (first, second):
        assert cost["statuses"]["listed"] == 1
        assert all(
            cost[part]["reads"] < 50 for part in ("plan", "check classes and runs", "leaderboard", "the rest")
        )
        assert all(
            cost[part]["writes"] < 10
            for part in cost
            if part not in ("(the pretended workers)", "schedule", "whole")
        )
    assert first["statuses"]["reads"] == 0
    assert second["statuses"]["reads"] == there + finished  # run.json, and of finished runs the manifest
    assert second["schedule"]["reads"] + second["view"]["reads"] < 10 + 2 * (runs - finished)


def test_what_was_replaced_to_simulate_is_back(simulate, tmp_path):
    import time

    from rnnlab.sweeps import chosen_pool, live, scheduler
    from rnnlab.sweeps.planner import Planner
    from rnnlab.sweeps.pool import LocalPool

    plan = Planner.plan
    simulate.swept(20, 5, str(tmp_path), write=False)
    assert (live.time, scheduler.time, chosen_pool.LocalPool, Planner.plan) == (time, time, LocalPool, plan)
    assert not (tmp_path / "sine").exists()
