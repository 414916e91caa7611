"""Makes the plan of a sweep from its points."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from rnnlab.config import deciding
from rnnlab.config.composing import CHOICES, DEMANDED
from rnnlab.config.hydra_config import COMPOSING
from rnnlab.config.origins import with_files
from rnnlab.config.run_config import RunConfig
from rnnlab.config.trainer_schema import cannot_take
from rnnlab.errors import UserError
from rnnlab.runs.identity import leaves
from rnnlab.runs.run_path import Common, Part, Place, assembled, group_and_label, part
from rnnlab.sweeps.estimate import guessed_seconds
from rnnlab.sweeps.grid import ABSENT, Exclusion, Grid, Listed, Point
from rnnlab.sweeps.interning import Interner
from rnnlab.sweeps.plan import Plan, Planned
from rnnlab.sweeps.template import Template, Variant

Compose = Callable[[list[str]], DictConfig]


class Planner:
    """Makes a `Plan`. `compose` composes a list of overrides with Hydra; `base` composes an experiment with choices of
    groups only.

    `choose(asked)` gives the accelerator for `trainer.accelerator=asked`, or raises UserError if there is none.
    """

    def __init__(
        self, compose: Compose, base: Compose, choose: Callable[[str], str], config_dir: str | None = None
    ) -> None:
        self.compose, self.base, self.choose, self.config_dir = compose, base, choose, config_dir
        self._templates: dict[tuple[str, ...], Template | list[str]] = {}
        self._bases: dict[tuple[object, ...], dict[str, Any]] = {}
        self._interner = Interner()
        # {requested accelerator: (the run's accelerator, why there is none)}
        self._chosen: dict[str, tuple[str, str]] = {}
        self._experiments: dict[tuple[str, str], Path] = {}
        self._commons: dict[Common, Common] = {}
        # (group, label, guessed seconds), shared by the runs that differ only in their seed
        self._groups: dict[tuple[int, ...], tuple[str, str, float]] = {}

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
            variants = template.variants(point)
            config = template.config(variants)
            if exclusion.matches(point, lambda key: _value_at(config, key)):  # noqa: B023
                plan.excluded += 1
            elif problems := template.problems(point, variants) + _not_in_a_sweep(config):
                plan.invalid.append((point, problems))
            else:
                planned = self._planned(point, template, variants, config)
                precision = config["trainer"]["precision"]
                if why := cannot_take(planned.accelerator, precision):  # for the device that `auto` chose
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

    def _planned(
        self, point: Point, template: Template, variants: dict[str, Variant], config: RunConfig
    ) -> Planned:
        accelerator, why = self._accelerator(config["trainer"]["accelerator"])
        variants["trainer"] = template.on(variants["trainer"], accelerator)
        where, cost = self._placed(point, template, variants, config)
        own = tuple([variant.values for variant in variants.values() if variant.values])
        return Planned(point, template, where, accelerator, cost, own, why)

    def _accelerator(self, asked: str) -> tuple[str, str]:
        if asked not in self._chosen:
            try:
                self._chosen[asked] = self.choose(asked), ""
            except UserError as error:
                self._chosen[asked] = asked, str(error)
        return self._chosen[asked]

    def _placed(
        self, point: Point, template: Template, variants: dict[str, Variant], config: RunConfig
    ) -> tuple[Place, float]:
        """The run's place, equal to `rnnlab.runs.run_path.place`, and its guessed seconds."""
        seed, parts = config["seed"], []
        for variant in variants.values():
            found = variant.parts.get(None) or variant.parts.get(seed)
            parts.append(found or self._part(point, template, variant, seed))
        kind = tuple([id(one.common) for one in parts])
        if kind not in self._groups:
            self._groups[kind] = *group_and_label([one.common for one in parts]), guessed_seconds(config)
        group, label, cost = self._groups[kind]
        named = config["paths"]["outputs"], config["name"]
        if named not in self._experiments:
            self._experiments[named] = Path(named[0]) / named[1]
        return assembled(parts, group, label, self._experiments[named], seed), cost

    def _part(self, point: Point, template: Template, variant: Variant, seed: int) -> Part:
        """The contribution of a section to the run's place."""
        base, chosen = self._base(point), self._base(point, CHOICES)
        decisive = template.deciding(variant)
        # the accelerator that `auto` chose depends on the machine, and must not count as a difference
        accelerator = decisive.get("trainer", {}).get("accelerator")
        found = part(decisive, base | {"trainer.accelerator": accelerator}, chosen, seed)
        found = found._replace(common=self._commons.setdefault(found.common, found.common))
        seeded = any(key.rpartition(".")[2] == "seed" for key in leaves(decisive))
        variant.parts[seed if seeded else None] = found
        return found

    def _base(self, point: Point, groups: tuple[str, ...] = ()) -> dict[str, Any]:
        """The `leaves` of the part that decides numbers, of the point's experiment alone, or with the point's choices
        of `groups`.
        """
        chosen = [a.text for a in point if a.key.lstrip("+") in ("experiment", *groups)]
        key = (groups == DEMANDED, *chosen)
        if key not in self._bases:
            try:
                self._bases[key] = leaves(deciding(self.base(chosen)))
            except UserError:
                if groups == DEMANDED:
                    raise
                self._bases[key] = {}
        return self._bases[key] or self._base(point, DEMANDED)

    def template(self, point: Point) -> Template | list[str]:
        """The template for the point's choice of groups, or lines that say why Hydra cannot compose it."""
        structure = [a.text for a in point if not a.plain]
        keys = [a.key for a in point if a.plain]
        found = self._composed(structure, keys)
        if isinstance(found, Template) and found.unset:  # Hydra must set these keys
            structure = [a.text for a in point if not a.plain or a.key in found.unset]
            found = self._composed(structure, [k for k in keys if k not in found.unset])
        return found

    def _composed(self, structure: list[str], keys: list[str]) -> Template | list[str]:
        known = (*structure, "", *keys)
        if known not in self._templates:
            try:
                self._templates[known] = Template(self.compose(structure), keys, self._interner.section)
            except (UserError, *COMPOSING) as error:
                from rnnlab.config.explain import explain

                own = isinstance(error, UserError)
                lines = map(str, error.args) if own else explain(error, structure, self.config_dir)
                self._templates[known] = list(lines)
        return self._templates[known]


def _value_at(config: RunConfig, key: str) -> object:
    value: object = config
    for name in key.split("."):
        value = value.get(name, ABSENT) if isinstance(value, dict) else ABSENT
    return value


def _not_in_a_sweep(config: RunConfig) -> list[str]:
    """Lines about settings that only a single run may have."""
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
