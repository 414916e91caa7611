"""Runs a sweep: plans the points, trains the runs, and shows the leaderboard."""

import time
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from functools import partial

from rnnlab.config.run_config import SweepConfig
from rnnlab.errors import UserError, counted
from rnnlab.runs.config_diff import missing_callbacks
from rnnlab.runs.disk import refuse_unwritable
from rnnlab.runs.record import EARLY, ENDED
from rnnlab.runs.run import now
from rnnlab.sweeps.chosen_pool import cluster_devices, open_pool
from rnnlab.sweeps.devices import Devices
from rnnlab.sweeps.dry_run import show_dry_run
from rnnlab.sweeps.forkserver import acquire, release
from rnnlab.sweeps.grid import Grid, Listed
from rnnlab.sweeps.job import Outcome
from rnnlab.sweeps.live import LiveView
from rnnlab.sweeps.plan import Plan, Planned
from rnnlab.sweeps.planner import Compose, Planner
from rnnlab.sweeps.probe import Probe
from rnnlab.sweeps.results import Sweep, console, raise_interruption, report
from rnnlab.sweeps.scheduler import Scheduler
from rnnlab.sweeps.session import Session, Unusable
from rnnlab.sweeps.slurm import DETACHED, OVER, SlurmSweep, require_slurm, workers_per_job
from rnnlab.sweeps.space import Space

SHOWN_NOTES = 8  # the most warnings that are shown
SHOWN_VALUES = 4  # the most values without an effect that are named


def sweep(
    points: Grid | Listed | Space,
    options: SweepConfig,
    compose: Compose,
    base: Compose,
    *,
    config_dir: str | None = None,
    command: Sequence[str] = ("rnnlab train",),
    last: bool = True,
    unusable: Unusable = lambda config, scored: (),
) -> Sweep:
    """Plans, checks, trains and reports. `options` is the `sweep` section of the config; a Space starts a search.

    Unless this is the `last` sweep of the process, the fork server is kept and no leaderboard is shown, because another
    sweeper may choose more points. `unusable` gives reasons why that sweeper cannot use a run (`Plan.check_runs`).

    Raises UserError, before anything is trained, if points are invalid (and sweep.on_invalid is not "skip"), and
    SystemExit after it has reported an interruption: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP.
    """
    began = time.perf_counter()
    server = acquire()
    with ExitStack() as ends:
        ends.callback(server.close if last else partial(release, server))
        probe = ends.enter_context(closing(Probe(server)))
        devices = Devices(probe, cluster_devices(options))
        planner = Planner(compose, base, devices.choose, config_dir)
        session = Session(options, server, devices, planner, list(command), began, unusable, ends)
        if isinstance(points, Space):
            from rnnlab.sweeps.searching import search

            done = search(session, points)
        else:
            plan = session.plan(points)
            due = plan.due(session.reruns_stale)
            _announce(session, plan, due)
            if options["dry_run"]:
                show_dry_run(session, plan, due)
                return Sweep(plan, plan.records)
            done = _train(session, plan, due)
            if done.stopped == DETACHED:
                return done
    report(done, began, last)
    raise_interruption(done)
    return done


def _announce(session: Session, plan: Plan, due: list[Planned]) -> None:
    """Prints the headlines. Raises UserError where the runs that are due could not be trained or written."""
    if session.options["pool"] == "slurm":
        require_slurm()
        workers_per_job(session.options, due)
    took = time.perf_counter() - session.began - session.devices.probe.waited
    for line in _headlines(plan, took, session.reruns_stale):
        console.print(line, soft_wrap=True)
    for folder in sorted({planned.place.folder.parent for planned in due}):
        refuse_unwritable(folder)


def _train(session: Session, plan: Plan, due: list[Planned]) -> Sweep:
    session.devices.probe.close()
    for planned in plan.runs:
        if planned.why_skipped:
            _record_skipped(planned)
    done = Sweep(plan, plan.records)
    if due:
        outcomes, done.stopped = _outcomes(session, done, due)
        for i, outcome in outcomes.items():
            done.records[due[i].place.folder] = outcome.record
            done.outcomes.append((due[i], outcome))
    done.left = counted(len(due) - sum(map(done.count, OVER)), "run")
    return done


def _outcomes(session: Session, done: Sweep, due: list[Planned]) -> tuple[dict[int, Outcome], str]:
    """{index in `due`: outcome} of the runs that were trained, and why not all of them were."""
    options, command = session.options, session.command
    with LiveView(due, due[0].config["mode"], console, done.plan.name) as view:
        for planned in done.plan.runs:
            view.compare(planned, done.record(planned))
        if options["pool"] == "slurm":
            cluster = SlurmSweep(due, options, view, command, partial(console.print, soft_wrap=True))
            return cluster.run(), cluster.stopping
        with open_pool(session, due) as (pool, sizes):
            scheduler = Scheduler(pool, sizes, view, command)
            return scheduler.run(due, restart=session.reruns_stale), scheduler.stopping


def _headlines(plan: Plan, took: float, reruns_stale: bool) -> list[str]:
    counts = plan.counts()
    stale, again = sum(bool(r.stale) for r in plan.runs), sum(r.again for r in plan.runs)
    skipped = sum(bool(r.why_skipped) for r in plan.runs)
    anew = sum(bool(r.stale) and not r.again for r in plan.runs) if reruns_stale else 0
    kept = sum(counts[status] for status in ENDED) - again - anew
    words = [counted(len(plan.runs), "run")]
    words += [f"{kept:,} finished already"] if kept else []
    words += [f"{counts[EARLY]:,} of them {EARLY}"] if counts[EARLY] else []
    words += [f"{again:,} finished and trained again (rerun=true)"] if again else []
    words += [f"{anew:,} finished, stale and trained again (sweep.stale=rerun)"] if anew else []
    words += [f"{counts['failed']:,} failed before, tried again"] if counts["failed"] else []
    half = counts["stopped"] + counts["running"] + counts["pruned"]
    words += [f"{half:,} resumed"] if half else []
    words += [f"{skipped:,} skipped: no such device"] if skipped else []
    words += [f"{plan.excluded:,} excluded"] if plan.excluded else []
    words += [counted(plan.repeated, "duplicate")] if plan.repeated else []
    lines = [f"{', '.join(words)}; planned in {took:.2f} s"]
    if ineffective := plan.ineffective():
        more = f" and {len(ineffective) - SHOWN_VALUES:,} more" if len(ineffective) > SHOWN_VALUES else ""
        of = (
            "no run of its own: its runs equal those"
            if len(ineffective) == 1
            else "no runs of their own: they equal those"
        )
        lines.append(f"{', '.join(ineffective[:SHOWN_VALUES])}{more}: {of} of other values, or the experiment sets the "
                     "same keys")  # fmt: skip
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
        lines.append(f"{what} ({', '.join(why)}){'' if reruns_stale else '; sweep.stale=rerun trains again'}")
    return lines


def _missing_callbacks(plan: Plan) -> list[str]:
    """The callbacks of the config that the first finished run did not have. One run is enough: all have the same."""
    first = next((r for r in plan.runs if r.status in ENDED and not r.again), None)
    return missing_callbacks(first.run, first.config) if first is not None else []


def _record_skipped(planned: Planned) -> None:
    run = planned.run
    if not run.folder.exists():
        where = planned.place
        config = planned.config
        with suppress(OSError, UserError):  # the report still names the run
            run.create(where.id, config["name"], config, planned.overrides, where.group, where.label)
            run.update(status="skipped", why=planned.why_skipped, ended=now())
