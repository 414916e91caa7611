"""From points to planned runs: each with its place, its cost and what the ledger knows of it."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from rnnlab.config import deciding
from rnnlab.config.composing import COMPOSING
from rnnlab.errors import UserError
from rnnlab.runs.run import Run
from rnnlab.runs.run_path import Place, place
from rnnlab.runs.sources import why_stale
from rnnlab.sweeps import cost
from rnnlab.sweeps.exclusion import ABSENT, Exclusion
from rnnlab.sweeps.grid import Grid, Listed, Point
from rnnlab.sweeps.template import Template

Compose = Callable[[list[str]], DictConfig]


@dataclass(slots=True)
class Planned:
    """A point that is a run. `status` is the ledger's word, or "" where there is no such run yet."""

    point: Point
    template: Template = field(repr=False)
    place: Place
    accelerator: str
    cost: float  # seconds, about
    why_skipped: str = ""
    status: str = ""
    stale: list[str] = field(default_factory=list)
    again: bool = False  # although it is finished: rerun=true

    @property
    def run(self) -> Run:
        return Run(self.place.folder)

    @property
    def overrides(self) -> list[str]:
        """What a single run of this point would be asked with."""
        return [a.text for a in self.point]

    def config(self) -> dict[str, Any]:
        """The checked config, as a single run's; made when it is needed, for there may be very many."""
        values, _ = self.template.config(self.point)
        return values | {"trainer": values["trainer"] | {"accelerator": self.accelerator}}


@dataclass
class Plan:
    """The runs of a sweep in the order of its points, and the points that are none."""

    runs: list[Planned] = field(default_factory=list)
    invalid: list[tuple[Point, list[str]]] = field(default_factory=list)
    excluded: int = 0
    repeated: int = 0  # points that are the same run as one before
    same: dict[tuple[str, ...], str] = field(default_factory=dict)  # the overrides of those, and the run's id
    swept: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)  # what is wrong with the records of runs
    idle: list[str] = field(default_factory=list)  # conditions of sweep.exclude that no point has met

    def due(self, rerun_stale: bool) -> list[Planned]:
        """What there is to train, longest first."""
        due = [
            r
            for r in self.runs
            if not r.why_skipped and (r.status != "finished" or r.again or (r.stale and rerun_stale))
        ]
        return sorted(due, key=lambda r: -r.cost)

    def name(self, planned: Planned) -> str:
        """What makes a run of this sweep another than the others: the values of the swept keys, shortly."""
        last = [key.rpartition(".")[2] for key in self.swept]
        short = {k: s if last.count(s) == 1 else k for k, s in zip(self.swept, last, strict=True)}
        said = {a.key: a.text.partition("=")[2] for a in planned.point if a.key in short}
        return " ".join(f"{short[key].lstrip('+')}={value}" for key, value in said.items())

    def counts(self) -> Counter[str]:
        return Counter(r.status for r in self.runs)


class Planner:
    """Makes the runs of a grid. `compose` is Hydra's for a list of overrides, `take` chooses a device.

    `take(asked)` gives the accelerator, or raises UserError where it is not there.
    """

    def __init__(
        self, compose: Compose, base: Compose, take: Callable[[str], str], config_dir: str | None = None
    ) -> None:
        self.compose, self.base, self.take, self.config_dir = compose, base, take, config_dir
        self._templates: dict[tuple[str, ...], Template | list[str]] = {}
        self._bases: dict[str, dict[str, Any]] = {}

    def plan(self, grid: Grid | Listed, excluded: Sequence[Any] = ()) -> Plan:
        plan, seen, exclusion = Plan(swept=grid.swept), set[Path](), Exclusion(excluded)
        for point in grid:
            template = self.template(point)
            if isinstance(template, list):
                plan.invalid.append((point, template))
                continue
            if template.reading is None and (problems := template.check(point)):
                if exclusion.leaves_out(point):
                    plan.excluded += 1
                else:
                    plan.invalid.append((point, problems))
                continue
            config, problems = template.config(point)
            if exclusion.leaves_out(point, lambda key: _value_at(config, key)):  # noqa: B023
                plan.excluded += 1
            elif problems := problems + _alone(config):
                plan.invalid.append((point, problems))
            else:
                planned = self.planned(point, template, config)
                if planned.place.folder in seen:
                    plan.repeated += 1
                    plan.same[tuple(planned.overrides)] = planned.place.id
                else:
                    seen.add(planned.place.folder)
                    plan.runs.append(planned)
        if plan.runs:
            exclusion.refuse_unknown(plan.runs[0].config())
        plan.idle = exclusion.idle
        return plan

    def planned(self, point: Point, template: Template, config: dict[str, Any]) -> Planned:
        asked, why = config["trainer"]["accelerator"], ""
        try:
            taken = self.take(asked)
        except UserError as error:
            taken, why = asked, str(error)
        config["trainer"] = config["trainer"] | {"accelerator": taken}
        # memory of a sweep of 100,000 is in these
        where = place(config, template.deciding(config), self._base(point))
        return Planned(point, template, where, taken, cost.seconds(config), why)

    def _base(self, point: Point) -> dict[str, Any]:
        chosen = [a.text for a in point if a.key.lstrip("+") == "experiment"]
        key = " ".join(chosen)
        if key not in self._bases:
            self._bases[key] = deciding(self.base(chosen))
        return self._bases[key]

    def template(self, point: Point) -> Template | list[str]:
        """The point's choice of groups; lines for one that does not compose."""
        structure = [a.text for a in point if not a.plain]
        keys = [a.key for a in point if a.plain]
        found = self._composed(structure, keys)
        if isinstance(found, Template) and found.unset:  # those are Hydra's to set
            structure = [a.text for a in point if not a.plain or a.key in found.unset]
            found = self._composed(structure, [k for k in keys if k not in found.unset])
        return found

    def _composed(self, structure: list[str], keys: list[str]) -> Template | list[str]:
        known = (*structure, "", *keys)
        if known not in self._templates:
            try:
                self._templates[known] = Template(self.compose(structure), keys)
            except (UserError, *COMPOSING) as error:
                from rnnlab.config.explain import explain

                own = isinstance(error, UserError)
                said = map(str, error.args) if own else explain(error, structure, self.config_dir)
                self._templates[known] = list(said)
        return self._templates[known]


def _value_at(config: dict[str, Any], key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = value.get(part, ABSENT) if isinstance(value, dict) else ABSENT
    return value


def _alone(config: dict[str, Any]) -> list[str]:
    """What a single run may ask for, and a run of a sweep may not."""
    problems = []
    if config["resume"]:
        problems.append(f"resume={config['resume']}: a run is trained for longer by itself, not in a sweep")
    if isinstance(config["trainer"]["devices"], list):
        problems.append(
            f"trainer.devices={config['trainer']['devices']}: a sweep gives each worker its device; "
            "CUDA_VISIBLE_DEVICES says which there are"
        )
    return problems


def look_up(plan: Plan) -> None:
    """What the ledger knows of each run: its status, and whether a finished one is stale."""
    folders: dict[Path, set[str]] = {}
    for planned in plan.runs:
        folder = planned.place.folder
        if folder.parent not in folders:
            try:
                folders[folder.parent] = {e.name for e in os.scandir(folder.parent)}
            except OSError:
                folders[folder.parent] = set()
        if folder.name in folders[folder.parent]:
            try:
                planned.status = planned.run.status or ""
            except UserError as error:
                planned.status = "stopped"  # if its checkpoint is whole it goes on
                plan.damaged.append(str(error))
            if planned.status == "finished":
                config = planned.config()
                planned.again = bool(config["rerun"])
                planned.stale = why_stale(planned.run, config)
