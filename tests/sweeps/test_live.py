"""What a sweep shows while it runs, with a clock that the test sets."""

import io
import re
from types import SimpleNamespace

import pytest

from emulator import run_on_terminal, terminal
from rnnlab.config import check, compose
from rnnlab.sweeps import live
from rnnlab.sweeps.job import Outcome
from rnnlab.terminal.console import Console


class Clock:
    now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(live, "time", clock)
    return clock


def four_runs(costs=(1.0, 1.0, 1.0, 1.0)):
    config = check(compose(["experiment=sine", "trainer.max_steps=10", "trainer.max_epochs=-1"]))
    place = SimpleNamespace(group="one", label="")
    return [
        SimpleNamespace(cost=cost, place=place, config=config, name=f"run {i}")
        for i, cost in enumerate(costs)
    ]


def viewed(due, console):
    return live.LiveView(due, "min", console, lambda planned: planned.name)


@pytest.fixture
def watched(clock):
    """Four runs of equal cost, a view of them that prints plain lines, and what it has printed by now."""
    due, console = four_runs(), Console(file=io.StringIO(), width=80)
    return due, viewed(due, console), console.file.getvalue


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


@pytest.mark.parametrize("differs", ["model.loss=mae", "model.loss=quantile", "model.quantiles=[0.2,0.5]"])
def test_none_of_runs_with_losses_of_several_units_is_the_best_so_far(clock, differs):
    due, console = four_runs(), Console(file=io.StringIO(), width=80)
    given = ["experiment=sine", "model.loss=quantile"] if "quantiles" in differs else ["experiment=sine"]
    due[0].config, due[1].config = check(compose(given)), check(compose([*given, differs]))
    with viewed(due[:2], console) as view:
        view.ended(due[0], came(0.5))
        view.tick()
    assert console.file.getvalue().splitlines() == ["1 of 2 runs"]


def test_a_run_that_goes_on_after_a_rung_counts_once(clock):
    due, console = four_runs(), Console(file=io.StringIO(), width=80)
    view = live.LiveView([], "min", console, lambda planned: planned.name, expected=4)
    for again in range(3):
        for planned in due[: 4 - again]:
            view.added(planned)
            view.started(planned)
            view.ended(planned, came(0.5, "pruned" if again < 2 else "finished"))
    assert view.summary().startswith("4 of 4 runs  2 pruned")
    assert (view.steps.done, view.steps.total, view.share) == (40, 40, 1.0)


def test_a_failure_is_printed_at_once_with_its_traceback(watched, tmp_path):
    due, view, said = watched
    due[0].place = SimpleNamespace(folder=tmp_path / "it", group="one", label="")
    (tmp_path / "it").mkdir()
    (tmp_path / "it" / "traceback.txt").touch()
    view.started(due[0])
    view.ended(due[0], came(None, "failed"))
    first, why, trace = said().splitlines()
    assert (first.split(), why.strip()) == (["failed", "it"], "ValueError: no")
    assert trace.strip() == str(tmp_path / "it" / "traceback.txt")
    view.tick()
    assert said().splitlines()[-1] == "1 of 4 runs  1 failed"


def test_nothing_is_printed_of_the_last_run_for_the_leaderboard_follows(watched):
    due, view, said = watched
    for planned in due:
        view.ended(planned, came(1.0))
    view.tick()
    assert said() == ""


def test_the_time_left_is_that_of_the_guessed_seconds_that_are_left(clock):
    due = four_runs((6.0, 2.0, 1.0, 1.0))
    view = viewed(due, Console(file=io.StringIO(), width=80))
    view.started(due[0])
    clock.now = 30.0
    view.progressed(due[0], 5)  # of 10 steps: 3 of 10 seconds' work in 30 s
    assert view.time_left == "1:10 left"
    view.ended(due[0], came(0.5))
    clock.now = 60.0
    assert view.time_left == "40 s left"


@pytest.mark.parametrize("width", [60, 120])
def test_the_table_on_a_terminal(clock, width):
    due = four_runs()
    due[2].name = "a run with a very long name: " + "x" * 200
    with terminal(width) as (file, screen), viewed(due, Console(file=file, width=width)) as view:
        for planned in due[:3]:
            view.started(planned)
        clock.now = 4.0
        view.ended(due[0], came(0.25))
        view.ended(due[1], came(None, "stopped"))
        view.progressed(due[2], 5)
        view.tick()
        file.flush()
        clock.now = 4.1
        view.tick()  # too early to draw again
        clock.now = 8.0
        view.started(due[3])
        view.tick()
    first, second = [[line for line in frame if line] for frame in screen.frames[:2]]
    assert [line for line in screen.shown() if line] == []  # the leaderboard takes its place
    assert max(len(line) for frame in screen.frames for line in frame) <= width
    assert first[0].split("  ") == ["1 of 4 runs done", "1 running", "0 failed"]
    assert first[1] == "best 0.25  run 0"
    assert re.fullmatch(r"25/40 steps [━╺╸]+ +62% 2 s left  6 steps/s", first[2]), first[2]
    assert re.fullmatch(r"━{8}[━╺╸]* +5/10  4 s  a run with a very long nam.*…", first[3]), first[3]
    assert len(first) == 4 and len(second) == 5
    assert second[0].split("  ")[1] == "2 running"
    assert re.fullmatch(r"━+ +0/10  0 s  run 3", second[4]), second[4]


def test_a_sweep_on_a_terminal_draws_its_table_and_leaves_the_leaderboard(tmp_path):
    screen = run_on_terminal(120, "train", "-m", "experiment=sine", "data.n_points=200", "model.hidden_size=4",
                             "trainer.accelerator=cpu", "trainer.max_epochs=2", "seed=0,1,2", "sweep.workers=1",
                             f"paths.outputs={tmp_path}")  # fmt: skip
    counts = [line for frame in screen.frames for line in frame if " runs done" in line]
    assert counts and counts[0].startswith("0 of 3 runs done")
    shown = [line for line in screen.shown() if line]
    assert shown[0].startswith("3 runs; planned in") and not any(" runs done" in line for line in shown)
    assert any(line.split()[:1] == ["persistence"] for line in shown), shown
