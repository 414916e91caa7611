"""Runs that differ by their seed alone: a row of a leaderboard."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rnnlab.report import statistics
from rnnlab.report.entry import Entry, spelled
from rnnlab.report.grounds import References
from rnnlab.runs.identity import readable
from rnnlab.runs.record import EARLY
from rnnlab.terminal.screen import one_line

FEW = 6  # parameters that a row is named by


@dataclass(eq=False)
class Row:
    """Runs that differ by their seed alone. `parameters` are their values of the keys that differ between rows."""

    entries: list[Entry] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)  # of one of its runs
    metric: str = ""  # that rows are ranked by; "" for what each monitored
    group: int = 0  # rows of one group were scored on the same targets
    rank: int | None = None  # in its group; None where nothing is there to compare with
    apart: str = ""  # what the label needs to differ from every other row's
    lacking: list[Entry] = field(default_factory=list)  # its runs without a result
    origins: dict[Path, int] = field(
        default_factory=dict
    )  # of a backtest: the origin of each run, by its folder
    sized: bool = False  # whether its scores tell how large the model is

    @property
    def label(self) -> str:
        about = spelled(self.entries[0].record.get("label", ""))
        if len(self.parameters) > FEW:  # another task or data set: what it is, and what it was asked to be
            kinds = [f"{k}={readable(v)}" for k, v in self.parameters.items() if k in ("model", "data")]
            text = " ".join([*kinds, about])
        else:
            short = [key if key.endswith(".seed") else key.rpartition(".")[2] for key in self.parameters]
            names = [s if short.count(s) == 1 else k for s, k in zip(short, self.parameters, strict=True)]
            said = [f"{n}={_spelled(v)}" for n, v in zip(names, self.parameters.values(), strict=True)]
            if self.origins:  # it stands for all of them
                about = " ".join(part for part in about.split() if not part.startswith("origin="))
            text = " ".join(said) or about or "as it stands"
        return f"{text} {self.apart}".rstrip()

    @property
    def count(self) -> str:
        """How many runs its scores are of: "4", "2 of 4, 2 failed", "3, 1 stopped early at 440"."""
        n = len(self.entries)
        told = [f"{n} of {n + len(self.lacking)}" if self.lacking else str(n)]
        if self.origins:
            told.append(f"{len(set(self.origins.values()))} origins")
        early = sorted(e.record["results"]["steps"] for e in self.entries if e.record.get("status") == EARLY)
        if early:
            last = f" to {early[-1]:,}" if early[-1] > early[0] else ""
            told.append(f"{len(early)} {EARLY} at {early[0]:,}{last}")
        statuses = Counter(str(entry.record.get("status", "?")) for entry in self.lacking)
        return ", ".join([*told, *(f"{k} {s}" for s, k in statuses.items())])

    @property
    def values(self) -> np.ndarray:
        """One for each run; of a backtest one for each origin, the mean over its seeds."""
        each = np.array([e.at_best(self.metric) if self.metric else e.value for e in self.entries])
        if not self.origins:
            return each
        at = np.array([self.origins[e.folder] for e in self.entries])
        return np.array([each[at == origin].mean() for origin in sorted(set(self.origins.values()))])

    @property
    def mean(self) -> float:
        return float(self.values.mean())

    @property
    def std(self) -> float:
        """Of the values, with n - 1; NaN for a single one."""
        return float(self.values.std(ddof=1)) if len(self.values) > 1 else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """Of the typical run, see `statistics.interval`; NaN for a single run."""
        return statistics.interval(self.values, self.more_is_better)

    @property
    def more_is_better(self) -> bool:
        """Of the metric that `values` are of."""
        monitor = self.entries[0].monitor
        metric = self.metric or monitor
        watched = metric == monitor and self.config.get("mode") == "max"
        return watched or metric.rpartition("/")[2] in statistics.GREATER

    def scores(self) -> dict[str, float]:
        sizes = self.entries[0].record["results"] if self.sized else {}
        of_model = {name: sizes[name] for name in ("parameters", "multiplications") if name in sizes}
        return self._over(entry.scores() for entry in self.entries) | of_model

    @property
    def references(self) -> References:
        """Baselines and floor, each the mean over the row's own runs."""
        each = [entry.references for entry in self.entries]
        order = sorted(dict.fromkeys(name for one in each for name in one), key=lambda name: name == "floor")
        return {name: self._over(one.get(name, {}) for one in each) for name in order}

    def _over(self, scores: Iterable[dict[str, float]]) -> dict[str, float]:
        """The means of what each run has; of a backtest over the origins, each the mean over its seeds."""
        if not self.origins:
            return _means(scores)
        of: dict[int, list[dict[str, float]]] = defaultdict(list)
        for entry, one in zip(self.entries, scores, strict=True):
            of[self.origins[entry.folder]].append(one)
        return _means(_means(of[origin]) for origin in sorted(of))

    @property
    def by_draw(self) -> dict[str, Entry]:
        """Its runs by the seed, and by the origin where there are several: what decides the targets of a run."""
        return {f"{e.seed} {self.origins.get(e.folder, '')}": e for e in self.entries}

    @property
    def by_seed(self) -> dict[str, References]:
        return {draw: entry.references for draw, entry in self.by_draw.items()}

    def beside(self, metric: str) -> dict[str, tuple[str, float]]:
        """The score `metric` ("val/mse") beside what it should be seen with: {column: (name, value)}.

        "floor" and "over floor", then "best baseline" and "ratio" to it; without what is not known.
        """
        own, references = self.scores().get(metric), self.references
        found: dict[str, tuple[str, float]] = {}
        if own is None:
            return found
        if (floor := references.get("floor", {}).get(metric)) is not None:
            found |= {"floor": ("", floor), "over floor": ("", own - floor)}
        more_is_better = metric.endswith("/accuracy")
        simple = [(s[metric], n) for n, s in references.items() if n != "floor" and metric in s]
        if simple:
            value, name = max(simple) if more_is_better else min(simple)
            found["best baseline"] = (name, value)
            if value:
                found["ratio"] = ("", own / value)
        return found

    @property
    def speed(self) -> float:
        return float(np.mean([e.speed for e in self.entries]))


def _spelled(value: Any) -> str:
    """A value shortly, nothing and an empty list as a command writes them."""
    return "null" if value is None else "[]" if value == [] else readable(value)


def _means(scores: Iterable[dict[str, float]]) -> dict[str, float]:
    found: dict[str, list[float]] = defaultdict(list)
    for one in scores:
        for name, value in one.items():
            found[name].append(value)
    return {name: float(np.mean(values)) for name, values in found.items()}


ORIGIN = "data.origin"


def over_origins(rows: Sequence[Row]) -> list[Row]:
    """The rows, with those that differ by the origin of a backtest alone as one."""
    if not any(ORIGIN in row.parameters for row in rows):
        return list(rows)
    found: dict[str, Row] = {}
    for row in rows:
        origin = row.parameters.pop(ORIGIN, 0)
        one = found.setdefault(repr(sorted(row.parameters.items(), key=str)), row)
        one.origins |= {entry.folder: origin for entry in row.entries}
        if one is not row:
            one.entries, one.lacking = one.entries + row.entries, one.lacking + row.lacking
    return list(found.values())


def tell_apart(rows: Sequence[Row]) -> None:
    """Completes labels that several rows share: by whole values, and by the id where those are the same, too."""
    labels = Counter(row.label for row in rows)
    for row in rows:
        if labels[row.label] > 1:
            cut = [
                one_line(f"{k}={v}")
                for k, v in row.parameters.items()
                if isinstance(v, str) and readable(v) != v
            ]
            row.apart = f"({', '.join(cut)})" if cut else ""
    labels = Counter(row.label for row in rows)
    for row in rows:
        if labels[row.label] > 1:
            row.apart = f"{row.apart} [{row.entries[0].folder.name.rpartition('-')[2]}]".strip()
