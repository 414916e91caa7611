"""Runs a sweep: plans the points, trains the runs, and shows the leaderboard."""

import itertools
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any

from rnnlab.config.checked import RunConfig
from rnnlab.config.hydra_config import NO_SCORE
from rnnlab.errors import RunFailed, UserError, counted
from rnnlab.report.entry import Entry, why_no_score
from rnnlab.report.leaderboard import leaderboard
from rnnlab.report.numbers import number
from rnnlab.report.search import pareto_table
from rnnlab.report.table import table
from rnnlab.runs.config_diff import missing_callbacks
from rnnlab.runs.disk import refuse_unwritable
from rnnlab.runs.lock import Locked, lock
from rnnlab.runs.record import EARLY, ENDED
from rnnlab.runs.run import now
from rnnlab.runs.trials import JOURNAL, pareto_front, read_journal
from rnnlab.signals import NAMES, exit_code
from rnnlab.sweeps.compiling import Compiling, stacks
from rnnlab.sweeps.devices import Devices
from rnnlab.sweeps.estimate import estimate, weights
from rnnlab.sweeps.forkserver import ForkServer, acquire, release
from rnnlab.sweeps.grid import Grid, Listed, Point
from rnnlab.sweeps.job import Outcome
from rnnlab.sweeps.live import LiveView, clock
from rnnlab.sweeps.plan import Plan, Planned
from rnnlab.sweeps.planner import Compose, Planner
from rnnlab.sweeps.pools import elsewhere, workers_of
from rnnlab.sweeps.probe import Probe
from rnnlab.sweeps.rehearsal import BUDGET
from rnnlab.sweeps.scheduler import Scheduler
from rnnlab.sweeps.slurm import (
    CANCELLED,
    DETACHED,
    SlurmSweep,
    require_slurm,
    workers_at_once,
    workers_per_job,
)
from rnnlab.sweeps.space import Space
from rnnlab.terminal.console import Console

SHOWN_NOTES = 8  # the most warnings that are shown
SHOWN_VALUES = 8  # the most values of a swept key that a dry run shows

sized = (sys.stdout is not None and sys.stdout.isatty()) or os.environ.get("COLUMNS", "").isdigit()
console = Console(width=None if sized else 120)


@dataclass
class Sweep:
    """A plan and its results. `records`: {folder of a run: content of its run.json}."""

    plan: Plan
    records: dict[Path, dict[str, Any]] = field(default_factory=dict)
    outcomes: list[tuple[Planned, Outcome]] = field(default_factory=list)  # of runs trained now
    stopped: str = ""  # why not all runs were started; "" where all were
    trials_left: int = 0  # of a search that was stopped

    def count(self, status: str) -> int:
        return sum(outcome.status == status for _, outcome in self.outcomes)

    def record(self, planned: Planned) -> dict[str, Any]:
        return self.records.get(planned.place.folder, {})

    def objective(self, planned: Planned) -> float:
        """The run's best value of the monitored metric; NaN if there is none."""
        return self.record(planned).get("results", {}).get("best", {}).get("value", float("nan"))


def sweep(
    points: Grid | Listed | Space,
    options: dict[str, Any],
    compose: Compose,
    base: Compose,
    *,
    config_dir: str | None = None,
    command: Sequence[str] = ("rnnlab train",),
    last: bool = True,
    unusable: Callable[[RunConfig, bool], Iterable[str]] = lambda config, scored: (),
) -> Sweep:
    """Plans, checks, trains and reports. `options` is the `sweep` section of the config; a Space starts a search.

    Unless this is the `last` sweep of the process, the fork server is kept and no leaderboard is shown, because another
    sweeper may choose more points. `unusable` gives reasons why that sweeper cannot use a run (`Plan.check_runs`).

    Raises UserError, before anything is trained, if points are invalid (and sweep.on_invalid is not "skip"), and
    SystemExit after it has reported an interruption: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP.
    """
    began = time.perf_counter()
    server = acquire()
    probe, compiling = Probe(server), None
    try:
        devices = Devices(probe, elsewhere(options))
        planner, exclude = Planner(compose, base, devices.choose, config_dir), options["exclude"]
        plan = planner.plan(Listed(points.corners()) if isinstance(points, Space) else points, exclude)
        plan.check_classes(probe.import_errors)
        plan.read_statuses()
        due = plan.due(options["stale"] == "rerun")
        if options["pool"] != "slurm":  # its jobs run on other machines
            compiling = Compiling(server, stacks(run.config for run in due))
        if isinstance(points, Space) and (options["search"] != "random" or options["prune"] != "none"):
            of = f"sweep.search={options['search']} sweep.prune={options['prune']}"
            unusable = lambda config, scored: () if scored else (f"{of}: {NO_SCORE}",)  # noqa: E731
        plan.check_runs(due, probe.answers, unusable)
        for line in plan.report_invalid(options["on_invalid"]):
            console.print(line, soft_wrap=True)
        if plan.runs and all(run.why_skipped and run.status not in ENDED for run in plan.runs):
            raise UserError(*dict.fromkeys(run.why_skipped for run in plan.runs))  # as for one run
        if isinstance(points, Space):
            with alone(plan.runs[0].place.folder.parent, points, options["dry_run"]):
                done = _search(
                    points, planner, plan, options, server, devices, list(command), began, unusable
                )
            report(done, began, last)
            _end(done, counted(done.trials_left, "trial"))
            return done
        done = Sweep(plan, plan.records)
        due = plan.due(rerun_stale=options["stale"] == "rerun")
        if options["pool"] == "slurm":
            require_slurm()
            workers_per_job(options, due)
        for line in _headlines(plan, time.perf_counter() - began - probe.waited):
            console.print(line, soft_wrap=True)
        for folder in sorted({planned.place.folder.parent for planned in due}):
            refuse_unwritable(folder)
        if options["dry_run"]:
            _show_dry_run(plan, due, options, devices)
            return done
        probe.close()
        for planned in plan.runs:
            if planned.why_skipped:
                _record_skipped(planned)
        if due:
            _train(done, due, options, server, devices, list(command))
    finally:
        probe.close()
        if compiling is not None:
            compiling.close()
        if last:
            server.close()
        else:
            release(server)
    if done.stopped == DETACHED:
        return done
    report(done, began, last)
    _end(done, counted(len(due) - sum(map(done.count, (*ENDED, "failed", "pruned"))), "run"))
    return done


@contextmanager
def alone(experiment: Path, space: Space, dry_run: bool) -> Iterator[None]:
    """While open, no other command goes on with the same search. Two would give their trials the same numbers, and the
    journal would give the results of one to the points of the other. Raises UserError where another command has begun.
    """
    with ExitStack() as stack:
        try:
            if not dry_run:
                stack.enter_context(lock(experiment / f"search-{space.id}"))
        except Locked:
            raise UserError(
                f"{experiment / JOURNAL}: another command goes on with this search; sweep.workers and sweep.pool give "
                "one search more workers"
            ) from None
        yield


def _end(done: Sweep, left: str) -> None:
    """Raises SystemExit if the sweep was interrupted (128 + the signal) or its jobs were cancelled (1). `left`: what
    was not trained to its end, such as "3 runs".
    """
    if done.stopped in (*NAMES, CANCELLED):
        console.print()
        them = "it" if left.startswith("1 ") else "them"
        console.print(f"Stopped ({done.stopped}) with {left} left; the same command resumes {them}.")
        raise SystemExit(exit_code(done.stopped) if done.stopped in NAMES else 1)


def _headlines(plan: Plan, took: float) -> list[str]:
    counts = plan.counts()
    stale, again = sum(bool(r.stale) for r in plan.runs), sum(r.again for r in plan.runs)
    skipped = sum(bool(r.why_skipped) for r in plan.runs)
    kept = sum(counts[status] for status in ENDED) - again
    words = [counted(len(plan.runs), "run")]
    words += [f"{kept:,} finished already"] if kept else []
    words += [f"{counts[EARLY]:,} of them {EARLY}"] if counts[EARLY] else []
    words += [f"{again:,} finished and trained again (rerun=true)"] if again else []
    words += [f"{counts['failed']:,} failed before, tried again"] if counts["failed"] else []
    half = counts["stopped"] + counts["running"] + counts["pruned"]
    words += [f"{half:,} resumed"] if half else []
    words += [f"{skipped:,} skipped: no such device"] if skipped else []
    words += [f"{plan.excluded:,} excluded"] if plan.excluded else []
    words += [counted(plan.repeated, "duplicate")] if plan.repeated else []
    lines = [f"{', '.join(words)}; planned in {took:.2f} s"]
    lines += [f"sweep.exclude: {condition} matches no point" for condition in plan.unmatched]
    lines += [
        f"{why}; the run is trained again, from its checkpoint if that is whole" for why in plan.damaged
    ]
    for note, n in plan.notes.most_common(SHOWN_NOTES):
        lines.append(f"{note} ({counted(n, 'run')})" if n < len(plan.runs) else note)
    if missing := _missing_callbacks(plan):
        lines.append(f"finished without {', '.join(missing)}; rerun=true trains again, to the same numbers")
    if stale:
        why = sorted({w for r in plan.runs for w in r.stale})
        what = f"{counted(stale, 'run')} that finished {'is' if stale == 1 else 'are'} stale"
        lines.append(f"{what} ({', '.join(why)}); sweep.stale=rerun trains again")
    return lines


def _missing_callbacks(plan: Plan) -> list[str]:
    """The callbacks of the config that the first finished run did not have. One run is enough: all have the same."""
    first = next((r for r in plan.runs if r.status in ENDED and not r.again), None)
    return missing_callbacks(first.run, first.config) if first is not None else []


def _show_dry_run(plan: Plan, due: list[Planned], options: dict[str, Any], devices: Devices) -> None:
    """Prints the swept values, and how much time and memory the sweep would take."""
    for key in plan.swept:
        values = dict.fromkeys(a.text.partition("=")[2] for r in plan.runs for a in r.point if a.key == key)
        shown = ", ".join(itertools.islice(values, SHOWN_VALUES))
        shown += f", ... ({len(values):,})" if len(values) > SHOWN_VALUES else ""
        console.print(f"  {key:24} {shown}", soft_wrap=True)
    if due:
        workers = devices.pool(due, options).workers
        if options["pool"] == "slurm":
            workers = dict.fromkeys(workers, workers_at_once(options, due))
        by_kind = Counter(p.accelerator for p in due)
        busy = {kind: min(workers[kind], n) for kind, n in by_kind.items()}
        groups = {p.place.group: p for p in due}.values()
        sizes = [weights(p.config) for p in groups if "hidden_size" in p.config["model"]] or [0]
        size = f"{min(sizes):,.0f}" + (f" to {max(sizes):,.0f}" if max(sizes) > min(sizes) else "")
        found = estimate(due, devices.probe)
        wall = found.wall(due, workers) + devices.probe.waited
        memory = found.shared_bytes + sum(busy.values()) * found.worker_bytes
        pool = ", ".join(f"{n} worker{'s' * (n > 1)} on {kind}" for kind, n in busy.items())
        console.print(f"  {'to train':24} {len(due):,}, longest first; {pool}", soft_wrap=True)
        if max(sizes):
            console.print(f"  {'recurrent weights':24} about {size}", soft_wrap=True)
        console.print(f"  {'time':24} about {clock(wall)} ({found.basis})", soft_wrap=True)
        console.print(f"  {'memory':24} about {memory / 1e9:.1f} GB ({found.memory_basis})", soft_wrap=True)
    console.print("Nothing was started (--dry-run).")


def _record_skipped(planned: Planned) -> None:
    run = planned.run
    if not run.folder.exists():
        where = planned.place
        config = planned.config
        with suppress(OSError, UserError):  # the report still names the run
            run.create(where.id, config["name"], config, planned.overrides, where.group, where.label)
            run.update(status="skipped", why=planned.why_skipped, ended=now())


def _train(
    done: Sweep,
    due: list[Planned],
    options: dict[str, Any],
    server: ForkServer,
    devices: Devices,
    command: list[str],
) -> None:
    mode = due[0].config["mode"]
    with LiveView(due, mode, console, done.plan.name) as view:
        for planned in done.plan.runs:
            view.compare(planned, done.record(planned))
        if options["pool"] == "slurm":
            cluster = SlurmSweep(
                due, options, view, command, lambda line: console.print(line, soft_wrap=True)
            )
            outcomes, stopping = cluster.run(), cluster.stopping
        else:
            with workers_of(options, server, devices, due) as (pool, sizes):
                scheduler = Scheduler(pool, sizes, view, command)
                outcomes, stopping = (
                    scheduler.run(due, restart=options["stale"] == "rerun"),
                    scheduler.stopping,
                )
    for i, outcome in outcomes.items():
        done.records[due[i].place.folder] = outcome.record
        done.outcomes.append((due[i], outcome))
    done.stopped = stopping


def _search(
    space: Space,
    planner: Planner,
    plan: Plan,
    options: dict[str, Any],
    server: ForkServer,
    devices: Devices,
    command: list[str],
    began: float,
    unusable: Callable[[RunConfig, bool], Iterable[str]],
) -> Sweep:
    """Chooses trials and trains them. `plan` is the plan of the space's `corners`, already checked. A trial whose runs
    would be refused is not trained.
    """
    from rnnlab.sweeps.samplers import require_optuna
    from rnnlab.sweeps.search import Search, describe, summary
    from rnnlab.sweeps.study import refuse_objectives, refuse_units

    require_optuna(options)
    again = {"sweep.stale=rerun": options["stale"] == "rerun", "rerun=true": plan.runs[0].config["rerun"]}
    for asked in (text for text, is_so in again.items() if is_so):
        raise UserError(
            f"{asked}: a search trains no finished run again; sweep.search=grid does, with the keys it is given"
        )
    refuse_objectives(options["objectives"], plan.runs[0].config["monitor"], plan.measured)
    refuse_units(plan.runs, options)
    if options["pool"] == "slurm":
        require_slurm()
        workers_per_job(options, plan.runs)

    # corners do not show combinations of values that a run refuses; numbers of intervals are not checked again
    countable = {d.key for d in space.dimensions if d.choices or d.whole}
    refused: dict[tuple[str, ...], list[str]] = {}
    asking = 0.0  # seconds spent on checks so far

    def plan_point(point: Point) -> Planned | list[str]:
        nonlocal asking
        found = planner.plan(Listed([point]), options["exclude"])
        values = tuple(a.text for a in point if a.key in countable)
        if found.runs and values not in refused and asking < BUDGET:
            begin = time.perf_counter()
            found.check_runs(found.runs, devices.probe.answers, unusable)
            refused[values] = [line for _, lines in found.invalid for line in lines]
            asking += time.perf_counter() - begin
        if refused.get(values):
            return refused[values]
        if found.runs and not found.runs[0].why_skipped:
            return found.runs[0]
        why = [line for _, lines in found.invalid for line in lines] + [r.why_skipped for r in found.runs]
        return why or ["sweep.exclude leaves it out"]

    corners = plan.runs
    search = Search(space, plan_point, options, corners[0])
    done = Sweep(Plan(list(search.study.earlier), swept=space.swept))
    done.records = {p.place.folder: p.run.known for p in search.study.earlier}
    for line in describe(search, time.perf_counter() - began):
        console.print(line, soft_wrap=True)
    if options["dry_run"]:
        console.print("Nothing was started (--dry-run).")
        return done
    refuse_unwritable(corners[0].place.folder.parent)
    seeds = max(1, len(space.seeds))
    with LiveView([], corners[0].config["mode"], console, done.plan.name, search.left * seeds) as view:
        for planned in search.study.earlier:
            view.compare(planned, done.record(planned))
        with workers_of(options, server, devices, corners) as (pool, sizes):
            scheduler = Scheduler(pool, sizes, view, command, search)
            outcomes = scheduler.run()
    found = [*search.study.earlier, *(planned for trial in search.trials for planned in trial.runs)]
    done.plan.runs = list({planned.place.folder: planned for planned in found}.values())
    done.records |= {p.place.folder: p.run.known for p in done.plan.runs}
    last = {id(scheduler.due[i]): (scheduler.due[i], outcome) for i, outcome in outcomes.items()}
    done.outcomes = list(last.values())  # a run that went on after a rung has several
    done.stopped = scheduler.stopping
    done.trials_left = search.left + sum(not trial.state for trial in search.trials)
    if not done.stopped:
        search.study.close()
    console.print()
    for line in summary(search):
        console.print(line, soft_wrap=True)
    if front := pareto_front(
        read_journal(search.study.journal, search.study.id).trials, search.config["mode"]
    ):
        console.print()
        console.print(pareto_table(front))
    return done


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
    for entry in unscored[:SHOWN_VALUES]:
        console.print(f"no score  {entry.folder.name}: {why_no_score(entry)}", soft_wrap=True)
    if len(unscored) > SHOWN_VALUES:
        console.print(f"... and {len(unscored) - SHOWN_VALUES:,} more without a score")
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
    console.print(f"{counted(trained, 'run')} trained in {took:.1f} s", soft_wrap=True)
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
