"""Warns where a part that is scored holds targets on which the model was trained: overrides may cut the data anew."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rnnlab.data.windows import Windowed
from rnnlab.errors import UserError, warn
from rnnlab.runs.data import load_data
from rnnlab.runs.run import Run

CUTTING = ("data.fractions", "data.origin", "data.split", "data.limit", "data.missing")
CUTTING_ROWS = ("data.batch_size", "data.segment")  # cut a text that is laid out in rows


def warn_of_training(
    run: Run, task: Any, data: Any, split: Any, overrides: Sequence[str], trust: bool
) -> None:
    """Warns, with a count for a series, if `overrides` move the `split` of `data` into what the run was trained on."""
    in_rows = data.kind == "text" and getattr(data, "split", "") == "rows"
    cutting = (*CUTTING, *CUTTING_ROWS) if in_rows else CUTTING
    asked = [o for o in overrides if o.lstrip("+").partition("=")[0] in cutting]
    if not asked or split == "train":
        return
    try:
        before = load_data(run, task.spec, trust=trust) if isinstance(data, Windowed) else None
    except UserError:  # the run's own file is not there any more
        before = None
    if before is None or len(before.frame.values) != len(data.frame.values):
        warn(f"{' '.join(asked)} cuts the data anew: the {split} part may hold what the model was trained on")
        return
    if not same(before, data):
        return
    trained = np.zeros(len(data.frame.values), dtype=bool)
    ahead = data.window + np.arange(data.horizon)
    trained[before.starts("train").numpy()[:, None] + ahead] = True
    starts = data.starts(split).numpy()
    targets = starts[:, None] + ahead  # (windows, horizon)
    if count := int(trained[targets].any(axis=1).sum()):
        warn(
            f"{' '.join(asked)}: the model was trained on targets of {count:,} of the {len(starts):,} windows of the "
            f"{split} part"
        )


def warn_of_known_rows(run: Run, task: Any, data: Any, trust: bool) -> None:
    """Warns, with a count, where new data begins with the rows of the training part, as a file does to which rows were
    appended.
    """
    if not isinstance(data, Windowed) or data.frame.groups:
        return
    try:
        before = load_data(run, task.spec, trust=trust)
    except UserError:  # the run's own file is not there any more
        return
    stop = before.rows("train")[1]
    starts = data.starts("test").numpy()
    if stop and same(before, data, stop):
        count = int((starts + data.window < stop).sum())
        warn(
            f"the new data begins with the rows of the training part: the model was trained on targets of {count:,} of "
            f"its {len(starts):,} windows"
        )


def same(before: Windowed, data: Windowed, rows: int | None = None) -> bool:
    """Whether two data sets have the same targets in all rows, or in the first `rows`. Each part fills its gaps by
    itself, so that a tenth of the values may differ where gaps are filled.
    """
    one, other = (of.frame.values[:rows, of.target_columns] for of in (before, data))
    least = 0.9 if getattr(data, "missing", "") == "interpolate" else 1.0
    return one.shape == other.shape and bool(
        ((one == other) | (np.isnan(one) & np.isnan(other))).mean() >= least
    )
