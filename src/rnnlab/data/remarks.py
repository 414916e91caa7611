"""Remarks on a series that a user should read before a training: missing rows, drifts, and the sizes of the parts."""

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnlab.data.calendar import local, step_of
from rnnlab.data.frame import Frame, time_texts
from rnnlab.data.module import NAMES, SPLITS, Split
from rnnlab.data.per_window import MODES
from rnnlab.errors import counted

STRAY = 0.25  # from this share of rows outside the training range on, there is a remark


def leaps(where: str, times: np.ndarray, offsets: np.ndarray | None = None) -> list[str]:
    """A remark where times leap over missing rows: to a model, neighbouring rows are always one step apart."""
    step = step_of(times, offsets)
    if step is None:
        return []
    shown = local(times, offsets)
    # in UTC if the step is in microseconds: no row is missing where a local clock is set forward
    wide = np.flatnonzero(step.between(times if step.unit == "us" else shown) > 1.5)
    if not len(wide):
        return []
    first, last = (str(shown[i].astype("datetime64[s]")) for i in (wide[0], wide[0] + 1))
    return [
        f"{where}: {counted(len(wide), 'gap')} between the times, the first from {first} to {last}; to the model each "
        "is one step. data.resample makes the steps even"
    ]


def strays(
    where: str, values: np.ndarray, names: list[str], cuts: dict[Any, slice], scaling: str
) -> list[str]:
    """A remark on the column with the largest share of validation or test values outside the training range."""
    train = values[cuts["train"]]
    if scaling in MODES or not len(train):
        return []
    low, high = train.min(0), train.max(0)
    found: list[tuple[float, Split, str]] = []
    for split, part in ((s, values[cuts[s]]) for s in SPLITS[1:]):
        if len(part):
            outside = ((part < low) | (part > high)).mean(0)
            found += [(float(share), split, name) for share, name in zip(outside, names, strict=True)]
    share, split, name = max(found, default=(0.0, SPLITS[0], ""))
    if share < STRAY:
        return []
    return [
        f"{where}: {share:.0%} of the {NAMES[split]} part's {name} lies outside the range of the training part; "
        "data.scaling=window_last or window_standard scales each window by itself"
    ]


def parts_in_words(
    frame: Frame, rows: Callable[[Split], tuple[int, int]], windows: Callable[[Split], int]
) -> list[str]:
    """A line for each part: its rows, dates and number of windows; of several series the rows of the first."""
    found = []
    several = f" of {frame.series[0].name}, the first of {len(frame.groups)}" if frame.groups else ""
    for split, name in NAMES.items():
        first, end = rows(split)
        if end > first:
            ends = [first, end - 1]
            offsets = None if frame.offsets is None else frame.offsets[ends]
            times = frame.times[ends]
            if times.dtype.kind == "f":  # the times of a sine: six digits are enough here
                dates, what = " to ".join(f"{time:.6g}" for time in times), f"rows{several}, times"
            else:
                dates = " to ".join(time_texts(times, offsets))
                what = f"rows{several}," if times.dtype.kind == "M" else "rows"
            n = counted(windows(split), "window")
            found.append(f"{name:10} {end - first:,} {what} {dates}: {n}")
    return found
