"""Reads the points of a sweep from overrides in Hydra's grammar, and finds those that `sweep.exclude` leaves out."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    Glob,
    IntervalSweep,
    Override,
    OverrideType,
    QuotedString,
    RangeSweep,
    Transformer,
)
from hydra.errors import HydraException

from rnnlab.config.run_config import RunConfig
from rnnlab.config.schema import words
from rnnlab.config.spelling import near_key
from rnnlab.errors import UserError, nearest

# keys that may change which other keys exist, so that only Hydra may set them
STRUCTURAL = ("_target_", "_partial_", "_args_", "_recursive_", "_convert_")

ABSENT = object()  # stands for no value, for example of a key that does not exist
MOST = 10_000_000  # the most values of a key; more cannot be planned


class Assignment(NamedTuple):
    """One override with one value. `plain`: it sets a leaf, which needs no composition by Hydra."""

    text: str  # as in a command: model.hidden_size=16
    key: str
    value: Any
    plain: bool


Point = tuple[Assignment, ...]


@dataclass(frozen=True)
class Grid:
    """The product of dimensions. A choice of a dimension is one assignment, or one for each of its zipped keys."""

    dimensions: list[list[Point]]

    def __len__(self) -> int:
        return math.prod(len(choices) for choices in self.dimensions)

    def __iter__(self) -> Iterator[Point]:
        """All points. Assignments are in the order of the command line; the last dimension varies fastest."""
        for chosen in itertools.product(*self.dimensions):
            yield tuple(itertools.chain.from_iterable(chosen))

    @property
    def swept(self) -> list[str]:
        """The keys that take more than one value."""
        return [a.key for choices in self.dimensions if len(choices) > 1 for a in choices[0]]


def grid(
    arguments: Sequence[str],
    is_group: Callable[[str], bool],
    *,
    zipped: Sequence[Sequence[str]] = (),
    intervals: int = 5,
    config_loader: ConfigLoader | None = None,
) -> Grid:
    """Reads overrides; a later override replaces an earlier one of the same key.

    An interval gives `intervals` values with equal steps between them, or, for `tag(log, interval(a,b))`, with equal
    ratios. The keys in one list of `zipped` are paired. Raises UserError for an invalid override.
    """
    parser = OverridesParser.create(config_loader=config_loader)
    along: dict[str, list[Assignment]] = {}
    lines: dict[str, str] = {}
    for override in parser.parse_overrides(list(arguments)):
        if of_sweep(override.key_or_group):
            if override.is_sweep_override():
                raise UserError(f"{override.input_line}: keys of sweep. cannot be swept themselves")
            continue
        # ++KEY comes after KEY, and replaces it
        if override.type == OverrideType.FORCE_ADD and override.package is None:
            along.pop(override.key_or_group, None)
        along[override.get_key_element()] = assignments(override, is_group, intervals)
        lines[override.get_key_element()] = str(override.input_line)
    for key, choices in along.items():
        if not choices:
            raise UserError(f"{lines[key]}: it has no values")
    dimensions: dict[str, list[Point]] = {key: [(a,) for a in choices] for key, choices in along.items()}
    for keys in zipped:
        _pair(dimensions, along, list(keys))
    return Grid(list(dimensions.values()))


def _pair(dimensions: dict[str, list[Point]], along: dict[str, list[Assignment]], keys: list[str]) -> None:
    """Merges the dimensions of several keys into one, at the position of the first key."""
    if not keys:
        raise UserError(
            "sweep.zip: a list in it is empty; each pairs some keys, as in [[model.hidden_size,optimizer.lr]]"
        )
    for key in keys:
        if key not in along:
            several = [name for name, values in along.items() if len(values) > 1]
            raise UserError(
                f"sweep.zip: {key} is not swept; give it values, as in {key}=A,B.{nearest(key, several)}"
            )
        if key not in dimensions or len(dimensions[key][0]) > 1:
            raise UserError(f"sweep.zip: {key} is in two lists; paired keys belong in one list")
    lengths = {key: len(along[key]) for key in keys}
    if len(set(lengths.values())) > 1:
        counted = ", ".join(f"{key} has {n}" for key, n in lengths.items())
        raise UserError(f"sweep.zip: paired keys need equally many values, but {counted}")
    first = min(keys, key=list(along).index)
    dimensions[first] = list(zip(*(along[key] for key in keys), strict=True))
    for key in keys:
        if key != first:
            dimensions.pop(key, None)


def assignments(override: Override, is_group: Callable[[str], bool], intervals: int) -> list[Assignment]:
    """An override's values, one assignment each."""
    prefix, key = override.get_key_element(), override.key_or_group
    settable = (
        override.type == OverrideType.CHANGE
        and override.package is None
        and "@" not in key
        and not is_group(key)
        and key.rpartition(".")[2] not in STRUCTURAL
    )
    if override.is_delete():
        return [Assignment(override.input_line or prefix, prefix, None, False)]
    if not override.is_sweep_override():
        text, value = override.get_value_element_as_str(), override.value()
        if _has_text(value):
            text, value = _read_again(override, text)
        return [Assignment(f"{prefix}={text}", prefix, value, settable and _is_leaf(value))]
    pattern = override.value()
    if isinstance(pattern, Glob) and not is_group(key):
        if not (possible := words(key)):
            raise UserError(
                f"{override.input_line}: glob is only for groups such as optimizer and for keys that are set to a "
                f"word, such as model.cell, and {key} is neither"
            )
        values: list[Any] = pattern.filter(possible)
    elif override.is_interval_sweep():
        values = _spaced(override, intervals)
    else:
        if isinstance(pattern, RangeSweep):
            _refuse_endless(override, pattern)
        try:
            values = list(override.sweep_iterator())
        except HydraException as error:
            raise UserError(f"{override.input_line}: {error}") from error
    texts: Iterable[str] = map(str, map(Transformer.str, values))
    if not isinstance(pattern, Glob) and any(map(_has_text, values)):
        hydras, shuffled = list(override.sweep_string_iterator()), getattr(pattern, "shuffle", False)
        read = [_read_again(override, text, "" if shuffled else short)
                for text, short in zip(hydras, texts, strict=True)]  # fmt: skip
    else:
        read = list(zip(texts, map(_unquoted, values), strict=True))
    return [
        Assignment(f"{prefix}={text}", prefix, value, settable and _is_leaf(value)) for text, value in read
    ]


def _read_again(override: Override, text: str, short: str = "") -> tuple[str, Any]:
    """(text, value) of a value that Hydra wrote as text, and reads again for each point: `choice('1', 2)` gives the
    number 1. Uses the text `short`, without escapes, where it means the same. Raises UserError for a text that Hydra
    cannot read.
    """
    value = _meant(text)
    if value is ABSENT:
        raise UserError(
            f"{override.input_line}: Hydra writes a value as {text}, and cannot read that again; outside of functions "
            "quotes are kept, as in 'a, b','c'"
        )
    return (short if short and _meant(short) == value else text), value


def _meant(text: str) -> Any:
    """The value that Hydra reads from `text`; ABSENT where it reads none."""
    try:
        read = OverridesParser.create().parse_override(f"key={text}")
    except HydraException:
        return ABSENT
    return ABSENT if read.is_sweep_override() else read.value()


def _has_text(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(_has_text, (*value, *value.values())))
    return any(map(_has_text, value)) if isinstance(value, list) else isinstance(value, str)


def _refuse_endless(override: Override, pattern: RangeSweep) -> None:
    start, stop, step = pattern.start or 0, pattern.stop or 0, pattern.step
    if not (math.isfinite(start) and math.isfinite(stop) and math.isfinite(step) and step):
        raise UserError(f"{override.input_line}: a range has finite ends, and a step other than 0")
    if (stop - start) / step > MOST:
        raise UserError(f"{override.input_line}: these are more than {MOST:,} values")


def _unquoted(value: Any) -> Any:
    if isinstance(value, list):
        return [_unquoted(v) for v in value]
    if isinstance(value, dict):
        return {_unquoted(k): _unquoted(v) for k, v in value.items()}
    return value.text if isinstance(value, QuotedString) else value


def _is_leaf(value: object) -> bool:
    if isinstance(value, list):
        return all(_is_leaf(v) and not isinstance(v, list) for v in value)
    return not isinstance(value, dict) and not (isinstance(value, str) and ("${" in value or value == "???"))


def _spaced(override: Override, n: int) -> list[float]:
    interval = override.value()
    assert isinstance(interval, IntervalSweep)
    low, high = interval.start, interval.end
    assert low is not None and high is not None
    parts = [i / (n - 1) for i in range(n)]
    if "log" in interval.tags:
        if min(low, high) <= 0:
            raise UserError(f"{override.input_line}: both ends of a logarithmic interval must be above 0")
        values = [low * (high / low) ** part for part in parts]
    else:
        values = [low + (high - low) * part for part in parts]
    if isinstance(low, int) and isinstance(high, int):
        return sorted({round(v) for v in values})
    return [float(f"{v:.6g}") for v in values]


@dataclass(frozen=True)
class Listed:
    """Points that another sweeper chose."""

    points: list[Point]

    def __len__(self) -> int:
        return len(self.points)

    def __iter__(self) -> Iterator[Point]:
        return iter(self.points)

    @property
    def swept(self) -> list[str]:
        texts: dict[str, set[str]] = {}
        for point in self.points:
            for a in point:
                texts.setdefault(a.key, set()).add(a.text)
        return [key for key, different in texts.items() if len(different) > 1]


def of_sweep(key: str) -> bool:
    """Whether a key concerns the sweep and not the runs, such as sweep=slurm and sweep.workers=2."""
    return key == "sweep" or key.startswith("sweep.")


def listed(jobs: Sequence[Sequence[str]], is_group: Callable[[str], bool]) -> Listed:
    """The points of a sweeper's jobs; each job is a list of overrides with one value each."""
    parser, known = OverridesParser.create(), dict[str, Assignment]()
    points = []
    for job in jobs:
        for text in job:
            if text not in known:
                known[text] = assignments(parser.parse_override(text), is_group, 2)[0]
        points.append(tuple(known[text] for text in job if not of_sweep(known[text].key)))
    return Listed(points)


class Exclusion:
    """`sweep.exclude`: conditions {key: values}. A point matches a condition if each key has one of its values."""

    def __init__(self, excluded: Sequence[Any]) -> None:
        """Each item of `excluded` is a mapping {key: value or values}, or a text of overrides: "a=1 b=2,3"."""
        self.conditions = [_condition(entry) for entry in excluded]
        self.texts = [str(entry) for entry in excluded]
        self.matched = [0] * len(self.conditions)
        self._unknown = {key for condition in self.conditions for key in condition}

    def matches(self, point: Point, value_at: Callable[[str], object] = lambda key: ABSENT) -> bool:
        """Whether a point is left out; `value_at(key)` gives the value of a key that the point does not set."""
        if not self.conditions:
            return False
        values = {a.key.lstrip("+"): a.value for a in point}
        for key in [*self._unknown]:
            if key in values or value_at(key) is not ABSENT:
                self._unknown.discard(key)
        for i, condition in enumerate(self.conditions):
            if all(
                (values[k] if k in values else value_at(k)) in allowed for k, allowed in condition.items()
            ):
                self.matched[i] += 1
                return True
        return False

    def refuse_unknown(self, config: RunConfig) -> None:
        """Raises UserError for a key that no point has: its condition would match nothing."""
        for key in sorted(self._unknown):
            raise UserError(f"sweep.exclude: {key}: no such key.{near_key(key, config)}")

    @property
    def unmatched(self) -> list[str]:
        """The conditions that no point matches."""
        return [text for text, matched in zip(self.texts, self.matched, strict=True) if not matched]


def _condition(entry: object) -> dict[str, list[object]]:
    if isinstance(entry, dict):
        return {str(k): v if isinstance(v, list) else [v] for k, v in entry.items()}
    try:
        overrides = OverridesParser.create().parse_overrides(str(entry).split())
    except HydraException:
        raise UserError(f"sweep.exclude={entry}: a condition is written KEY=VALUE KEY=VALUE,VALUE") from None
    read = [assignments(override, lambda key: False, 2) for override in overrides]
    return {one[0].key: [a.value for a in one] for one in read}
