"""Warns where a part that is scored holds targets on which the model was trained: overrides may cut the data anew."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnnlab.data.windows import Windowed
from rnnlab.errors import warn
from rnnlab.runs.data import changed, load_data
from rnnlab.runs.run import Run

CUTS = ("data.fractions", "data.origin", "data.split", "data.limit")
LAID = ("data.batch_size", "data.segment")  # cut a text that is laid out in rows


def warn_of_training(
    run: Run, task: Any, data: Any, split: Any, overrides: Sequence[str], trust: bool
) -> None:
    """Warns, with a count for a series, if `overrides` move the `split` of `data` into what the run was trained on."""
    cuts = (*CUTS, *LAID) if data.kind == "text" and getattr(data, "split", "") == "rows" else CUTS
    asked = [o for o in overrides if o.lstrip("+").partition("=")[0] in cuts]
    if not asked or split == "train":
        return
    if not isinstance(data, Windowed):
        warn(f"{' '.join(asked)} cuts the data anew: the {split} part may hold what the model was trained on")
        return
    before = load_data(run, task.spec, trust=trust)
    if not np.array_equal(before.frame.values, data.frame.values, equal_nan=True):
        return
    trained = np.zeros(len(data.frame.values), dtype=bool)
    learned = before.starts("train").numpy()
    for ahead in range(before.horizon):
        trained[learned + before.window + ahead] = True
    starts = data.starts(split).numpy()
    targets = starts[:, None] + data.window + np.arange(data.horizon)  # (windows, horizon)
    if count := int(trained[targets].any(axis=1).sum()):
        warn(
            f"{' '.join(asked)}: the model was trained on targets of {count:,} of the {len(starts):,} windows of the "
            f"{split} part"
        )


def warn_of_own_source(run: Run, overrides: Sequence[str]) -> None:
    """Warns if the file or the corpus in `overrides`, which is scored as a whole, is the one of the training."""
    before, now = (_source(config["data"]) for config in (run.config, changed(run.config, overrides)))
    if before == now:
        warn(
            f"{' '.join(overrides)}: the model was trained on a part of this data, and all of it is scored; "
            "--split test scores the test part alone"
        )


def _source(data: dict[str, Any]) -> list[Path]:
    """The files of a `data` node, or its corpus as if it were one."""
    found = data.get("path") or data.get("corpus") or ()
    return [Path(one).resolve() for one in ([found] if isinstance(found, str) else found)]
