"""Runs in order of their best value; those that differ by their seed alone are one row."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rnnlab import streams
from rnnlab.errors import warn
from rnnlab.runs.config_diff import config_diffs
from rnnlab.runs.identity import readable
from rnnlab.runs.run import Run, Say, legible, runs, silently

RESAMPLES = 2000  # of the bootstrap
COUNTER = 0x5EED  # where its draws lie in the stream "sample"
FEW = 6  # parameters that a row is named by


@dataclass(frozen=True)
class Entry:
    """One run, as far as a leaderboard looks at it."""

    folder: Path
    record: dict[str, Any]

    @property
    def value(self) -> float:
        return self.record.get("results", {}).get("best", {}).get("value", float("nan"))

    @property
    def seed(self) -> str:
        return self.folder.name.rpartition("seed-")[2].partition("-")[0]

    def scores(self) -> dict[str, float]:
        """{"val/mse": ..., "test/mse": ...} at the best validation."""
        results = self.record.get("results", {})
        best = results.get("best", {}).get("metrics", {})
        scores = {f"val/{k.removeprefix('metric/')}": v for k, v in best.items() if k.startswith("metric/")}
        return scores | {f"test/{k}": v for k, v in results.get("test", {}).items() if k != "loss"}

    @property
    def speed(self) -> float:
        """Optimizer steps a second, evaluation included."""
        seconds = self.record.get("seconds") or float("nan")
        return self.record.get("results", {}).get("steps", 0) / seconds


@dataclass
class Row:
    """Runs that differ by their seed alone. `parameters` are their values of the keys that differ between rows."""

    entries: list[Entry] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=dict)
    sized: bool = False  # whether its scores tell how large the model is

    @property
    def label(self) -> str:
        about = self.entries[0].record.get("label", "").replace("+", " ")
        if len(self.parameters) > FEW:  # another task or data set: what it is, and what it was asked to be
            kinds = [f"{k}={readable(v)}" for k, v in self.parameters.items() if k in ("model", "data")]
            return " ".join([*kinds, about])
        short = [key.rpartition(".")[2] for key in self.parameters]
        names = [s if short.count(s) == 1 else k for s, k in zip(short, self.parameters, strict=True)]
        said = [f"{n}={readable(v)}" for n, v in zip(names, self.parameters.values(), strict=True)]
        return " ".join(said) or about or "as it stands"

    @property
    def values(self) -> np.ndarray:
        return np.array([e.value for e in self.entries])

    @property
    def mean(self) -> float:
        return float(self.values.mean())

    @property
    def std(self) -> float:
        """Of the values, with n - 1; NaN for a single run."""
        return float(self.values.std(ddof=1)) if len(self.entries) > 1 else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        return bootstrap(self.values)

    def scores(self) -> dict[str, float]:
        found: dict[str, list[float]] = defaultdict(list)
        for entry in self.entries:
            for name, value in entry.scores().items():
                found[name].append(value)
        sizes = self.entries[0].record["results"] if self.sized else {}
        of_model = {name: sizes[name] for name in ("parameters", "multiplications") if name in sizes}
        return {name: float(np.mean(values)) for name, values in found.items()} | of_model

    @property
    def speed(self) -> float:
        return float(np.mean([e.speed for e in self.entries]))


def bootstrap(values: np.ndarray) -> tuple[float, float]:
    """95% percentile interval of the mean (Efron 1979) of `values` (n,); NaN for fewer than two."""
    if len(values) < 2:
        return float("nan"), float("nan")
    stream = streams.generator(0, "sample", COUNTER, len(values))
    means = values[stream.integers(0, len(values), (RESAMPLES, len(values)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


@dataclass
class Leaderboard:
    """`rows` best first; `references` are baselines and floor: (name, {"val/mse": ...})."""

    metric: str
    mode: str
    rows: list[Row]
    references: list[tuple[str, dict[str, float]]]
    others: list[Entry]  # runs without a result: failed, stopped, skipped, under way

    @property
    def mixed(self) -> str:
        """What a reader must know where the rows are of several tasks or data sets."""
        several = {key for row in self.rows for key in row.parameters} & {"data", "model"}
        return "These runs are of several tasks or data sets: their losses do not compare." if several else ""

    @property
    def primary(self) -> str:
        """The metric that the board's own is, or is in other units; "" where that cannot be told."""
        names = {column.partition("/")[2] for column in self.columns()}
        own = self.metric.removeprefix("metric/")
        return next((n for n in (own, "nats", "cross_entropy", "mse", "mae") if n in names), "")

    def columns(self) -> list[str]:
        names: dict[str, None] = {}
        for scores in [r.scores() for r in self.rows] + [s for _, s in self.references]:
            names |= dict.fromkeys(scores)
        return sorted(names, key=lambda n: (not n.startswith("val/"), n))

    def records(self) -> list[dict[str, Any]]:
        """The table as plain values, for files."""
        found: list[dict[str, Any]] = []
        for rank, row in enumerate(self.rows, 1):
            low, high = row.interval
            spread = {"std": row.std, "low": low, "high": high, "steps_per_s": row.speed}
            about = {"rank": rank, "what": row.label, "runs": len(row.entries), self.metric: row.mean}
            found.append(about | spread | row.scores())
        return found + [{"rank": None, "what": name} | scores for name, scores in self.references]


def leaderboard(
    entries: Iterable[Entry], mode: str, config_of: Callable[[Entry], dict[str, Any]], say: Say = warn
) -> Leaderboard:
    """`mode` says whether less is better, "" to go by the configs; `config_of` gives the config of a run.

    Of each row one run's config is read. Where it is damaged a line says so, and the run is left out.
    """
    groups: dict[str, Row] = {}
    others, metric = [], "loss/val"
    for entry in entries:
        if entry.record.get("status") != "finished" or not np.isfinite(entry.value):
            others.append(entry)
            continue
        metric = entry.record["results"]["best"].get("monitor", metric)
        key = entry.record.get("group") or entry.folder.name
        groups.setdefault(key, Row()).entries.append(entry)
    found, configs = [], []
    for row in groups.values():
        sound = next(legible(row.entries, config_of, say), None)
        if sound is not None:
            row.entries = row.entries[row.entries.index(sound[0]) :]
            found.append(row)
            configs.append(sound[1])
    for row, parameters in zip(found, config_diffs(configs), strict=True):
        row.parameters = parameters
    _drop_what_follows(found)
    for row in found:
        row.sized = any("model.cell" in one.parameters for one in found)
    mode = mode or (configs[0]["mode"] if configs else "min")
    sign = 1 if mode == "min" else -1
    rows = sorted(found, key=lambda row: sign * row.mean)
    return Leaderboard(metric, mode, rows, references([e for row in rows for e in row.entries]), others)


def _drop_what_follows(rows: Sequence[Row]) -> None:
    """Takes away what nobody asked for and what comes with a class: the weight decay of AdamW beside Adam's."""
    keys = {key for row in rows for key in row.parameters}
    below = {key for key in keys if key.rpartition(".")[0] in keys}
    if below:
        asked_by = [Run(row.entries[0].folder) for row in rows]
        lines = [
            o for _, overrides in legible(asked_by, lambda run: run.overrides, silently) for o in overrides
        ]
        asked = {line.lstrip("+~").partition("=")[0] for line in lines}
        for row in rows:
            row.parameters = {k: v for k, v in row.parameters.items() if k not in below or k in asked}


def references(entries: Sequence[Entry]) -> list[tuple[str, dict[str, float]]]:
    """Baselines and floor, each the mean over all runs."""
    sums: dict[str, dict[str, list[float]]] = {}
    for entry in entries:
        results = entry.record["results"]
        for split in ("val", "test"):
            found = dict(results.get("baselines", {}).get(split, {}))
            if floor := results.get("floor", {}).get(split):
                found["floor"] = floor
            for name, scores in found.items():
                for metric, value in scores.items():
                    sums.setdefault(name, {}).setdefault(f"{split}/{metric}", []).append(value)
    order = sorted(sums, key=lambda name: name == "floor")
    return [(name, {k: float(np.mean(v)) for k, v in sums[name].items()}) for name in order]


def of_experiment(folder: str | Path) -> Leaderboard:
    """The leaderboard of all runs in an experiment's folder; those that are damaged are left out with a warning."""
    return of_runs(runs(folder))


def of_runs(found: Sequence[Run], say: Say = warn) -> Leaderboard:
    entries = [Entry(run.folder, record) for run, record in legible(found, lambda run: run.record, say)]
    return leaderboard(entries, "", lambda entry: Run(entry.folder).config, say)


def number(value: float | None) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.2e}"


def between(row: Row) -> str:
    low, high = row.interval
    return f"{number(low)} to {number(high)}" if low == low else ""
