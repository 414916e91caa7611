"""Between Hydra and a sweep: Hydra's composed config and loader in, Hydra's job returns out."""

import re
from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, setup_globals
from omegaconf import DictConfig, OmegaConf

from rnnlab.config import base_config, check
from rnnlab.errors import RunFailed
from rnnlab.sweeps.grid import Grid, Listed, grid, listed
from rnnlab.sweeps.plan import Plan, Planned, Planner
from rnnlab.sweeps.preflight import preflight
from rnnlab.sweeps.sweep import Sweep, conclude, sweep


class Asked:
    """What a multirun of `rnnlab train` was asked for: `config` is Hydra's own, with its `hydra` node."""

    def __init__(self, config: DictConfig, context: Any) -> None:
        self.config, self.loader = config, context.config_loader
        setup_globals()
        sources = config.hydra.runtime.config_sources
        self.config_dir: str | None = next(
            (s.path for s in sources if s.provider == "command-line" and s.schema == "file"), None
        )
        self.options = self._options()

    def _options(self) -> dict[str, Any]:
        """The `sweep` section, checked: with a config around it that is right, for that one may be swept."""
        section = OmegaConf.to_container(self.config.sweep, resolve=True)
        plain: Any = OmegaConf.to_container(base_config(), resolve=False)
        return check(OmegaConf.create(plain | {"sweep": section}))["sweep"]

    def is_group(self, key: str) -> bool:
        return bool(self.loader.get_group_options(key))

    def compose(self, overrides: list[str]) -> DictConfig:
        return self.loader.load_sweep_config(self.config, overrides)

    def base(self, chosen: list[str]) -> DictConfig:
        paths = [o for o in self.config.hydra.overrides.hydra if re.match(r"\+{0,2}hydra\.searchpath=", o)]
        return base_config([*paths, *chosen], self.config_dir)

    def grid(self, arguments: Sequence[str]) -> Grid:
        options = self.options
        return grid(arguments, self.is_group, zipped=options["zip"], intervals=options["intervals"],
                    config_loader=self.loader)  # fmt: skip

    def sweep(self, points: Grid | Listed, last: bool = True) -> Sweep:
        return sweep(points, self.options, self.compose, self.base, config_dir=self.config_dir, last=last)


def sweep_all(config: DictConfig, context: Any, arguments: list[str]) -> list[list[JobReturn]]:
    """What `rnnlab train --multirun` does. Raises as `rnnlab.sweeps.sweep.sweep` and `conclude`."""
    asked = Asked(config, context)
    done = asked.sweep(asked.grid(arguments))
    conclude(done)
    return [returns(done)]


def launch(config: DictConfig, context: Any, jobs: Sequence[Sequence[str]]) -> list[JobReturn]:
    """The same for points that another sweeper chose; a failure is that sweeper's to judge."""
    asked = Asked(config, context)
    points = listed(jobs, asked.is_group)
    done = asked.sweep(points, last=False)
    by_overrides = {tuple(r.overrides or ()): r for r in returns(done)}
    by_id = {p.place.id: tuple(p.overrides) for p in done.plan.runs}
    found = []
    for point in points:
        texts = tuple(a.text for a in point)
        if texts not in by_overrides:  # the same run as another point
            texts = by_id[done.plan.same[texts]]
        found.append(by_overrides[texts])
    return found


def batches(
    config: DictConfig, context: Any, arguments: list[str], size: int | None
) -> list[list[list[str]]]:
    """The overrides of each job, for a stock launcher: those of all valid points, in batches of `size`."""
    asked = Asked(config, context)
    planner = Planner(asked.compose, asked.base, lambda accelerator: accelerator, asked.config_dir)
    plan: Plan = planner.plan(asked.grid(arguments), asked.options["exclude"])
    preflight(plan, asked.options["on_invalid"])
    jobs = [planned.overrides for planned in plan.runs]
    size = size or max(1, len(jobs))
    return [jobs[i : i + size] for i in range(0, len(jobs), size)]


def returns(done: Sweep) -> list[JobReturn]:
    return [_return(done, planned) for planned in done.plan.runs]


def _return(done: Sweep, planned: Planned) -> JobReturn:
    record = done.record(planned)
    finished = record.get("status") == "finished"
    why = record.get("why") or planned.why_skipped or "it was not begun"
    return JobReturn(
        overrides=planned.overrides,
        working_dir=str(planned.place.folder),
        task_name="rnnlab",
        status=JobStatus.COMPLETED if finished else JobStatus.FAILED,
        _return_value=done.objective(planned)
        if finished
        else RunFailed(f"{planned.place.folder.name}: {why}"),
    )
