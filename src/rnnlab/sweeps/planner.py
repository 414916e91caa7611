"""From the points of a sweep to its plan."""

import marshal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from rnnlab.config import deciding
from rnnlab.config.composing import CHOICES, COMPOSING
from rnnlab.config.origins import with_files
from rnnlab.config.trainer_schema import cannot_take
from rnnlab.errors import UserError
from rnnlab.runs.identity import leaves
from rnnlab.runs.run_path import place
from rnnlab.sweeps.estimate import guessed_seconds
from rnnlab.sweeps.grid import ABSENT, Exclusion, Grid, Listed, Point
from rnnlab.sweeps.plan import Plan, Planned
from rnnlab.sweeps.template import Template

Compose = Callable[[list[str]], DictConfig]


class Planner:
    """`compose` is Hydra's for a list of overrides, `base` composes an experiment without other overrides.

    `choose(asked)` gives the accelerator for `trainer.accelerator=asked`, or raises UserError if there is none.
    """

    def __init__(
        self, compose: Compose, base: Compose, choose: Callable[[str], str], config_dir: str | None = None
    ) -> None:
        self.compose, self.base, self.choose, self.config_dir = compose, base, choose, config_dir
        self._templates: dict[tuple[str, ...], Template | list[str]] = {}
        self._bases: dict[str, dict[str, Any]] = {}
        self._sections: dict[bytes, Any] = {}

    def plan(self, grid: Grid | Listed, excluded: Sequence[Any] = ()) -> Plan:
        plan, seen, exclusion = Plan(swept=grid.swept), set[Path](), Exclusion(excluded)
        for point in grid:
            template = self.template(point)
            if isinstance(template, list):
                plan.invalid.append((point, template))
                continue
            if template.reading is None and (problems := template.check(point)):
                if exclusion.matches(point):
                    plan.excluded += 1
                else:
                    texts = [a.text for a in point]
                    plan.invalid.append((point, with_files(problems, texts, self.config_dir)))
                continue
            config, problems = template.config(point)
            if exclusion.matches(point, lambda key: _value_at(config, key)):  # noqa: B023
                plan.excluded += 1
            elif problems := problems + _not_in_a_sweep(config):
                plan.invalid.append((point, problems))
            else:
                planned = self._planned(point, template, config)
                precision = config["trainer"]["precision"]
                if why := cannot_take(planned.accelerator, precision):  # of what `auto` came to
                    plan.invalid.append((point, [f"trainer.precision={precision}: {why}"]))
                elif planned.place.folder in seen:
                    plan.repeated += 1
                    plan.same[tuple(planned.overrides)] = planned.place.id
                else:
                    seen.add(planned.place.folder)
                    plan.runs.append(planned)
        if plan.runs:
            exclusion.refuse_unknown(plan.runs[0].config)
        plan.unmatched = exclusion.unmatched
        return plan

    def _planned(self, point: Point, template: Template, config: dict[str, Any]) -> Planned:
        asked, why = config["trainer"]["accelerator"], ""
        try:
            accelerator = self.choose(asked)
        except UserError as error:
            accelerator, why = asked, str(error)
        config["trainer"] = config["trainer"] | {"accelerator": accelerator}
        where = place(config, template.deciding(config), self._base(point), self._base(point, CHOICES))
        own = {k: self._shared(v) for k, v in config.items() if v is not template.values.get(k)}
        return Planned(point, template, where, accelerator, guessed_seconds(config), own, why)

    def _shared(self, section: Any) -> Any:
        """One object for all sections that are equal, which keeps a plan of 100,000 runs small."""
        if not isinstance(section, dict):
            return section
        try:
            return self._sections.setdefault(
                marshal.dumps(section, 2), section
            )  # tells 1, 1.0 and true apart
        except ValueError:  # it holds an object of the user's own
            return section

    def _base(self, point: Point, groups: tuple[str, ...] = ()) -> dict[str, Any]:
        """What decides the numbers of the point's experiment as it stands, or with its choices of some groups, as
        `leaves`.
        """
        chosen = [a.text for a in point if a.key.lstrip("+") in ("experiment", *groups)]
        key = " ".join(chosen)
        if key not in self._bases:
            self._bases[key] = leaves(deciding(self.base(chosen)))
        return self._bases[key]

    def template(self, point: Point) -> Template | list[str]:
        """The template of the point's choice of groups, or lines that say why that does not compose."""
        structure = [a.text for a in point if not a.plain]
        keys = [a.key for a in point if a.plain]
        found = self._composed(structure, keys)
        if isinstance(found, Template) and found.unset:  # keys that only Hydra can set
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
                lines = map(str, error.args) if own else explain(error, structure, self.config_dir)
                self._templates[known] = list(lines)
        return self._templates[known]


def _value_at(config: dict[str, Any], key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = value.get(part, ABSENT) if isinstance(value, dict) else ABSENT
    return value


def _not_in_a_sweep(config: dict[str, Any]) -> list[str]:
    """Lines about what only a single run may be asked for."""
    problems = []
    if config["resume"]:
        problems.append(
            f"resume={config['resume']}: only a single run can be trained for longer, not a sweep"
        )
    if isinstance(config["trainer"]["devices"], list):
        problems.append(
            f"trainer.devices={config['trainer']['devices']}: a sweep gives each worker its device; "
            "CUDA_VISIBLE_DEVICES limits which it uses"
        )
    return problems
