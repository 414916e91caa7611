"""A sweep's results: the leaderboard, and how the command ends."""

import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote

from rnnlab.errors import RunFailed, counted
from rnnlab.report.entry import Entry, why_no_score
from rnnlab.report.leaderboard import leaderboard
from rnnlab.report.numbers import number
from rnnlab.report.table import table
from rnnlab.runs.record import ENDED, Record
from rnnlab.signals import NAMES, exit_code
from rnnlab.sweeps.job import Outcome
from rnnlab.sweeps.plan import Plan, Planned
from rnnlab.sweeps.slurm import CANCELLED
from rnnlab.terminal.console import Console

SHOWN_UNSCORED = 8  # the most runs without a score that are shown

sized = (sys.stdout is not None and sys.stdout.isatty()) or os.environ.get("COLUMNS", "").isdigit()
console = Console(width=None if sized else 120)


@dataclass
class Sweep:
    """A plan and its results. `records`: {folder of a run: content of its run.json}."""

    plan: Plan
    records: dict[Path, Record] = field(default_factory=dict)
    outcomes: list[tuple[Planned, Outcome]] = field(default_factory=list)  # of runs trained now
    stopped: str = ""  # why not all runs were started; "" where all were
    left: str = ""  # what was not trained to its end, such as "3 runs"

    def count(self, status: str) -> int:
        return sum(outcome.status == status for _, outcome in self.outcomes)

    def record(self, planned: Planned) -> Record:
        return self.records.get(planned.place.folder, {})

    def objective(self, planned: Planned) -> float:
        """The run's best value of the monitored metric; NaN if there is none."""
        return self.record(planned).get("results", {}).get("best", {}).get("value", float("nan"))


def raise_interruption(done: Sweep) -> None:
    """Raises SystemExit if the sweep was interrupted (128 + the signal) or its jobs were cancelled (1)."""
    if done.stopped in (*NAMES, CANCELLED):
        console.print()
        them = "it" if done.left.startswith("1 ") else "them"
        console.print(f"Stopped ({done.stopped}) with {done.left} left; the same command resumes {them}.")
        raise SystemExit(exit_code(done.stopped) if done.stopped in NAMES else 1)


def report(done: Sweep, began: float, leaders: bool) -> None:
    """Prints the leaderboard, and commands that show more."""
    records = [Entry(r.place.folder, done.record(r)) for r in done.plan.runs if done.record(r)]
    planned_at = {r.place.folder: r for r in done.plan.runs}
    if not done.plan.runs:
        return
    mode = done.plan.runs[0].config["mode"]
    board = leaderboard(records, mode, lambda entry: planned_at[entry.folder].config)
    if board.rows and leaders:
        console.print()
        for note in board.notes:
            console.print(note, soft_wrap=True)
        console.print(table(board, width=console.width))
    unscored = [entry for entry in board.others if entry.record.get("status") in ENDED]
    for entry in unscored[:SHOWN_UNSCORED]:
        console.print(f"no score  {entry.folder.name}: {why_no_score(entry)}", soft_wrap=True)
    if len(unscored) > SHOWN_UNSCORED:
        console.print(f"... and {len(unscored) - SHOWN_UNSCORED:,} more without a score")
    for planned in done.plan.runs:
        if planned.why_skipped:
            console.print(f"skipped  {planned.place.folder.name}: {planned.why_skipped}", soft_wrap=True)
    took = time.perf_counter() - began
    trained = sum(o.status in ENDED and o.trained for _, o in done.outcomes)
    if not leaders:
        value = f"; {board.metric} {', '.join(number(row.mean) for row in board.rows)}" if board.rows else ""
        console.print(f"{counted(trained, 'run')} trained in {took:.1f} s{value}", soft_wrap=True)
        return
    console.print()
    pruned = f" to the end, {done.count('pruned'):,} pruned," if done.count("pruned") else ""
    console.print(f"{counted(trained, 'run')} trained{pruned} in {took:.1f} s", soft_wrap=True)
    for folder in sorted({r.place.folder.parent for r in done.plan.runs}):
        console.print(f"report       rnnlab report {quote(str(folder))} --html report.html", soft_wrap=True)
        console.print(f"TensorBoard  rnnlab board {quote(str(folder))}", soft_wrap=True)


def raise_failures(done: Sweep) -> None:
    """Raises RunFailed if a run failed."""
    failures = [planned for planned, outcome in done.outcomes if outcome.status == "failed"]
    if failures:
        stopped = f", and the sweep stopped: {done.stopped}" if done.stopped else ""
        traced = [p.place.folder for p in failures if (p.place.folder / "traceback.txt").is_file()]
        where = f"; each has a traceback.txt in its folder, such as {traced[0]}" if traced else ""
        raise RunFailed(f"{len(failures):,} of {counted(len(done.outcomes), 'run')} failed{stopped}{where}")
