"""`Frame`: one or several series as they were read, before they are scaled and cut."""

from typing import NamedTuple

import numpy as np

from rnnlab.data.calendar import local


class Group(NamedTuple):
    """The rows [start, stop) of one series of a frame."""

    name: str
    start: int
    stop: int


class Frame(NamedTuple):
    """One unscaled series, or several one after the other: `values` (N, columns) float64, in the order of `columns`."""

    times: np.ndarray
    """(N,) increasing within each series: numbers or datetime64, in UTC where they had offsets."""
    values: np.ndarray
    inputs: list[str]
    targets: list[str]
    plain: int = 0
    """The last `plain` inputs are never scaled."""
    offsets: np.ndarray | None = None
    """(N,) minutes east of UTC, if the times were written with offsets."""
    groups: list[Group] = []  # noqa: RUF012  (never written to)
    """The series and their names; empty for a single series, which has no name."""

    @property
    def columns(self) -> list[str]:
        return self.inputs + [name for name in self.targets if name not in self.inputs]

    @property
    def series(self) -> list[Group]:
        """All series, also a single one without a name."""
        return self.groups or [Group("", 0, len(self.values))]

    def offsets_of(self, group: Group) -> np.ndarray | None:
        return None if self.offsets is None else self.offsets[group.start : group.stop]

    def first_row(self, rows: np.ndarray) -> np.ndarray:
        """The first row of the series that each of `rows` belongs to."""
        starts = np.array([group.start for group in self.series])
        return starts[np.searchsorted(starts, rows, side="right") - 1]

    def series_of(self, row: int) -> Group:
        """The series that a row belongs to; the last series for a row after the end."""
        return next((group for group in self.series if row < group.stop), self.series[-1])


class Stretch(NamedTuple):
    """A part of a series as it was measured: `times` (n,), `values` (n, columns) float64 in raw units."""

    times: np.ndarray
    values: np.ndarray


def time_texts(times: np.ndarray, offsets: np.ndarray | None = None) -> list[str]:
    """Times as ISO text, each with its offset (minutes east of UTC) if there is one; only days if all are midnights."""
    if times.dtype.kind != "M":
        return [str(time) for time in times]
    if offsets is None:
        whole = bool((times == times.astype("datetime64[D]")).all())
        return _written(times, "D" if whole else "us")
    shown = _written(local(times.astype("datetime64[us]"), offsets), "us")
    east = [f"{'+-'[o < 0]}{abs(o) // 60:02d}:{abs(o) % 60:02d}" for o in offsets.tolist()]
    return [f"{text}{offset}" for text, offset in zip(shown, east, strict=True)]


def _written(times: np.ndarray, unit: str) -> list[str]:
    return [str(time).removesuffix(".000000") for time in times.astype(f"datetime64[{unit}]")]
