"""Compares two or more sides of an experiment by paired runs: runs with equal seeds and equal other settings."""

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from rnnlab.config.spelling import near_key
from rnnlab.errors import UserError, counted, nearest
from rnnlab.report.leaderboard import Leaderboard
from rnnlab.report.numbers import number
from rnnlab.report.row import Row, written
from rnnlab.report.statistics import GREATER, LEVEL, LOG, PLAIN, Scale, Test, holm, scale_of
from rnnlab.runs.identity import readable
from rnnlab.runs.run import Run, legible, silently

Blocks = dict[tuple[str, str], tuple[float, int]]  # {(the other settings, seed): (score, group of targets)}


class Side(NamedTuple):
    """One side of a comparison: its rows and its name."""

    name: str
    rows: list[Row]


class Difference(NamedTuple):
    """The comparison of two sides. `test` is about first minus second on `scale`, over pairs of seeds or settings."""

    first: str
    second: str
    test: Test
    p: float  # adjusted by Holm's method over all comparisons
    wins: int  # pairs in which the first is better
    scale: Scale
    level: float  # of each interval, so that all intervals together hold with 95%
    lower_is_better: bool
    alone: tuple[int, int] = (0, 0)  # scores of the first side, and of the second, without a pair

    @property
    def effect(self) -> float:
        """The ratio first / second for losses and errors, else the difference first - second."""
        return self._shown(self.test.mean)

    @property
    def interval(self) -> tuple[float, float]:
        low, high = self.test.interval(self.level)
        return self._shown(low), self._shown(high)

    def _shown(self, value: float) -> float:
        return self.scale.back(value) if self.scale is LOG else value

    @property
    def better(self) -> float:
        """The probability that the first is better on average over seeds; NaN for a single pair."""
        return self.test.below if self.lower_is_better else 1 - self.test.below

    @property
    def decided(self) -> bool:
        return self.p <= 1 - LEVEL

    @property
    def verdict(self) -> str:
        if self.test.n < 2:
            return "one pair says nothing"
        if not self.test.mean and not self.test.std:
            return "the same score in every pair"
        if self.decided:
            return f"{self.first if self.better > 0.5 else self.second} is better"
        needed = self.test.needed(self.level)
        if needed is None:
            return "undecided, and no affordable number of pairs would tell"
        return f"undecided; about {counted(max(1, needed - self.test.n), 'more pair')} would tell"


class Comparison(NamedTuple):
    metric: str
    unit: str  # what a pair has in common: "seed" or "setting"
    settings: int  # the largest number of other settings over which a pair is averaged
    differences: list[Difference]
    fewest: int = 1  # the smallest such number: a seed may lack some settings
    apart: Sequence[str] = ()  # keys of which each side has values of its own, see `apart`

    @property
    def effect(self) -> str:
        return "ratio" if self.differences[0].scale is LOG else "difference"

    def heads(self) -> list[str]:
        interval = "95% interval" if len(self.differences) == 1 else "95% together"
        return [
            "first",
            "second",
            f"{self.unit}s",
            "first wins",
            self.effect,
            interval,
            "P(first better)",
            "p (Holm)",
            "",
        ]

    def lines(self) -> list[list[str]]:
        found = []
        for d in self.differences:
            low, high = d.interval
            between = f"{number(low)} to {number(high)}" if low == low else ""
            chance = "" if d.better != d.better else f"{d.better:.3f}"
            found.append([d.first, d.second, str(d.test.n), str(d.wins), number(d.effect), between, chance,
                          number(d.p), d.verdict])  # fmt: skip
        return found

    def left_out(self) -> list[str]:
        """Lines about scores that only one of two sides has, at a setting and a seed."""
        sides = [pair for d in self.differences
                 for pair in ((d.first, d.second, d.alone[0]), (d.second, d.first, d.alone[1]))]  # fmt: skip
        return [
            f"{counted(n, 'score')} of {one} {'has' if n == 1 else 'have'} no pair in {other} (other settings or "
            f"seeds), and {'is' if n == 1 else 'are'} left out"
            for one, other, n in sides
            if n
        ]

    def caption(self) -> str:
        what = (
            f"val/{self.metric.removeprefix('metric/')}" if self.metric.startswith("metric/") else self.metric
        )
        over = f"{self.fewest} to {self.settings}" if self.fewest < self.settings else f"{self.settings}"
        kind = "geometric mean" if self.effect == "ratio" else "mean"
        mean = f", each a {kind} over {over} other settings" if self.settings > 1 else ""
        effect = (
            "ratio of the first to the second" if self.effect == "ratio" else "the first minus the second"
        )
        better = "lower" if self.differences[0].lower_is_better else "higher"
        paired = f"paired by {self.unit}{mean}"
        scale = "log scale" if self.effect == "ratio" else "differences"
        return f"{what} ({better} is better): {effect}, {paired}; Student's t on the {scale}."


def by_key(board: Leaderboard, key: str) -> tuple[list[Side], list[str]]:
    """One side for each value of a swept key."""
    key = full_key(board, key)
    values = _values(board, key)
    short = Counter(written(key, value) for value in values)
    sides = []
    for value in values:  # two files of one name in different folders are told apart by their paths
        said = written(key, value) if short[written(key, value)] == 1 else str(value)
        sides.append(Side(f"{key.rpartition('.')[2]}={said}", _with(board.rows, key, value)))
    return sides, [key]


def by_conditions(board: Leaderboard, conditions: Sequence[str]) -> tuple[list[Side], list[str]]:
    """One side for each "KEY=VALUE[,KEY=VALUE...]"."""
    sides, keys = [], []
    for text in conditions:
        rows = list(board.rows)
        for part in re.split(r",(?![^\[]*\])", text):  # a list in brackets is one value
            key, _, value = part.partition("=")
            key = full_key(board, key)
            keys.append(key)
            values = _values(board, key)
            meant = _meant(values, value) or _chosen(board, key, value)
            if not meant:
                raise UserError(f"{part}: no run has it.{nearest(value, [readable(v) for v in values])}")
            if len(meant) > 1:
                raise UserError(f"{part}: may be {' or '.join(map(str, meant))}; write one of them in full")
            rows = _with(rows, key, meant[0])
        if not rows:
            raise UserError(f"{text}: no finished run has all of it")
        sides.append(Side(text, rows))
    return sides, list(dict.fromkeys(keys))


def by_folder(board: Leaderboard, names: dict[str, str]) -> tuple[list[Side], list[str]]:
    """One side for each experiment; `names` are {folder of an experiment: its name}."""
    sides: dict[str, list[Row]] = {}
    for row in board.rows:  # a row may have runs in several folders; each side gets its own
        for folder in dict.fromkeys(entry.folder.parent for entry in row.entries):
            own = [entry for entry in row.entries if entry.folder.parent == folder]
            sides.setdefault(names[str(folder)], []).append(replace(row, entries=own))
    values = [{k: {str(r.parameters.get(k)) for r in rows} for k in _keys(board)} for rows in sides.values()]
    keys = [k for k in _keys(board) if not set.intersection(*(v[k] for v in values))]
    return [Side(name, rows) for name, rows in sides.items()], keys


def apart(board: Leaderboard, sides: Sequence[Side], keys: Sequence[str]) -> list[str]:
    """Other keys of which no two sides share a value, such as the hidden sizes that model.equal has chosen: they belong
    to the sides, and are no other settings.
    """
    found = []
    for key in _keys(board):
        values = [{repr(row.parameters.get(key)) for row in side.rows} for side in sides]
        of_a_key = any(key.startswith(f"{one}.") for one in keys)  # an argument of a compared class
        if (
            key not in keys
            and not of_a_key
            and all(a.isdisjoint(b) for a, b in itertools.combinations(values, 2))
        ):
            found.append(key)
    return found


def full_key(board: Leaderboard, key: str) -> str:
    """The full name of a swept key, given in full or by its end. Raises UserError where no runs differ in it."""
    keys = _keys(board)
    found = [k for k in keys if k == key or k.endswith(f".{key}")]
    if key in keys or len(found) == 1:
        return key if key in keys else found[0]
    if not keys:
        raise UserError(f"{key}: these runs differ by their seed alone")
    raise UserError(
        f"{key}: these runs do not differ in it, but in {', '.join(keys)}.{near_key(key, {}, keys)}"
    )


def _keys(board: Leaderboard) -> list[str]:
    return list(dict.fromkeys(k for row in board.rows for k in row.parameters))


def _values(board: Leaderboard, key: str) -> list[Any]:
    """The different values of a key, in the order of the rows."""
    return list(
        {repr(r.parameters[key]): r.parameters[key] for r in board.rows if key in r.parameters}.values()
    )


def _with(rows: Sequence[Row], key: str, value: Any) -> list[Row]:
    return [row for row in rows if key in row.parameters and repr(row.parameters[key]) == repr(value)]


def _meant(values: Sequence[Any], text: str) -> list[Any]:
    """The values that a text stands for: those with exactly this text, else in any case, else in a short form, else the
    number that it is: 1e-3 is 0.001.
    """
    typed = text.replace(" ", "").casefold()
    ways = (
        [v for v in values if str(v) == text],
        [v for v in values if str(v).replace(" ", "").casefold() == typed],
        [v for v in values if typed in (readable(v).casefold(), "null" if v is None else None)],
        [v for v in values if isinstance(v, int | float) and not isinstance(v, bool) and v == _number(text)],
    )
    return next(filter(None, ways), [])


def _chosen(board: Leaderboard, key: str, text: str) -> list[Any]:
    """The values of the rows whose runs were asked for with this text: scheduler=plateau, the name of a file of
    settings, where the value is the class ReduceLROnPlateau.
    """
    first = [(row, Run(row.entries[0].folder)) for row in board.rows if key in row.parameters]
    asked = legible(first, lambda one: one[1].overrides, silently)
    found = [row.parameters[key] for (row, _), overrides in asked if f"{key}={text}" in overrides]
    return list({repr(value): value for value in found}.values())


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def compare(board: Leaderboard, sides: list[Side], keys: Sequence[str], metric: str = "") -> Comparison:
    """Compares every two sides, better ones first.

    A pair is a seed: for each seed, the scores are first averaged over the other settings that two sides share, because
    runs with equal seeds share data and initial weights, and are not independent. Where all runs have the same seed, a
    pair is a setting. Raises UserError where sides share neither, or were scored on different targets.
    """
    if len(sides) < 2:
        lost = len(board.others)
        left_out = f"; {counted(lost, 'run')} without a result {'is' if lost == 1 else 'are'} left out"
        raise UserError(
            f"there is nothing to compare: all finished runs are on one side{left_out if lost else ''}"
        )
    if not metric and not board.compares:
        raise UserError(f"{board.notes[0]} --metric names another score")
    metric = metric or board.metric
    also = apart(board, sides, keys)
    blocks = [_blocks(side, [*keys, *also], board, metric) for side in sides]
    lower = less_is_better(metric, board)
    # where more is better, scores are compared as they are: a difference of logits is hard to interpret
    scale = scale_of(np.array([v for one in blocks for v, _ in one.values()]), False) if lower else PLAIN
    typical = [np.mean(scale.to(np.array([v for v, _ in one.values()]))) for one in blocks]
    order = sorted(range(len(sides)), key=lambda i: (1 if lower else -1) * typical[i])
    tests, alone, settings, units = [], [], set(), set()
    for a, b in itertools.combinations(order, 2):
        shared = [at for at in blocks[a] if at in blocks[b]]
        names = f"{sides[a].name} and {sides[b].name}"
        if not shared:
            raise UserError(f"{names} share no seed at the same other settings: nothing can be paired")
        if not all(blocks[a][at][1] == blocks[b][at][1] for at in shared):
            raise UserError(
                f"{names} were scored on different data or targets, so their scores do not compare; "
                "rnnlab report shows each beside its own floor and baselines"
            )
        by_unit: dict[str, list[float]] = defaultdict(list)
        unit = "seed" if len({seed for _, seed in shared}) > 1 or len(shared) == 1 else "setting"
        to = scale.to
        for at in shared:
            d = float(to(np.array(blocks[a][at][0]))) - float(to(np.array(blocks[b][at][0])))
            by_unit[at[1] if unit == "seed" else at[0]].append(d)
        units.add(unit)
        alone.append((len(blocks[a]) - len(shared), len(blocks[b]) - len(shared)))
        settings |= {len(d) for d in by_unit.values()} if unit == "seed" else {1}
        means = np.array([np.mean(d) for d in by_unit.values()])
        tests.append((a, b, Test.of(means), int(((means < 0) if lower else (means > 0)).sum())))
    ps = holm([test.p for _, _, test, _ in tests])
    level = 1 - (1 - LEVEL) / len(tests)
    found = [Difference(sides[a].name, sides[b].name, test, p, wins, scale, level, lower, unpaired)
             for (a, b, test, wins), p, unpaired in zip(tests, ps, alone, strict=True)]  # fmt: skip
    unit = units.pop() if len(units) == 1 else "pair"
    return Comparison(metric, unit, max(settings), found, min(settings), also)


def less_is_better(metric: str, board: Leaderboard) -> bool:
    """Whether lower values of a metric are better: by the runs' `mode`, if they monitored it on any part; else by its
    name.
    """
    bare, monitored = (re.sub(r"(train|val|test|metric)[/_]|[/_](train|val|test)$", "", m)
                       for m in (metric, board.metric))  # fmt: skip
    return board.mode == "min" if bare == monitored else bare not in GREATER


def _blocks(
    side: Side, keys: Sequence[str], board: Leaderboard, metric: str
) -> dict[tuple[str, str], tuple[float, int]]:
    """{(other settings, seed): (score, group of targets)}; runs with equal settings and seed are averaged."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    groups: dict[tuple[str, str], int] = {}
    aside = tuple(f"{key}." for key in keys)  # the arguments of a compared class are not other settings
    for row in side.rows:
        other = {k: v for k, v in row.parameters.items() if k not in keys and not _own(k, aside, row)}
        for entry in row.entries:
            value = entry.scores().get(metric) if metric != board.metric else board.value(entry)
            if value is None or not np.isfinite(value):
                continue
            at = (repr((row.origins.get(entry.folder), sorted(other.items(), key=str))), entry.seed)
            found[at].append(float(value))
            groups[at] = row.group
    if not found:
        measured = sorted({k for row in side.rows for k in row.scores()})
        raise UserError(f"--metric {metric}: {side.name} has no such score.{nearest(metric, measured)}")
    return {at: (float(np.mean(values)), groups[at]) for at, values in found.items()}


def _own(key: str, aside: tuple[str, ...], row: Row) -> bool:
    """Whether a key is an argument of a compared class, such as momentum for optimizer=SGD."""
    return bool(aside) and key.startswith(aside)
