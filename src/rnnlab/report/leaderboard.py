"""Runs in order of their score; those that differ by their seed alone are one row.

Rows that were scored on different targets are ranked apart, each group by itself.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rnnlab.errors import warn
from rnnlab.report import grounds, statistics
from rnnlab.report.grounds import IN_DATA_UNITS, References
from rnnlab.runs.config_diff import config_diffs
from rnnlab.runs.identity import readable
from rnnlab.runs.run import Run, Say, legible, runs, silently
from rnnlab.terminal.screen import one_line

FEW = 6  # parameters that a row is named by
LOSS = "loss/val"


@dataclass(frozen=True)
class Entry:
    """One run, as far as a leaderboard looks at it."""

    folder: Path
    record: dict[str, Any]

    @property
    def best(self) -> dict[str, Any]:
        return self.record.get("results", {}).get("best", {})

    @property
    def value(self) -> float:
        """Of the monitored metric, at its best."""
        return self.best.get("value", float("nan"))

    @property
    def monitor(self) -> str:
        return self.best.get("monitor", LOSS)

    def at_best(self, metric: str) -> float:
        """A metric at the best validation; NaN where it was not measured."""
        if metric == self.monitor:
            return self.value
        return self.best.get("metrics", {}).get(metric, float("nan"))

    @property
    def references(self) -> References:
        return grounds.references_of(self.record.get("results", {}))

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


@dataclass(eq=False)
class Row:
    """Runs that differ by their seed alone. `parameters` are their values of the keys that differ between rows."""

    entries: list[Entry] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)  # of one of its runs
    metric: str = ""  # that rows are ranked by; "" for what each monitored
    group: int = 0  # rows of one group were scored on the same targets
    rank: int | None = None  # in its group; None where nothing is there to compare with
    apart: str = ""  # what the label needs to differ from every other row's
    sized: bool = False  # whether its scores tell how large the model is

    @property
    def label(self) -> str:
        about = self.entries[0].record.get("label", "").replace("+", " ")
        if len(self.parameters) > FEW:  # another task or data set: what it is, and what it was asked to be
            kinds = [f"{k}={readable(v)}" for k, v in self.parameters.items() if k in ("model", "data")]
            text = " ".join([*kinds, about])
        else:
            short = [key if key.endswith(".seed") else key.rpartition(".")[2] for key in self.parameters]
            names = [s if short.count(s) == 1 else k for s, k in zip(short, self.parameters, strict=True)]
            said = [f"{n}={readable(v)}" for n, v in zip(names, self.parameters.values(), strict=True)]
            text = " ".join(said) or about or "as it stands"
        return f"{text} {self.apart}".rstrip()

    @property
    def values(self) -> np.ndarray:
        return np.array([e.at_best(self.metric) if self.metric else e.value for e in self.entries])

    @property
    def mean(self) -> float:
        return float(self.values.mean())

    @property
    def std(self) -> float:
        """Of the values, with n - 1; NaN for a single run."""
        return float(self.values.std(ddof=1)) if len(self.entries) > 1 else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """Of the typical run, see `statistics.interval`; NaN for a single run."""
        return statistics.interval(self.values, self.metric or self.entries[0].monitor)

    def scores(self) -> dict[str, float]:
        sizes = self.entries[0].record["results"] if self.sized else {}
        of_model = {name: sizes[name] for name in ("parameters", "multiplications") if name in sizes}
        return _means(entry.scores() for entry in self.entries) | of_model

    @property
    def references(self) -> References:
        """Baselines and floor, each the mean over the row's own runs."""
        found: dict[str, list[dict[str, float]]] = {}
        for entry in self.entries:
            for name, scores in entry.references.items():
                found.setdefault(name, []).append(scores)
        order = sorted(found, key=lambda name: name == "floor")
        return {name: _means(found[name]) for name in order}

    @property
    def by_seed(self) -> dict[str, References]:
        return {entry.seed: entry.references for entry in self.entries}

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


def _means(scores: Iterable[dict[str, float]]) -> dict[str, float]:
    found: dict[str, list[float]] = defaultdict(list)
    for one in scores:
        for name, value in one.items():
            found[name].append(value)
    return {name: float(np.mean(values)) for name, values in found.items()}


@dataclass
class Leaderboard:
    """`rows` best first, group by group; `references` are baselines and floor, where all rows have the same:
    (name, {"val/mse": ...}). Where rows have their own, `Row.beside` has them.
    """

    metric: str
    mode: str
    rows: list[Row]
    references: list[tuple[str, dict[str, float]]]
    others: list[Entry]  # runs without a result: failed, stopped, skipped, under way
    notes: list[str] = field(default_factory=list)  # what a reader must know

    @property
    def groups(self) -> int:
        """The number of groups of rows with the same targets."""
        return len({row.group for row in self.rows})

    @property
    def own_references(self) -> bool:
        """Whether baselines or floor differ from row to row."""
        return not self.references and any(row.references for row in self.rows)

    def value(self, entry: Entry) -> float:
        """The score that a run is ranked by."""
        return entry.at_best(self.metric)

    def rank_entries(self, entries: Sequence[Entry]) -> list[Entry]:
        sign = 1 if self.mode == "min" else -1
        return sorted(entries, key=lambda e: sign * self.value(e))

    @property
    def primary(self) -> str:
        """The metric that the board's own is, or is in other units; "" where that cannot be told."""
        names = {column.partition("/")[2] for column in self.columns()}
        own = self.metric.removeprefix("metric/")
        return next((n for n in (own, *IN_DATA_UNITS) if n in names), "")

    def columns(self) -> list[str]:
        names: dict[str, None] = {}
        for scores in [r.scores() for r in self.rows] + [s for _, s in self.references]:
            names |= dict.fromkeys(scores)
        return sorted(names, key=lambda n: (not n.startswith("val/"), n))

    def beside(self) -> dict[str, list[tuple[str, float] | None]]:
        """The columns of `Row.beside`, a value for each row; {} where all rows share baselines and floor."""
        if not self.own_references:
            return {}
        found = [row.beside(f"val/{self.primary}") for row in self.rows]
        keys = [
            k for k in ("floor", "over floor", "best baseline", "ratio") if any(k in one for one in found)
        ]
        return {key: [one.get(key) for one in found] for key in keys}

    def records(self) -> list[dict[str, Any]]:
        """The table as plain values, for files."""
        found: list[dict[str, Any]] = []
        for row in self.rows:
            low, high = row.interval
            spread = {"std": row.std, "low": low, "high": high, "steps_per_s": row.speed}
            about: dict[str, Any] = {"rank": row.rank, "what": row.label, "runs": len(row.entries)}
            about |= {"data_group": row.group + 1} if self.groups > 1 else {}
            own = {f"{name} {k}": v for name, s in row.references.items() for k, v in s.items()}
            found.append(
                about | {self.metric: row.mean} | spread | row.scores() | (own if self.own_references else {})
            )
        return found + [{"rank": None, "what": name} | scores for name, scores in self.references]


def leaderboard(
    entries: Iterable[Entry], mode: str, config_of: Callable[[Entry], dict[str, Any]], say: Say = warn
) -> Leaderboard:
    """`mode` says whether less is better, "" to go by the configs; `config_of` gives the config of a run.

    Of each row one run's config is read. Where it is damaged a line says so, and the run is left out.
    """
    groups: dict[str, Row] = {}
    others = []
    for entry in entries:
        if entry.record.get("status") != "finished" or not np.isfinite(entry.value):
            others.append(entry)
            continue
        key = entry.record.get("group") or entry.folder.name
        groups.setdefault(key, Row()).entries.append(entry)
    found = []
    for row in groups.values():
        sound = next(legible(row.entries, config_of, say), None)
        if sound is not None:
            row.entries = row.entries[row.entries.index(sound[0]) :]
            row.config = sound[1]
            found.append(row)
    for row, parameters in zip(found, config_diffs([row.config for row in found]), strict=True):
        row.parameters = parameters
    _drop_what_follows(found)
    for row in found:
        row.sized = any("model.cell" in one.parameters for one in found)
    tell_apart(found)
    metric, mode, notes = ranked(found, mode or (found[0].config["mode"] if found else "min"))
    if len({row.group for row in found}) > 1:
        notes.append(several_targets(found))
    board = Leaderboard(metric, mode, found, references(found), others, notes)
    if board.own_references and board.primary:
        notes.append(f"Floor and best baseline are of val/{board.primary}, each row's own.")
    return board


def ranked(rows: list[Row], mode: str) -> tuple[str, str, list[str]]:
    """Sorts the rows and ranks them within their groups; returns the metric, its mode, and what to know of it."""
    metric, mode, why = ranking_metric(rows, mode)
    first_of: list[Row] = []
    for row in rows:
        row.metric = metric
        own, data = row.by_seed, row.config.get("data", {})
        for i, first in enumerate(first_of):
            if grounds.same_targets(first.by_seed, own, first.config.get("data", {}), data):
                row.group = i
                break
        else:
            row.group = len(first_of)
            first_of.append(row)
    sizes = Counter(row.group for row in rows)
    sign = 1 if mode == "min" else -1
    if metric:
        rows.sort(key=lambda row: (row.group, not np.isfinite(row.mean), sign * row.mean))
        places: Counter[int] = Counter()
        for row in rows:
            places[row.group] += 1
            row.rank = places[row.group] if sizes[row.group] > 1 or len(sizes) == 1 else None
    else:
        rows.sort(key=lambda row: row.group)
    return metric or LOSS, mode, [why] if why else []


def ranking_metric(rows: Sequence[Row], mode: str) -> tuple[str, str, str]:
    """What all rows can be ranked by: what they monitored, or a metric in the data's units where that is a loss whose
    unit differs from row to row; "" where there is none. With the mode, and a line about it.
    """
    monitored = {entry.monitor for row in rows for entry in row.entries} or {LOSS}
    if not rows:
        return LOSS, mode, ""
    if len(monitored) == 1 and (monitored != {LOSS} or _one_unit(rows)):
        return monitored.pop(), mode, ""
    common = [{k for e in row.entries for k in e.best.get("metrics", {})} for row in rows]
    shared = set.intersection(*common)
    why = (
        "the unit of the loss differs from row to row"
        if len(monitored) == 1
        else "runs monitor different metrics"
    )
    for name in IN_DATA_UNITS:
        if f"metric/{name}" in shared:
            return f"metric/{name}", "min", f"{why[0].upper()}{why[1:]}: ranked by val/{name} instead."
    return (
        "",
        mode,
        f"These rows do not compare and are not ranked: {why}, and they have no metric in common.",
    )


def _one_unit(rows: Sequence[Row]) -> bool:
    """Whether the loss of all rows is in one unit, by the config or by what was measured."""
    first = rows[0]
    decides = grounds.decides_unit(first.config)

    def units(row: Row) -> dict[str, tuple[str | None, float]]:
        loss = row.config.get("model", {}).get("loss")
        return {e.seed: grounds.unit(e.best, loss) for e in row.entries}

    ours = units(first)
    for row in rows[1:]:
        if grounds.decides_unit(row.config) == decides:
            continue
        theirs = units(row)
        pairs = [(ours[s], theirs[s]) for s in ours.keys() & theirs.keys()]
        pairs = pairs or [(next(iter(ours.values())), next(iter(theirs.values())))]
        if not all(grounds.same_unit(a, b) for a, b in pairs):
            return False
    return True


def several_targets(rows: Sequence[Row]) -> str:
    n = len({row.group for row in rows})
    kept = any(row.rank for row in rows)
    within = "rows are ranked within each, and not across them" if kept else "their scores do not compare"
    return f"These runs were scored on {n} different data sets or targets: {within}."


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


def references(rows: Sequence[Row]) -> list[tuple[str, dict[str, float]]]:
    """Baselines and floor, each the mean over all runs; [] where rows have their own."""
    if not rows or not all(grounds.same_references(rows[0].by_seed, row.by_seed) for row in rows):
        return []
    if len({row.group for row in rows}) > 1:
        return []
    together = Row([entry for row in rows for entry in row.entries])
    return list(together.references.items())


def of_experiment(folder: str | Path) -> Leaderboard:
    """The leaderboard of all runs in an experiment's folder; those that are damaged are left out with a warning."""
    return of_runs(runs(folder))


def of_runs(found: Sequence[Run], say: Say = warn) -> Leaderboard:
    entries = [Entry(run.folder, record) for run, record in legible(found, lambda run: run.record, say)]
    return leaderboard(entries, "", lambda entry: Run(entry.folder).config, say)


def why_no_score(entry: Entry) -> str:
    """Why a run is not on the board, in a line; "" where its status says it all."""
    if why := str(entry.record.get("why") or "").partition("\n")[0]:
        return why
    if entry.record.get("status") != "finished":
        return ""
    if "value" not in entry.best:
        return (
            f"it ended after {entry.record.get('results', {}).get('steps', 0):,} steps without a validation"
        )
    return f"its best {entry.monitor} is {entry.value}"


def number(value: float | None) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.2e}"


def cell(one: tuple[str, float] | None) -> str:
    """A cell of `Leaderboard.beside`."""
    return f"{one[0]} {number(one[1])}".strip() if one else ""


def between(row: Row) -> str:
    low, high = row.interval
    return f"{number(low)} to {number(high)}" if low == low else ""
