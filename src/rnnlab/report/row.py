"""A row of a leaderboard: the runs that differ only in their seed."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rnnlab.errors import counted
from rnnlab.report import statistics
from rnnlab.report.comparability import References
from rnnlab.report.entry import Entry, spelled
from rnnlab.runs.identity import readable
from rnnlab.runs.record import EARLY
from rnnlab.terminal.screen import one_line

FEW = 6  # the most parameters in a row's label
# keys for which 1 is one batch, and 1.0 all of them
SHARES = (
    "trainer.limit_train_batches", "trainer.limit_val_batches", "trainer.limit_test_batches",
    "trainer.overfit_batches", "trainer.val_check_interval",
)  # fmt: skip


@dataclass(eq=False)
class Row:
    """The runs that differ only in their seed. `parameters`: their values of the keys that differ between rows."""

    entries: list[Entry] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)  # of one of its runs
    metric: str = ""  # the metric of the ranking; "": each run's monitored metric
    group: int = 0  # rows of one group were scored on the same targets
    rank: int | None = None  # in its group; None where it is alone in one of several groups, or not finite
    apart: str = ""  # an addition that makes the label unique
    lacking: list[Entry] = field(default_factory=list)  # its runs without a result
    origins: dict[Path, int] = field(default_factory=dict)  # for a backtest: {folder of a run: its origin}
    sized: bool = False  # whether its scores include the model's size

    @property
    def label(self) -> str:
        about = spelled(self.entries[0].record.get("label", ""))
        if len(self.parameters) > FEW:  # another task or data set: its classes and its overrides are enough
            kinds = [f"{k}={readable(v)}" for k, v in self.parameters.items() if k in ("model", "data")]
            text = " ".join([*kinds, about])
        else:
            short = [key if key.endswith(".seed") else key.rpartition(".")[2] for key in self.parameters]
            names = [s if short.count(s) == 1 else k for s, k in zip(short, self.parameters, strict=True)]
            said = [f"{n}={written(k, v)}" for n, (k, v) in zip(names, self.parameters.items(), strict=True)]
            if self.origins:  # the row contains all origins
                about = " ".join(part for part in about.split() if not part.startswith("origin="))
            text = " ".join(said) or about or "as it stands"
        return f"{text} {self.apart}".rstrip()

    @property
    def count(self) -> str:
        """The number of runs with a score, as text: "4", "2 of 4, 2 failed", "3, 1 stopped early at 440"."""
        n = len(self.entries)
        told = [f"{n} of {n + len(self.lacking)}" if self.lacking else str(n)]
        if self.origins:
            told.append(counted(len(set(self.origins.values())), "origin"))
        early = sorted(e.record["results"]["steps"] for e in self.entries if e.record.get("status") == EARLY)
        if early:
            last = f" to {early[-1]:,}" if early[-1] > early[0] else ""
            told.append(f"{len(early)} {EARLY} at {early[0]:,}{last}")
        statuses = Counter(str(entry.record.get("status", "?")) for entry in self.lacking)
        return ", ".join([*told, *(f"{k} {s}" for s, k in statuses.items())])

    @property
    def values(self) -> np.ndarray:
        """The score of each run; for a backtest of each origin, as the mean over its seeds."""
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
        """The standard deviation of the values (with n - 1); NaN for a single one."""
        return float(self.values.std(ddof=1)) if len(self.values) > 1 else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """The interval of the typical run, see `statistics.interval`; NaN for a single run."""
        return statistics.interval(self.values, self.more_is_better)

    @property
    def more_is_better(self) -> bool:
        """Whether higher `values` are better."""
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
        """{name: mean over the runs}; for a backtest the mean over origins, each the mean over its seeds."""
        if not self.origins:
            return _means(scores)
        of: dict[int, list[dict[str, float]]] = defaultdict(list)
        for entry, one in zip(self.entries, scores, strict=True):
            of[self.origins[entry.folder]].append(one)
        return _means(_means(of[origin]) for origin in sorted(of))

    @property
    def by_draw(self) -> dict[str, Entry]:
        """{seed, and the origin of a backtest: run}: these decide the targets of a run."""
        return {f"{e.seed} {self.origins.get(e.folder, '')}": e for e in self.entries}

    @property
    def by_seed(self) -> dict[str, References]:
        return {draw: entry.references for draw, entry in self.by_draw.items()}

    def beside(self, metric: str) -> dict[str, tuple[str, float]]:
        """Values with which the score `metric` ("val/mse") should be compared: {column: (name, value)}.

        The columns are "floor" and "over floor", "best baseline" and "ratio" to it; unknown ones are left out.
        """
        own, references = self.scores().get(metric), self.references
        found: dict[str, tuple[str, float]] = {}
        if own is None:
            return found
        if (floor := references.get("floor", {}).get(metric)) is not None:
            found |= {"floor": ("", floor), "over floor": ("", own - floor)}
        more_is_better = metric.rpartition("/")[2] in statistics.GREATER
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


def written(key: str, value: Any) -> str:
    """A value of a key as a short text; numbers, null and [] as in a command, and 1.0 where 1 means something else."""
    if isinstance(value, float):
        return f"{value:.1f}" if key in SHARES and value.is_integer() else f"{value:g}"
    return "null" if value is None else "[]" if value == [] else readable(value)


def _means(scores: Iterable[dict[str, float]]) -> dict[str, float]:
    found: dict[str, list[float]] = defaultdict(list)
    for one in scores:
        for name, value in one.items():
            found[name].append(value)
    return {name: float(np.mean(values)) for name, values in found.items()}


ORIGIN = "data.origin"


def over_origins(rows: Sequence[Row]) -> list[Row]:
    """The rows, where rows that differ only in the origin of a backtest are merged into one."""
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
    """Makes equal labels of rows different: by full values, or, where these are equal too, by the id."""
    labels = Counter(row.label for row in rows)
    for row in rows:
        if labels[row.label] > 1:
            cut = [
                one_line(f"{k}={v}")
                for k, v in row.parameters.items()
                if (isinstance(v, str) and readable(v) != v)
                or (isinstance(v, float) and float(f"{v:g}") != v)
            ]
            row.apart = f"({', '.join(cut)})" if cut else ""
    labels = Counter(row.label for row in rows)
    for row in rows:
        if labels[row.label] > 1:
            row.apart = f"{row.apart} [{row.entries[0].folder.name.rpartition('-')[2]}]".strip()
