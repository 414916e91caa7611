"""Chooses the metric for ranking rows, and ranks them, separately for different targets."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from rnnlab.report import comparability
from rnnlab.report.comparability import IN_DATA_UNITS, References
from rnnlab.report.entry import LOSS
from rnnlab.report.row import Row
from rnnlab.runs.run import Run, legible, silently

FEW = 8  # up to so many groups, a row is compared with each; beyond, `marks` select candidates


def ranked(rows: list[Row], mode: str) -> tuple[str, str, list[str]]:
    """Sorts the rows and ranks them within their groups; ties get the same rank. Returns the metric, its mode, and
    remarks. Rows without a finite mean come last and have no rank.
    """
    metric, mode, why = ranking_metric(rows, mode)
    for row in rows:
        row.metric = metric
    for row, group in zip(rows, groups(rows), strict=True):
        row.group = group
    sizes = Counter(row.group for row in rows)
    sign = 1 if mode == "min" else -1
    if metric:
        means = {row: row.mean for row in rows}
        finite = {row: bool(np.isfinite(mean)) for row, mean in means.items()}
        rows.sort(key=lambda row: (row.group, not finite[row], sign * means[row] if finite[row] else 0.0))
        for i, (row, place) in enumerate(zip(rows, places(rows), strict=True)):
            tied = i > 0 and rows[i - 1].group == row.group and means[rows[i - 1]] == means[row]
            row.rank = rows[i - 1].rank if tied else place
            if not finite[row] or sizes[row.group] == 1 < len(sizes):
                row.rank = None
    else:
        rows.sort(key=lambda row: row.group)
    return metric or LOSS, mode, [why] if why else []


def groups(rows: Sequence[Row]) -> list[int]:
    """The number of each row's group. A row belongs to the group whose first row was scored on the same targets.

    Where there are many groups, a row is compared only with first rows that share a baseline's score or the data's
    config, so that the time does not grow with the square of the number of rows.
    """
    firsts: list[tuple[Row, Mapping[str, References], dict[str, Any], dict[str, Any]]] = []
    by_mark: dict[Hashable, set[int]] = defaultdict(set)
    found = []
    for row in rows:
        own, data, origins = row.by_seed, row.config.get("data", {}), set(row.origins.values())
        limits = comparability.limits(row.config)
        # a fixed data seed: another draw of the data than with the run's seed
        if data.get("seed") not in (None, row.config.get("seed")):
            data = {**data, "fixed seed": data["seed"]}
        if origins:  # a backtest: the config has only one of the origins
            data = {key: value for key, value in data.items() if key != "origin"}
        near: Iterable[int] = range(len(firsts))
        if len(firsts) > FEW:
            marks = comparability.marks(own, data)
            near = sorted({i for mark in marks for at in mark.beside() for i in by_mark.get(at, ())})
        group = len(firsts)
        for i in near:
            first, theirs, other, limited = firsts[i]
            if (
                limited == limits
                and set(first.origins.values()) == origins
                and comparability.same_targets(theirs, own, other, data)
                and _one_content(first, row)
            ):
                group = i
                break
        if group == len(firsts):
            firsts.append((row, own, data, limits))
            for mark in comparability.marks(own, data):
                by_mark[mark].add(group)
        found.append(group)
    return found


def _one_content(a: Row, b: Row) -> bool:
    """Whether two rows that read different files have the same data, by the hashes in their manifests.

    Baselines alone cannot tell: two texts may have the same n-gram counts.
    """
    if comparability.source(a.config.get("data", {})) == comparability.source(b.config.get("data", {})):
        return True
    of_a, of_b = a.by_draw, b.by_draw
    for draw in of_a.keys() & of_b.keys():
        pair = (of_a[draw], of_b[draw])
        read = [manifest for _, manifest in legible(pair, lambda entry: Run(entry.folder).manifest, silently)]
        hashes = {manifest.get("data_hash") for manifest in read} - {None}
        if len(hashes) > 1:
            return False
    return True


def places(rows: Sequence[Row]) -> list[int]:
    """The position, from 1, of each of the sorted rows in its group."""
    found: Counter[int] = Counter()
    return [found.update([row.group]) or found[row.group] for row in rows]


def ranking_metric(rows: Sequence[Row], mode: str) -> tuple[str, str, str]:
    """The metric by which all rows can be ranked, its mode, and a remark. It is the monitored metric, or, where that is
    a loss whose unit differs between rows, a metric in the data's units; "" where there is none.
    """
    if not rows:
        return LOSS, mode, ""
    monitored = {entry.monitor for row in rows for entry in row.entries}
    modes = {row.config.get("mode", mode) for row in rows}
    alike = len(monitored) == 1 == len(modes)
    if alike and (monitored != {LOSS} or _one_unit(rows)):
        return monitored.pop(), modes.pop(), ""
    shared = set.intersection(*(set(e.best.get("metrics", {})) for row in rows for e in row.entries))
    why = (
        f"the unit of the loss differs from {'origin to origin' if any(r.origins for r in rows) else 'row to row'}"
        if alike
        else "runs monitor different metrics, or in different modes"
    )
    for name in IN_DATA_UNITS:
        if f"metric/{name}" in shared:
            return (
                f"metric/{name}",
                "min",
                f"{why[0].upper()}{why[1:]}: ranked by val/{name} instead, at each run's best step.",
            )
    return (
        "",
        mode,
        f"These rows do not compare and are not ranked: {why}, and they have no metric in common.",
    )


def _one_unit(rows: Sequence[Row]) -> bool:
    """Whether the losses of all rows have the same unit, by their configs or their measured values."""
    if any(row.origins for row in rows):
        return False  # each origin has its own scale
    first = rows[0]
    decides = comparability.decides_unit(first.config)

    def units(row: Row) -> dict[str, tuple[str | None, float]]:
        loss = row.config.get("model", {}).get("loss")
        return {e.seed: comparability.unit(e.best, loss) for e in row.entries}

    ours = units(first)
    for row in rows[1:]:
        if comparability.decides_unit(row.config) == decides:
            continue
        theirs = units(row)
        pairs = [(ours[s], theirs[s]) for s in ours.keys() & theirs.keys()]
        pairs = pairs or list(itertools.product(ours.values(), theirs.values()))
        if not all(comparability.same_unit(a, b) for a, b in pairs):
            return False
    return True


def several_targets(rows: Sequence[Row]) -> str:
    n = len({row.group for row in rows})
    kept = any(row.rank for row in rows)
    within = "rows are ranked within each, and not across them" if kept else "their scores do not compare"
    return f"These runs were scored on {n} different data sets or targets: {within}."
