"""A sweep from its points to its leaderboard."""

import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rnnlab.errors import RunFailed, UserError
from rnnlab.report.leaderboard import Entry, leaderboard, number
from rnnlab.report.table import table
from rnnlab.runs.config_diff import missing_callbacks
from rnnlab.runs.disk import refuse_unwritable
from rnnlab.runs.run import now
from rnnlab.signals import NAMES, exit_code
from rnnlab.sweeps import dry_run
from rnnlab.sweeps.devices import Devices
from rnnlab.sweeps.forkserver import Nursery, keep, take
from rnnlab.sweeps.grid import Grid, Listed
from rnnlab.sweeps.live import Watch
from rnnlab.sweeps.plan import Compose, Plan, Planned, Planner, look_up
from rnnlab.sweeps.preflight import check_parts, preflight
from rnnlab.sweeps.probe import Scout
from rnnlab.sweeps.scheduler import Conductor
from rnnlab.sweeps.worker import Outcome
from rnnlab.terminal.console import Console

sized = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
console = Console(width=None if sized else 120)


@dataclass
class Sweep:
    """What came of a sweep: its plan, and each run's record (run.json) where there is one."""

    plan: Plan
    records: dict[Path, dict[str, Any]] = field(default_factory=dict)
    outcomes: list[tuple[Planned, Outcome]] = field(default_factory=list)  # of the runs trained now
    stopped: str = ""  # why not all were begun

    def count(self, status: str) -> int:
        return sum(outcome.status == status for _, outcome in self.outcomes)

    def record(self, planned: Planned) -> dict[str, Any]:
        return self.records.get(planned.place.folder, {})

    def objective(self, planned: Planned) -> float:
        """The best value of the monitored metric; NaN where there is none."""
        return self.record(planned).get("results", {}).get("best", {}).get("value", float("nan"))


def sweep(
    points: Grid | Listed,
    options: dict[str, Any],
    compose: Compose,
    base: Compose,
    *,
    config_dir: str | None = None,
    command: Sequence[str] = ("rnnlab train",),
    last: bool = True,
) -> Sweep:
    """Plans, checks, trains and shows. `options` is the `sweep` section of the config.

    Where it is not the `last`, for another sweeper may choose more points, workers stay warm and the leaderboard
    is left out.

    Raises UserError, before anything is trained, where points are invalid (unless they are to be skipped), and
    SystemExit after an interruption, which it has told of: 130 by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP.
    """
    began = time.perf_counter()
    home = take()
    scout = Scout(home)
    try:
        devices = Devices(scout)
        plan = Planner(compose, base, devices.take, config_dir).plan(points, options["exclude"])
        check_parts(plan, scout)
        for said in preflight(plan, options["on_invalid"]):
            console.print(said, soft_wrap=True)
        look_up(plan)
        done = Sweep(plan, {r.place.folder: r.run.record for r in plan.runs if r.status == "finished"})
        due = plan.due(rerun_stale=options["stale"] == "rerun")
        for said in _headlines(plan, time.perf_counter() - began):
            console.print(said, soft_wrap=True)
        if options["dry_run"]:
            dry_run.show(plan, due, options, devices, console)
            return done
        scout.close()
        for folder in sorted({planned.place.folder.parent for planned in due}):
            refuse_unwritable(folder)
        for planned in plan.runs:
            if planned.why_skipped:
                _skip(planned)
        if due:
            _train(done, due, options, home, devices, list(command))
    finally:
        scout.close()
        if last:
            home.close()
        else:
            keep(home)
    _report(done, began, last)
    if done.stopped in NAMES:
        left = len(due) - done.count("finished") - done.count("failed")
        console.print()
        console.print(
            f"Stopped ({done.stopped}) with {counted(left)} to go; the same command goes on from there."
        )
        raise SystemExit(exit_code(done.stopped))
    return done


def counted(n: int) -> str:
    return f"{n:,} run{'s' * (n != 1)}"


def _headlines(plan: Plan, took: float) -> list[str]:
    counts = plan.counts()
    stale, again = sum(bool(r.stale) for r in plan.runs), sum(r.again for r in plan.runs)
    skipped = sum(bool(r.why_skipped) for r in plan.runs)
    kept = counts["finished"] - again
    words = [counted(len(plan.runs))]
    words += [f"{kept:,} finished already"] if kept else []
    words += [f"{again:,} finished and trained again (rerun=true)"] if again else []
    words += [f"{counts['failed']:,} failed before, tried again"] if counts["failed"] else []
    half = counts["stopped"] + counts["running"]
    words += [f"{half:,} begun before, gone on with"] if half else []
    words += [f"{skipped:,} skipped for want of their device"] if skipped else []
    words += [f"{plan.excluded:,} excluded"] if plan.excluded else []
    words += [f"{plan.repeated:,} more the same as one of these"] if plan.repeated else []
    lines = [f"{', '.join(words)}; planned in {took:.2f} s"]
    lines += [f"sweep.exclude: {condition} leaves out nothing" for condition in plan.idle]
    lines += [f"{why}; it is trained again, from its checkpoint if that is whole" for why in plan.damaged]
    if lacks := _lacking(plan):
        lines.append(f"finished without {', '.join(lacks)}; rerun=true trains again, to the same numbers")
    if stale:
        why = sorted({w for r in plan.runs for w in r.stale})
        what = f"{counted(stale)} that finished {'is' if stale == 1 else 'are'} stale"
        lines.append(f"{what} ({', '.join(why)}); sweep.stale=rerun trains again")
    return lines


def _lacking(plan: Plan) -> list[str]:
    """Of the first finished run that is not trained again: all were asked for alike, and there may be very many."""
    first = next((r for r in plan.runs if r.status == "finished" and not r.again), None)
    return missing_callbacks(first.run, first.config()) if first is not None else []


def _skip(planned: Planned) -> None:
    run = planned.run
    if not run.folder.exists():
        where = planned.place
        config = planned.config()
        with suppress(OSError, UserError):  # it says so below, at any rate
            run.create(where.id, config["name"], config, planned.overrides, where.group, where.label)
            run.update(status="skipped", why=planned.why_skipped, ended=now())


def _train(
    done: Sweep,
    due: list[Planned],
    options: dict[str, Any],
    home: Nursery,
    devices: Devices,
    command: list[str],
) -> None:
    mode = due[0].config()["mode"]
    with Watch(due, mode, console, done.plan.name) as watch:
        for planned in done.plan.runs:
            watch.came(planned, done.record(planned))
        conductor = Conductor(home, devices.staff(due, options), watch, command)
        outcomes = conductor.conduct(due, afresh=options["stale"] == "rerun")
    for i, outcome in outcomes.items():
        done.records[due[i].place.folder] = outcome.record
        done.outcomes.append((due[i], outcome))
    done.stopped = conductor.stopping


def _report(done: Sweep, began: float, leaders: bool) -> None:
    """The leaderboard, and where to look further."""
    records = [Entry(r.place.folder, done.record(r)) for r in done.plan.runs if done.record(r)]
    planned_at = {r.place.folder: r for r in done.plan.runs}
    mode = done.plan.runs[0].config()["mode"]
    board = leaderboard(records, mode, lambda entry: planned_at[entry.folder].config())
    if board.rows and leaders:
        console.print()
        console.print(table(board, width=console.width))
    for planned in done.plan.runs:
        if planned.why_skipped:
            console.print(f"skipped  {planned.place.folder.name}: {planned.why_skipped}", soft_wrap=True)
    took = time.perf_counter() - began
    trained = sum(o.status == "finished" and o.trained for _, o in done.outcomes)
    if not leaders:
        value = f"; {board.metric} {', '.join(number(row.mean) for row in board.rows)}" if board.rows else ""
        console.print(f"{counted(trained)} trained in {took:.1f} s{value}", soft_wrap=True)
        return
    console.print()
    console.print(f"{counted(trained)} trained in {took:.1f} s", soft_wrap=True)
    for folder in sorted({r.place.folder.parent for r in done.plan.runs}):
        console.print(f"report       rnnlab report {folder} --html report.html", soft_wrap=True)
        console.print(f"TensorBoard  rnnlab board {folder}", soft_wrap=True)


def conclude(done: Sweep) -> None:
    """Raises RunFailed where a run failed."""
    failures = [planned for planned, outcome in done.outcomes if outcome.status == "failed"]
    if failures:
        stopped = f", and the sweep stopped: {done.stopped}" if done.stopped else ""
        told = [p.place.folder for p in failures if (p.place.folder / "traceback.txt").is_file()]
        where = f"; each has a traceback.txt in its folder, such as {told[0]}" if told else ""
        raise RunFailed(f"{len(failures):,} of {counted(len(done.outcomes))} failed{stopped}{where}")
