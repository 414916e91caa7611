"""Resamples a series: means over bins of equal length."""

import re
from typing import Any

import numpy as np

from rnnlab.config.data_schema import PERIOD
from rnnlab.data.calendar import MINUTE, local
from rnnlab.errors import UserError, counted

UNITS: dict[str, Any] = {  # rnnlab's unit: (count, NumPy's unit)
    "s": (1, "s"), "min": (1, "m"), "h": (1, "h"), "d": (1, "D"), "w": (7, "D"),
    "month": (1, "M"), "quarter": (3, "M"), "year": (12, "M"),
}  # fmt: skip


def period(text: str) -> np.timedelta64:
    """'30min', '2h', '1d', 'h', '3month' as a length of time. Raises UserError for anything else."""
    found = re.fullmatch(PERIOD, text)
    if not found:
        raise UserError(f"data.resample={text}: must be a period such as 30min, 2h, 1d, 1month")
    count, unit = UNITS[found[2]]
    return np.timedelta64(int(found[1] or 1) * count, unit)


def in_words(length: np.timedelta64) -> str:
    """A length of time as text: "1 hour", "30 minutes"."""
    number, unit = str(length).split()
    return counted(int(number), unit.removesuffix("s"))


def resampled(
    times: np.ndarray, values: np.ndarray, offsets: np.ndarray | None, length: np.timedelta64
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """`means` for times in UTC: start times in UTC, means, and the offset of each bin, which is that of its first row.

    With offsets, bins of a day or longer follow the local calendar. Shorter bins follow UTC, because a local clock that
    is set back shows one hour twice.
    """
    if offsets is None:
        return *means(times, values, length), None
    of_calendar = np.datetime_data(length.dtype)[0] in ("D", "M")
    shown = local(times, offsets) if of_calendar else times
    order = np.argsort(shown, kind="stable")  # local times go back where the offset decreases
    shown, values, offsets = shown[order], values[order], offsets[order]
    starts, values = means(shown, values, length)
    of_bins = offsets[np.searchsorted(shown, starts).clip(max=len(shown) - 1)]
    return (starts - of_bins * MINUTE if of_calendar else starts), values, of_bins


def means(times: np.ndarray, values: np.ndarray, length: np.timedelta64) -> tuple[np.ndarray, np.ndarray]:
    """Start times and means of bins, which start at multiples of `length` after the first row's midnight (or its year,
    for months).

    times (N,) datetime64, values (N, columns) with NaN where missing -> (M,), (M, columns). The mean of a bin is over
    the values that it has, NaN if it has none. There is a bin for every length from the first row to the last. Raises
    UserError where there would be too many bins.
    """
    by_month = np.datetime_data(length.dtype)[0] == "M"
    if by_month:  # counted from January, so that bins whose length divides a year are the same in every year
        midnight, times = (
            times[0].astype("datetime64[Y]").astype("datetime64[M]"),
            times.astype("datetime64[M]"),
        )
    else:
        midnight = times[0].astype("datetime64[D]")
    bins = (times - midnight) // length
    bins, first = bins - bins[0], bins[0]
    n = int(bins[-1]) + 1
    if n > max(100 * len(times), 1_000_000):
        raise UserError(
            f"data.resample: steps of {in_words(length)} make {n:,} rows of {len(times):,}; take longer ones"
        )
    there = np.isfinite(values)
    sums = [
        np.bincount(bins, np.where(ok, column, 0.0), n) for column, ok in zip(values.T, there.T, strict=True)
    ]
    counts = [np.bincount(bins, ok, n) for ok in there.T]
    with np.errstate(invalid="ignore"):
        mean = np.stack(sums, axis=1) / np.stack(counts, axis=1)
    starts = midnight if by_month else midnight.astype("datetime64[us]")
    return (starts + (first + np.arange(n)) * length).astype("datetime64[us]"), mean
