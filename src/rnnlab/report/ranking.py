"""What rows can be ranked by, and their ranks: apart where they were scored on different targets."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from rnnlab.report import grounds
from rnnlab.report.entry import LOSS
from rnnlab.report.grounds import IN_DATA_UNITS
from rnnlab.report.row import Row


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
