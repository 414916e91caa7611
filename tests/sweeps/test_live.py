"""What a sweep says while it goes, where there is no terminal: told by hand, at a clock that stands still."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from rnnlab.config import check, compose
from rnnlab.sweeps import live
from rnnlab.sweeps.worker import Outcome


@pytest.fixture
def watched(monkeypatch):
    """Four runs of equal cost, whoever watches them, and what was said by now."""
    monkeypatch.setattr(live, "time", SimpleNamespace(monotonic=lambda: 0.0))
    config = check(compose(["experiment=sine"]))
    place = SimpleNamespace(group="one", label="")
    due = [SimpleNamespace(cost=1.0, place=place, config=config, name=f"run {i}") for i in range(4)]
    console = Console(file=io.StringIO(), width=80)
    return due, live.LiveView(due, "min", console, lambda planned: planned.name), console.file.getvalue


def came(value, status="finished"):
    results = {"best": {"value": value}, "steps": 10} if value is not None else {}
    return Outcome(0, status, "ValueError: no", {"results": results, "traceback": "traceback.txt"})


def test_the_best_so_far_is_named_and_how_many_have_ended(watched):
    due, view, said = watched
    with view:
        for planned, value in zip(due, (0.5, 0.25, 0.75), strict=False):
            view.started(planned)
            view.ended(planned, came(value))
            view.tick()
    assert said().splitlines() == [
        "1 of 4 runs  best 0.5  run 0",
        "2 of 4 runs  best 0.25  run 1",
        "3 of 4 runs  best 0.25  run 1",
    ]


def test_a_failure_is_said_at_once_with_its_traceback(watched, tmp_path):
    due, view, said = watched
    due[0].place = SimpleNamespace(folder=tmp_path / "it", group="one", label="")
    view.started(due[0])
    view.ended(due[0], came(None, "failed"))
    first, why, trace = said().splitlines()
    assert (first.split(), why.strip()) == (["failed", "it"], "ValueError: no")
    assert trace.strip() == str(tmp_path / "it" / "traceback.txt")
    view.tick()
    assert said().splitlines()[-1] == "1 of 4 runs  1 failed"


def test_nothing_is_said_twice_and_nothing_of_the_last_run_which_the_leaderboard_follows(watched):
    due, view, said = watched
    for planned in due:
        view.ended(planned, came(1.0))
    view.tick()
    assert said() == ""
