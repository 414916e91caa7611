"""A sweep from its points to its leaderboard."""

import itertools
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from rnnlab.errors import RunFailed, UserError
from rnnlab.ledger.run import now
from rnnlab.sweeps import cost
from rnnlab.sweeps.conduct import Conductor, Staff
from rnnlab.sweeps.grid import Grid, Listed, Point
from rnnlab.sweeps.leaderboard import Entry, leaderboard, table
from rnnlab.sweeps.live import Watch, clock
from rnnlab.sweeps.nursery import Nursery
from rnnlab.sweeps.plan import Compose, Plan, Planned, Planner, look_up
from rnnlab.sweeps.worker import Outcome

GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # without any of them there is no GPU on Linux
LISTED = 30  # bad points that are shown one by one
console = Console(highlight=False, width=None if sys.stdout.isatty() else int(os.environ.get("COLUMNS", 120)))


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


_early: Nursery | None = None


def start_early() -> None:
    """Lets the workers' imports begin while the command line is still being read."""
    global _early
    _early = _early or Nursery()


def nursery() -> Nursery:
    global _early
    found, _early = _early or Nursery(), None
    return found


def sweep(
    points: Grid | Listed,
    options: dict[str, Any],
    compose: Compose,
    base: Compose,
    *,
    config_dir: str | None = None,
    command: Sequence[str] = ("rnnlab train",),
) -> Sweep:
    """Plans, checks, trains and shows. `options` is the `sweep` section of the config.

    Raises UserError, before anything is trained, where points are invalid (unless they are to be skipped), and
    KeyboardInterrupt or SystemExit(143) after an interruption.
    """
    began = time.perf_counter()
    home = None if options["dry_run"] else nursery()
    try:
        devices = Devices(home)
        plan = Planner(compose, base, devices.take, config_dir).plan(points, options["exclude"])
        look_up(plan)
        preflight(plan, options)
        done = Sweep(plan, {r.place.folder: r.run.record for r in plan.runs if r.status == "finished"})
        due = plan.due(rerun_stale=options["stale"] == "rerun")
        took = time.perf_counter() - began
        console.print(_headline(plan, due, took), soft_wrap=True)
        if options["dry_run"]:
            _show(plan, due, options, devices)
            return done
        for planned in plan.runs:
            if planned.why_skipped:
                _skip(planned)
        if due:
            assert home is not None
            _train(done, due, options, home, devices, list(command))
    finally:
        if home is not None:
            home.close()
    _report(done, began)
    if done.stopped in ("SIGINT", "SIGTERM"):
        left = len(due) - done.count("finished") - done.count("failed")
        console.print(
            f"\nStopped ({done.stopped}) with {left:,} runs to go; the same command goes on from there."
        )
        raise SystemExit(143) if done.stopped == "SIGTERM" else KeyboardInterrupt
    return done


class Devices:
    """The accelerators of this machine, asked of a worker only where it matters: it has torch, we have not."""

    def __init__(self, home: Nursery | None) -> None:
        self.home = home
        self.gpus = 0
        self._there: dict[str, str] | None = None

    def there(self) -> dict[str, str]:
        if self._there is None:
            if sys.platform == "linux" and not any(
                Path(p).exists() for p in ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
            ):
                self._there = {"cpu": f"{os.cpu_count()} cores"}
            elif self.home is None:
                from rnnlab.training.accelerator import present

                self._there = present()
            else:
                pid, connection = self.home.worker()
                connection.send("hello")
                self._there, self.gpus = connection.recv()
                connection.close()
                self.home.end_of(pid)
        return self._there

    def take(self, asked: str) -> str:
        there = self.there()
        if asked == "auto":
            return next(iter(there))
        if asked not in there:
            described = ", ".join(f"{name} ({what})" for name, what in there.items())
            raise UserError(f"trainer.accelerator={asked}: there is none on this machine; there: {described}")
        return asked


def preflight(plan: Plan, options: dict[str, Any]) -> None:
    """Says all that is wrong with points, each reason once with the points that it concerns."""
    if not plan.invalid and not plan.runs:
        raise UserError("the sweep has no points; sweep.exclude leaves none")
    if not plan.invalid:
        return
    lines, reasons = [], dict[str, list[Point]]()
    for point, problems in plan.invalid:
        for problem in problems:
            reasons.setdefault(problem, []).append(point)
    for reason, points in itertools.islice(reasons.items(), LISTED):
        lines.append(reason)
        texts = [" ".join(a.text for a in p if a.key in plan.swept) for p in points[:3]]
        where = "; ".join(t for t in texts if t)
        more = f"; and {len(points) - 3:,} more" if len(points) > 3 else ""
        lines += [f"    at {where}{more}"] if where else []
    lines += [f"and {len(reasons) - LISTED:,} other reasons"] if len(reasons) > LISTED else []
    in_all = len(plan.invalid) + len(plan.runs) + plan.excluded + plan.repeated
    if options["on_invalid"] == "skip" and plan.runs:
        head = f"{len(plan.invalid):,} of {in_all:,} points cannot be, and are left out:"
        console.print("\n".join([head, *(f"  {line}" for line in lines)]), soft_wrap=True, markup=False)
        return
    tail = "Nothing was started. sweep.on_invalid=skip goes on without them."
    raise UserError("\n".join([f"{len(plan.invalid):,} of {in_all:,} points cannot be:", *lines, tail]))


def _headline(plan: Plan, due: list[Planned], took: float) -> str:
    counts = plan.counts()
    stale = sum(bool(r.stale) for r in plan.runs)
    skipped = sum(bool(r.why_skipped) for r in plan.runs)
    words = [f"{len(plan.runs):,} runs"]
    words += [f"{counts['finished']:,} finished already"] if counts["finished"] else []
    words += [f"{counts['failed']:,} failed before, tried again"] if counts["failed"] else []
    half = counts["stopped"] + counts["running"]
    words += [f"{half:,} begun before, gone on with"] if half else []
    words += [f"{skipped:,} skipped for want of their device"] if skipped else []
    words += [f"{plan.excluded:,} excluded"] if plan.excluded else []
    words += [f"{plan.repeated:,} points are the same run as another"] if plan.repeated else []
    text = f"{', '.join(words)}; planned in {took:.2f} s"
    if stale:
        why = sorted({w for r in plan.runs for w in r.stale})
        text += f"\n{stale:,} finished runs are stale ({', '.join(why)}); sweep.stale=rerun trains them again"
    return text


def _skip(planned: Planned) -> None:
    run = planned.run
    if not run.folder.exists():
        where = planned.place
        config = planned.config()
        run.create(where.id, config["name"], config, planned.overrides, where.group, where.label)
        run.update(status="skipped", why=planned.why_skipped, ended=now())


def cores() -> int:
    """The cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def _staff(due: list[Planned], options: dict[str, Any], gpus: int) -> Staff:
    threads = max((p.config()["trainer"]["threads"] or 1 for p in due[:1]), default=1)
    on_cpu = options["workers"] or max(1, cores() // threads)
    on_gpu = max(1, gpus) * options["workers_per_gpu"]
    return Staff({"cpu": on_cpu, "gpu": on_gpu, "mps": options["workers_per_gpu"]}, gpus, options["renew_mb"] * 2**20,
                 options["max_failures"], options["pictures"])  # fmt: skip


def _train(
    done: Sweep,
    due: list[Planned],
    options: dict[str, Any],
    home: Nursery,
    devices: Devices,
    command: list[str],
) -> None:
    mode = due[0].config()["mode"]
    with Watch(due, mode, console) as watch:
        conductor = Conductor(home, _staff(due, options, devices.gpus), watch, command)
        outcomes = conductor.conduct(due, afresh=options["stale"] == "rerun")
    for number, outcome in outcomes.items():
        done.records[due[number].place.folder] = outcome.record
        done.outcomes.append((due[number], outcome))
    done.stopped = conductor.stopping


def _report(done: Sweep, began: float) -> None:
    """The leaderboard, and where to look further."""
    records = [Entry(r.place.folder, done.record(r)) for r in done.plan.runs if done.record(r)]
    planned_at = {r.place.folder: r for r in done.plan.runs}
    mode = done.plan.runs[0].config()["mode"]
    board = leaderboard(records, mode, lambda entry: planned_at[entry.folder].config())
    if board.rows:
        console.print()
        console.print(table(board, width=console.width))
    for planned in done.plan.runs:
        if planned.why_skipped:
            console.print(f"skipped  {planned.place.folder.name}: {planned.why_skipped}", soft_wrap=True)
    took = time.perf_counter() - began
    trained = sum(o.status == "finished" and o.trained for _, o in done.outcomes)
    console.print(f"\n{trained:,} runs trained in {took:.1f} s", soft_wrap=True)
    for folder in sorted({r.place.folder.parent for r in done.plan.runs}):
        console.print(f"report       rnnlab report {folder} --html report.html", soft_wrap=True)
        console.print(f"TensorBoard  tensorboard --logdir {folder}", soft_wrap=True)


def conclude(done: Sweep) -> None:
    """Raises what an exit code is made of: RunFailed if a run failed, KeyboardInterrupt, SystemExit(143)."""
    failures = [planned for planned, outcome in done.outcomes if outcome.status == "failed"]
    if failures:
        stopped = f", and the sweep stopped: {done.stopped}" if done.stopped else ""
        raise RunFailed(
            f"{len(failures):,} of {len(done.outcomes):,} runs failed{stopped}; each has a traceback.txt in its "
            f"folder, such as {failures[0].place.folder}"
        )


def _show(plan: Plan, due: list[Planned], options: dict[str, Any], devices: Devices) -> None:
    """--dry-run: what would be done."""
    for key in plan.swept:
        values = dict.fromkeys(a.text.partition("=")[2] for r in plan.runs for a in r.point if a.key == key)
        shown = ", ".join(itertools.islice(values, 8)) + (
            f", ... ({len(values):,})" if len(values) > 8 else ""
        )
        console.print(f"  {key:24} {shown}", soft_wrap=True, markup=False)
    if not due:
        return
    configs = {p.place.group: p.config() for p in due}
    sizes = [cost.parameters(c) for c in configs.values()]
    workers = min(_staff(due, options, devices.gpus).workers.get(due[0].accelerator, 1), len(due))
    seconds = sum(p.cost for p in due) / workers
    peak = workers * max(cost.memory(c) for c in configs.values())
    size = f"{min(sizes):,.0f}" + (f" to {max(sizes):,.0f}" if max(sizes) > min(sizes) else "")
    console.print(f"  {'to train':24} {len(due):,} runs in {workers} workers, longest first")
    console.print(f"  {'recurrent weights':24} about {size}")
    console.print(f"  {'time':24} about {clock(seconds + 3)} with the native engine")
    console.print(f"  {'memory':24} about {peak / 1e9:.1f} GB")
    console.print("Nothing was started (--dry-run).")
