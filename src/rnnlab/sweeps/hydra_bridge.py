"""Connects Hydra with sweeps: takes Hydra's config and config loader, and returns Hydra's JobReturns."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from omegaconf import DictConfig, OmegaConf

from rnnlab.config import base_config, check
from rnnlab.config.hydra_config import NO_SCORE, opposed
from rnnlab.config.hydra_keys import of_jobs, unused_in_files
from rnnlab.config.run_config import RunConfig, SweepConfig
from rnnlab.errors import RunFailed, UserError, warn
from rnnlab.runs.record import ENDED
from rnnlab.sweeps.grid import Grid, Listed, grid, listed
from rnnlab.sweeps.plan import Plan, Planned
from rnnlab.sweeps.planner import Planner
from rnnlab.sweeps.probe import import_errors
from rnnlab.sweeps.rehearsal import answers
from rnnlab.sweeps.results import Sweep, raise_failures
from rnnlab.sweeps.space import Space, space
from rnnlab.sweeps.sweep import sweep
from rnnlab.training.accelerator import take

KINDS = ("gpu", "mps", "cpu")  # the accelerators that `trainer.accelerator=auto` may choose, best first
# keys of sweep. that have no effect in a grid
OF_SEARCHES = {
    "trials",
    "minutes",
    "prune",
    "reduction",
    "min_steps",
    "search_order",
    "search_batch",
    "search_seed",
}
# keys that have no effect where another launcher than rnnlab's trains the runs
OF_WORKERS = {"pool", "workers", "workers_per_gpu", "renew_mb", "max_failures", "pictures", "slurm", "ray"}


class Context(Protocol):
    """What is used of Hydra's HydraContext, and of its class Hydra."""

    config_loader: ConfigLoader


class Multirun:
    """A multirun of `rnnlab train`. `config` is Hydra's own, with its `hydra` node."""

    def __init__(self, config: DictConfig, context: Context) -> None:
        self.config, self.loader = config, context.config_loader
        setup_globals()
        if lines := unused_in_files(config.hydra):
            raise UserError(*lines)
        sources = config.hydra.runtime.config_sources
        self.config_dir: str | None = next(
            (s.path for s in sources if s.provider == "command-line" and s.schema == "file"), None
        )
        self.options = self._options()

    def _options(self) -> SweepConfig:
        """The checked `sweep` section. It is checked within the default config: the command's own may be incomplete
        before its swept keys are set.
        """
        section = OmegaConf.to_container(self.config.sweep, resolve=True)
        plain: Any = OmegaConf.to_container(base_config(), resolve=False)
        return check(OmegaConf.create(plain | {"sweep": section}))["sweep"]

    def is_group(self, key: str) -> bool:
        return bool(self.loader.get_group_options(key))

    def compose(self, overrides: list[str]) -> DictConfig:
        return self.loader.load_sweep_config(self.config, overrides)

    def base(self, chosen: list[str]) -> DictConfig:
        paths = [o for o in self.config.hydra.overrides.hydra if re.match(r"\+{0,2}hydra\.searchpath=", o)]
        return base_config([*paths, *chosen], self.config_dir, choices=True)

    def points(self, arguments: Sequence[str]) -> Grid | Space:
        """The points of a grid, or the space of a search."""
        if self.options["search"] == "grid":
            return self.grid(arguments)
        self._refuse_idle(arguments)
        return space(arguments, self.is_group, self.loader, zipped=bool(self.options["zip"]))

    def grid(self, arguments: Sequence[str]) -> Grid:
        """Raises UserError for what only a search can do: a grid would ignore it."""
        self._refuse_idle(arguments)
        options = self.options
        if named := options["objectives"]:
            raise UserError(f"sweep.objectives=[{','.join(named)}]: a grid trains all of its points and looks for "
                            "none; add sweep.search=nsga2, tpe, gp or random")  # fmt: skip
        return grid(arguments, self.is_group, zipped=options["zip"], intervals=options["intervals"],
                    config_loader=self.loader)  # fmt: skip

    def _refuse_idle(self, arguments: Sequence[str]) -> None:
        """Raises UserError for keys of the command that have no effect in this sweep. Those of files may be meant for
        others.
        """
        defaults, lines = base_config().sweep, []
        typed, asked_for = self._typed(arguments), dict(self.options)
        for key, word in typed.items() if self.options["search"] == "grid" else ():
            if key in OF_SEARCHES and asked_for[key] != defaults[key]:
                lines.append(f"{word}: is for a search, and a grid trains all of its points; "
                             "add sweep.search=tpe, random, gp, cmaes or nsga2")  # fmt: skip
        if "slurm.detach" in typed and self.options["slurm"]["detach"] is True:
            asked = f"{typed['slurm.detach']} (--detach)"
            if self.options["pool"] != "slurm":
                lines.append(f"{asked}: only jobs of Slurm go on without the command; add sweep=slurm")
            elif self.options["search"] != "grid":
                lines.append(f"{asked}: the command chooses a search's trials, and must go on")
        if lines:
            raise UserError(*lines)

    def refuse_of_workers(self, arguments: Sequence[str]) -> None:
        """Raises UserError for keys of the command that are for rnnlab's own workers, where others train."""
        launcher, lines = self.config.hydra.runtime.choices["hydra/launcher"], []
        for key, word in self._typed(arguments).items():
            asked, default = (
                OmegaConf.select(node, key) for node in (self.config.sweep, base_config().sweep)
            )
            if key.partition(".")[0] in OF_WORKERS and asked != default:
                lines.append(f"{word}: is for rnnlab's own workers, and hydra/launcher={launcher} trains the runs; "
                             "leave out one of the two")  # fmt: skip
        if lines:
            raise UserError(*lines)

    def _typed(self, arguments: Sequence[str]) -> dict[str, str]:
        """{key in `sweep`: word} of the command's words; the group, as in sweep=slurm, chooses the pool."""
        keys = [(word.lstrip("+").partition("=")[0], word) for word in arguments]
        named = [(key, word) for key, word in keys if key.split(".")[0] == "sweep"]
        return {"pool" if key == "sweep" else key.removeprefix("sweep."): word for key, word in named}

    def sweep(self, points: Grid | Listed | Space, last: bool = True) -> Sweep:
        unusable = (lambda config, scored: ()) if last else self.unusable
        return sweep(points, self.options, self.compose, self.base, config_dir=self.config_dir, last=last,
                     unusable=unusable)  # fmt: skip

    def unusable(self, config: RunConfig, scored: bool) -> Iterator[str]:
        """Reasons why the sweeper that chooses the points cannot use a run's score: there is none, or the sweeper
        optimises in the wrong direction.
        """
        sweeper = self.config.hydra.sweeper
        yield from opposed(sweeper, config["mode"], config["monitor"])
        if not scored and not str(sweeper["_target_"]).endswith(".BasicSweeper"):
            yield f"hydra/sweeper={self.config.hydra.runtime.choices['hydra/sweeper']}: {NO_SCORE}"


def run_grid(config: DictConfig, context: Context, arguments: list[str]) -> list[list[JobReturn]]:
    """Trains a grid: `rnnlab train --multirun`. Raises as `rnnlab.sweeps.sweep.sweep` and `raise_failures`."""
    multirun = Multirun(config, context)
    lines = [*of_jobs(config.hydra)]
    if (size := config.hydra.sweeper.get("max_batch_size")) is not None and not multirun.options["dry_run"]:
        lines.append(f"hydra.sweeper.max_batch_size={size}: rnnlab's workers take runs one by one, from one queue; "
                     "sweep.workers says how many at once")  # fmt: skip
    if lines:
        raise UserError(*lines)
    done = multirun.sweep(multirun.points(arguments))
    raise_failures(done)
    return [job_returns(done)]


def run_jobs(config: DictConfig, context: Context, jobs: Sequence[Sequence[str]]) -> list[JobReturn]:
    """Trains the points that another sweeper chose. It does not raise if a run fails, or if a point is left out: that
    sweeper decides.
    """
    multirun = Multirun(config, context)
    if lines := [*of_jobs(config.hydra)]:
        raise UserError(*lines)
    points = listed(jobs, multirun.is_group)
    done = multirun.sweep(points, last=False)
    by_overrides = {tuple(r.overrides or ()): r for r in job_returns(done)}
    by_id = {p.place.id: tuple(p.overrides) for p in done.plan.runs}
    found = []
    for point in points:
        texts = tuple(a.text for a in point)
        same = by_id.get(done.plan.same.get(texts, ""), texts)  # another point may be the same run
        found.append(by_overrides.get(same) or _left_out(done.plan, texts))
    return found


def _left_out(plan: Plan, texts: tuple[str, ...]) -> JobReturn:
    """The result of a point that gives no run."""
    invalid = {tuple(a.text for a in point): lines for point, lines in plan.invalid}
    otherwise = (
        "another point is the same run, and invalid" if texts in plan.same else "sweep.exclude leaves it out"
    )
    why = invalid.get(texts, [otherwise])
    failed = RunFailed(f"{' '.join(texts)}: {why[0]}", *why[1:])
    return JobReturn(overrides=list(texts), task_name="rnnlab", status=JobStatus.FAILED, _return_value=failed)


def job_batches(
    config: DictConfig, context: Context, arguments: list[str], size: int | None
) -> list[list[list[str]]]:
    """The overrides of all valid points, in batches of `size`, for one of Hydra's own launchers."""
    multirun = Multirun(config, context)
    if multirun.options["search"] != "grid":
        raise UserError(f"sweep.search={multirun.options['search']}: a search trains in rnnlab's own workers; "
                        "leave out hydra/launcher")  # fmt: skip
    multirun.refuse_of_workers(arguments)
    choose = _kind_here if _trains_here(config) else _kind_there("auto")
    planner = Planner(multirun.compose, multirun.base, choose, multirun.config_dir)
    plan = planner.plan(multirun.grid(arguments), multirun.options["exclude"])
    plan.check_classes(import_errors)
    plan.read_statuses()
    plan.check_runs(plan.due(multirun.options["stale"] == "rerun"), answers)
    for line in plan.report_invalid(multirun.options["on_invalid"]):
        warn(line)
    for note in plan.notes:
        warn(note)
    jobs = [planned.overrides for planned in plan.runs]
    size = size or max(1, len(jobs))
    return [jobs[i : i + size] for i in range(0, len(jobs), size)]


def over_already(
    config: DictConfig, context: Context, jobs: Sequence[Sequence[str]]
) -> tuple[list[list[Planned]], dict[tuple[str, ...], JobReturn]]:
    """For each job of another launcher the runs that it may be, and {overrides: result} of the jobs that have ended.

    A job may be one of several runs, because the accelerator that `trainer.accelerator=auto` chooses on another machine
    is not known here.
    """
    multirun = Multirun(config, context)
    points = listed(jobs, multirun.is_group)
    rerun = multirun.options["stale"] == "rerun"
    maybe: dict[tuple[str, ...], dict[Path, Planned]] = {tuple(job): {} for job in jobs}
    over: dict[tuple[str, ...], JobReturn] = {}
    for choose in [_kind_here] if _trains_here(config) else [_kind_there(kind) for kind in KINDS]:
        plan = Planner(multirun.compose, multirun.base, choose, multirun.config_dir).plan(points)
        plan.read_statuses()
        done = Sweep(plan, {p.place.folder: p.run.known for p in plan.runs})
        by_id, by_texts = {p.place.id: p for p in plan.runs}, {tuple(p.overrides): p for p in plan.runs}
        for point, job in zip(points, map(tuple, jobs), strict=True):
            texts = tuple(a.text for a in point)
            if (planned := by_texts.get(texts) or by_id.get(plan.same.get(texts, ""))) is None:
                continue
            maybe[job].setdefault(planned.place.folder, planned)
            if planned.status in ENDED and not planned.again and not (planned.stale and rerun):
                over.setdefault(job, _job_return(done, planned))
        if all(planned.template.values["trainer"]["accelerator"] != "auto" for planned in plan.runs):
            break
    return [list(runs.values()) for runs in maybe.values() if runs], over


def _trains_here(config: DictConfig) -> bool:
    """Whether Hydra's launcher trains on this machine."""
    return str(config.hydra.launcher._target_).rpartition(".")[2] in ("BasicLauncher", "JoblibLauncher")


def _kind_there(kind: str) -> Callable[[str], str]:
    """A function: the accelerator that a job takes on another machine, if `auto` chooses `kind` there."""
    return lambda asked: kind if asked == "auto" else "gpu" if asked == "cuda" else asked


def _kind_here(asked: str) -> str:
    """The accelerator that a job would take on this machine; `asked` itself where this machine does not have it."""
    try:
        return take(asked)[0]
    except UserError:
        return asked


def job_returns(done: Sweep) -> list[JobReturn]:
    return [_job_return(done, planned) for planned in done.plan.runs]


def _job_return(done: Sweep, planned: Planned) -> JobReturn:
    record = done.record(planned)
    finished = record.get("status") in ENDED
    why = record.get("why") or planned.why_skipped or "it was not started"
    return JobReturn(
        overrides=planned.overrides,
        working_dir=str(planned.place.folder),
        task_name="rnnlab",
        status=JobStatus.COMPLETED if finished else JobStatus.FAILED,
        _return_value=done.objective(planned)
        if finished
        else RunFailed(f"{planned.place.folder.name}: {why}"),
    )
