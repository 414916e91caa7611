"""Runs a search: plans and trains its trials, and shows the best."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from rnnlab.config.hydra_config import NO_SCORE
from rnnlab.errors import UserError, counted
from rnnlab.report.search import pareto_table
from rnnlab.runs.disk import refuse_unwritable
from rnnlab.runs.lock import Locked, lock
from rnnlab.runs.trials import JOURNAL, pareto_front, read_journal
from rnnlab.sweeps.chosen_pool import open_pool
from rnnlab.sweeps.grid import Listed, Point
from rnnlab.sweeps.live import LiveView
from rnnlab.sweeps.plan import Plan, Planned
from rnnlab.sweeps.rehearsal import BUDGET
from rnnlab.sweeps.results import Sweep, console
from rnnlab.sweeps.samplers import require_optuna
from rnnlab.sweeps.scheduler import Scheduler
from rnnlab.sweeps.search import Search, describe, summary
from rnnlab.sweeps.session import Session
from rnnlab.sweeps.slurm import require_slurm, workers_per_job
from rnnlab.sweeps.space import Space
from rnnlab.sweeps.study import refuse_objectives, refuse_units


def search(session: Session, space: Space) -> Sweep:
    """Chooses trials and trains them. A trial whose runs would be refused is not trained.

    Raises UserError where the space has invalid points, or where another command goes on with the same search.
    """
    options = session.options
    if options["search"] != "random" or options["prune"] != "none":
        needs_score = f"sweep.search={options['search']} sweep.prune={options['prune']}: {NO_SCORE}"
        session = replace(session, unusable=lambda config, scored: () if scored else (needs_score,))
    plan = session.plan(Listed(space.covering_points()))
    with alone(plan.runs[0].place.folder.parent, space, options["dry_run"]):
        _refuse(session, plan)
        source = Search(space, PlanTrial(session, space), options, plan.runs[0])
        done = Sweep(Plan(list(source.study.earlier), swept=space.swept))
        done.records = {p.place.folder: p.run.known for p in source.study.earlier}
        for line in describe(source, time.perf_counter() - session.began):
            console.print(line, soft_wrap=True)
        if options["dry_run"]:
            console.print("Nothing was started (--dry-run).")
            return done
        _train(session, source, plan, done)
        _show(source)
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


def _refuse(session: Session, plan: Plan) -> None:
    """Raises UserError for what a search cannot do."""
    options, example = session.options, plan.runs[0]
    require_optuna(options)
    again = {"sweep.stale=rerun": session.reruns_stale, "rerun=true": example.config["rerun"]}
    for asked in (text for text, is_so in again.items() if is_so):
        raise UserError(
            f"{asked}: a search trains no finished run again; sweep.search=grid does, with the keys it is given"
        )
    refuse_objectives(options["objectives"], example.config["monitor"], plan.measured)
    refuse_units(plan.runs, options)
    if options["pool"] == "slurm":
        require_slurm()
        workers_per_job(options, plan.runs)


class PlanTrial:
    """Plans the points of trials. It checks each new combination of choices and whole numbers: a run may refuse one,
    though the points that cover the space are valid. Real numbers are not checked again.
    """

    def __init__(self, session: Session, space: Space) -> None:
        self.session = session
        self.countable = {d.key for d in space.dimensions if d.choices or d.whole}
        self.refused: dict[tuple[str, ...], list[str]] = {}  # {values of these keys: why a run refuses them}
        self.asking = 0.0  # seconds spent on checks so far

    def __call__(self, point: Point) -> Planned | list[str]:
        """The run of a point, or lines that say why it has none."""
        found = self.session.planner.plan(Listed([point]), self.session.options["exclude"])
        values = tuple(a.text for a in point if a.key in self.countable)
        if found.runs and values not in self.refused and self.asking < BUDGET:
            self._check(found, values)
        if self.refused.get(values):
            return self.refused[values]
        if found.runs and not found.runs[0].why_skipped:
            return found.runs[0]
        why = [line for _, lines in found.invalid for line in lines] + [r.why_skipped for r in found.runs]
        return why or ["sweep.exclude leaves it out"]

    def _check(self, found: Plan, values: tuple[str, ...]) -> None:
        begin = time.perf_counter()
        found.check_runs(found.runs, self.session.devices.probe.answers, self.session.unusable)
        self.refused[values] = [line for _, lines in found.invalid for line in lines]
        self.asking += time.perf_counter() - begin


def _train(session: Session, search: Search, plan: Plan, done: Sweep) -> None:
    """Trains the trials, and adds their runs to `done`."""
    example, study = plan.runs[0], search.study
    refuse_unwritable(example.place.folder.parent)
    expected = search.left * max(1, len(search.space.seeds))
    with LiveView([], example.config["mode"], console, done.plan.name, expected) as view:
        for planned in study.earlier:
            view.compare(planned, done.record(planned))
        with open_pool(session, plan.runs) as (pool, sizes):
            scheduler = Scheduler(pool, sizes, view, session.command, search)
            outcomes = scheduler.run()
    found = [*study.earlier, *(planned for trial in search.trials for planned in trial.runs)]
    done.plan.runs = list({planned.place.folder: planned for planned in found}.values())
    done.records |= {p.place.folder: p.run.known for p in done.plan.runs}
    last = {id(scheduler.due[i]): (scheduler.due[i], outcome) for i, outcome in outcomes.items()}
    done.outcomes = list(last.values())  # a run that went on after a rung has several
    done.stopped = scheduler.stopping
    done.left = counted(search.left + sum(not trial.state for trial in search.trials), "trial")
    if not done.stopped:
        study.close()


def _show(search: Search) -> None:
    """Prints the summary, and with several objectives the Pareto front."""
    console.print()
    for line in summary(search):
        console.print(line, soft_wrap=True)
    trials = read_journal(search.study.journal, search.study.id).trials
    if front := pareto_front(trials, search.config["mode"]):
        console.print()
        console.print(pareto_table(front))
