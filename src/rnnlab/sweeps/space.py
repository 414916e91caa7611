"""The search space of a search: a sweep's overrides, read as Optuna's distributions."""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, OverrideType, RangeSweep

from rnnlab.errors import UserError
from rnnlab.sweeps.grid import Assignment, Point, assignments, of_sweep

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Params = dict[str, str | float]  # {key: what Optuna has drawn}: the text of a choice, or a number

DIGITS = 6  # significant digits of a drawn number in names and configs
OF_STEPS = 12  # of a number of a range: enough to tell its steps apart, and too few for an error of rounding


@dataclass(frozen=True)
class Dimension:
    """One key of the space: a list of values (`choices`), or the numbers from `low` to `high`."""

    key: str  # as in the command, with a + where it adds a key
    choices: tuple[Assignment, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    log: bool = False

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def ends(self) -> list[float]:
        """The lowest and the highest number; for real numbers also one between them that is not an integer."""
        if self.whole or self.step:
            return [self.low, self.high]
        return [self.low, self.low + (self.high - self.low) / math.pi, self.high]

    def distribution(self) -> "BaseDistribution":
        """The dimension as Optuna's distribution."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.choices:
            return CategoricalDistribution([a.text for a in self.choices])
        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log, step=int(self.step or 1))
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    def assign(self, drawn: str | float) -> Assignment:
        if self.choices:
            return next(a for a in self.choices if a.text == drawn)
        digits = OF_STEPS if self.step else DIGITS
        value = int(drawn) if self.whole else min(max(float(f"{drawn:.{digits}g}"), self.low), self.high)
        return Assignment(f"{self.key}={value}", self.key.lstrip("+"), value, "+" not in self.key)

    def __str__(self) -> str:
        if self.choices:
            return ", ".join(a.text.partition("=")[2] for a in self.choices)
        how = (" on a log scale" if self.log else "") + (f" in steps of {self.step:g}" if self.step else "")
        return f"{self.low:g} to {self.high:g}{how}"


@dataclass(frozen=True)
class Space:
    """A search space. `seeds` are no dimension: each trial trains with every seed, and its value is their mean."""

    fixed: Point
    dimensions: tuple[Dimension, ...]
    seeds: tuple[Assignment, ...] = ()

    @property
    def swept(self) -> list[str]:
        return [d.key for d in self.dimensions] + (["seed"] if len(self.seeds) > 1 else [])

    @property
    def id(self) -> str:
        """A hash of all that a trial's value depends on: equal for searches with different samplers or pruners."""
        own = {d.key: str(d) for d in self.dimensions}
        about = [sorted(self.asked.values()), own, sorted(a.text for a in self.seeds)]
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def asked(self) -> dict[str, str]:
        """{key: KEY=VALUE} of the overrides that all trials share, without `paths`."""
        return {a.key: a.text for a in self.fixed if not a.key.startswith("paths.")}

    def distributions(self) -> "dict[str, BaseDistribution]":
        return {d.key: d.distribution() for d in self.dimensions}

    def points(self, params: Params) -> list[Point]:
        """The points of a trial, one for each seed."""
        chosen = tuple(d.assign(params[d.key]) for d in self.dimensions)
        one_each: list[Point] = [(seed,) for seed in self.seeds]
        return [(*self.fixed, *chosen, *seed) for seed in one_each or [()]]

    def covering_points(self) -> list[Point]:
        """Points that together contain each choice and the `ends` of each interval, to be checked before the search."""
        values: list[Sequence[str | float]] = [[a.text for a in d.choices] or d.ends for d in self.dimensions]
        first = {d.key: v[0] for d, v in zip(self.dimensions, values, strict=True)}
        found: list[Point] = [self.points(first | {d.key: v})[0]
                 for d, row in zip(self.dimensions, values, strict=True) for v in row]  # fmt: skip
        return list(dict.fromkeys(found)) if all(map(_hashable, found)) else found


def _hashable(point: Point) -> bool:
    try:
        hash(point)
    except TypeError:
        return False
    return True


def space(
    arguments: Sequence[str],
    is_group: Callable[[str], bool],
    config_loader: ConfigLoader | None = None,
    zipped: bool = False,
) -> Space:
    """Reads overrides: KEY=a,b or choice(a,b), range(a,b,step), interval(a,b), tag(log, interval(a,b)), glob(*).

    Raises UserError where no key has several values.
    """
    if zipped:
        raise UserError("sweep.zip: a search chooses each key by itself; sweep.search=grid pairs keys")
    fixed: dict[str, Assignment] = {}
    dimensions: dict[str, Dimension] = {}
    seeds: tuple[Assignment, ...] = ()
    for override in OverridesParser.create(config_loader=config_loader).parse_overrides(list(arguments)):
        key = override.get_key_element()
        if of_sweep(override.key_or_group):
            if override.is_sweep_override():
                raise UserError(f"{override.input_line}: keys of sweep. cannot be swept themselves")
            continue
        is_forced = override.type == OverrideType.FORCE_ADD and override.package is None
        forced = override.key_or_group if is_forced else key
        for known in (key, forced):  # ++KEY replaces KEY, too
            fixed.pop(known, None), dimensions.pop(known, None)
            seeds = () if known == "seed" else seeds
        if not override.is_sweep_override():
            fixed[key] = assignments(override, is_group, 2)[0]
        elif key == "seed" and not override.is_interval_sweep():
            found = assignments(override, is_group, 2)
            seeds = tuple({repr(a.value): a for a in found}.values())  # each counts once
        else:
            dimensions[key] = _dimension(key, override, is_group)
    if not dimensions:
        raise UserError("sweep.search: there is nothing to choose; give keys several values or an interval, such as "
                        "model.hidden_size=16,32 'optimizer.lr=tag(log, interval(1e-4,1e-1))'")  # fmt: skip
    return Space(tuple(fixed.values()), tuple(dimensions.values()), seeds)


def _dimension(key: str, override: Override, is_group: Callable[[str], bool]) -> Dimension:
    value = override.value()
    if isinstance(value, IntervalSweep):
        low, high = value.start, value.end
        assert low is not None and high is not None
        log = "log" in value.tags
        if not low < high:
            raise UserError(f"{override.input_line}: the first end of an interval must be below the second")
        if log and low <= 0:
            raise UserError(f"{override.input_line}: both ends of a logarithmic interval must be above 0")
        return Dimension(key, (), low, high, None, log)
    choices = tuple(assignments(override, is_group, 2))
    if not choices:
        raise UserError(f"{override.input_line}: it has no values")
    if isinstance(value, RangeSweep) and len(choices) > 1 and not is_group(override.key_or_group):
        return _steps(key, value, [a.value for a in choices])
    return Dimension(key, choices)


def _steps(key: str, pattern: RangeSweep, numbers: Sequence[float]) -> Dimension:
    """The dimension of a range of `numbers`, whose order (`shuffle`, `sort`) does not count.

    Its last number is computed from the decimal digits of the first and of the step, as Optuna does it: 0.4 - 0.3 is
    not 0.1 in binary, and Optuna would leave out a last number that lies between two steps.
    """
    low, step = min(numbers), abs(pattern.step)
    if isinstance(low, int) and isinstance(step, int):
        return Dimension(key, (), low, max(numbers), step)
    high = Decimal(repr(low)) + (len(numbers) - 1) * Decimal(repr(step))
    return Dimension(key, (), low, float(high), step)
