"""The calendar of a series: its step, season and future times, calendar features and public holidays."""

import importlib.util
from typing import NamedTuple

import numpy as np

from rnnlab.errors import UserError, nearest

DAY = 86_400_000_000  # microseconds
MINUTE = np.timedelta64(1, "m")
NAMES = ((7 * DAY, "week"), (DAY, "day"), (DAY // 24, "hour"), (60_000_000, "minute"), (1_000_000, "second"))
FEATURES = {  # cycles of the calendar, and the number of places on each
    "minute": 60,
    "hour": 24,
    "weekday": 7,
    "day": 31,
    "week": 53,
    "month": 12,
    "quarter": 4,
}


class Step(NamedTuple):
    """The step between rows: `n` microseconds ("us"), business days ("B"), months ("M") or month ends ("ME")."""

    unit: str
    n: int

    def __str__(self) -> str:
        if self.unit == "B":
            return "1 business day"
        if self.unit in ("M", "ME"):
            years, quarters = self.n % 12 == 0, self.n % 3 == 0
            size, name = (12, "year") if years else (3, "quarter") if quarters else (1, "month")
        else:
            size, name = next(
                ((size, name) for size, name in NAMES if self.n % size == 0), (1, "microsecond")
            )
        count = self.n // size
        return f"{count:,} {name}{'s' * (count != 1)}"

    @property
    def length(self) -> float:
        """Its mean length in microseconds."""
        return self.n * {"us": 1.0, "B": DAY, "M": 30.437 * DAY, "ME": 30.437 * DAY}[self.unit]

    @property
    def season(self) -> int | None:
        """The usual season of a series with this step, in rows: a day, a week, a working week or a year; else None."""
        if self.unit == "B":
            return 5
        if self.unit != "us":
            return 12 // self.n if self.n < 12 and 12 % self.n == 0 else None
        if self.n < DAY:
            return DAY // self.n if DAY % self.n == 0 else None
        return {DAY: 7, 7 * DAY: 52}.get(self.n)

    def after(self, time: np.datetime64, steps: np.ndarray) -> np.ndarray:
        """The times that lie `steps` whole steps after `time`, as datetime64[us]."""
        if self.unit == "us":
            return time + steps * np.timedelta64(self.n, "us")
        clock = time - time.astype("datetime64[D]")
        if self.unit == "B":
            return (
                np.busday_offset(time.astype("datetime64[D]"), steps, roll="backward").astype(
                    "datetime64[us]"
                )
                + clock
            )
        month = time.astype("datetime64[M]")
        months = month + steps * self.n
        if self.unit == "ME":
            return (months + 1).astype("datetime64[D]") - 1 + clock
        day = np.minimum(
            time.astype("datetime64[D]") - month, (months + 1).astype("datetime64[D]") - 1 - months
        )
        return months.astype("datetime64[D]") + day + clock

    def between(self, times: np.ndarray) -> np.ndarray:
        """The number of steps between neighbouring times, (N-1,) float64."""
        if self.unit == "us":
            return np.diff(times).astype("timedelta64[us]").astype(np.float64) / self.n
        if self.unit == "B":
            days = times.astype("datetime64[D]")
            return np.busday_count(days[:-1], days[1:]).astype(np.float64)
        return np.diff(times.astype("datetime64[M]")).astype(np.float64) / self.n


def local(times: np.ndarray, offsets: np.ndarray | None) -> np.ndarray:
    """Times (N,) in UTC as local times, `offsets` minutes east of UTC; without offsets they stay as they are."""
    return times if offsets is None else times + offsets * MINUTE


def holiday(times: np.ndarray, country: str) -> np.ndarray:
    """1 for each time on a public holiday, else 0, (N,) float64; `country` is "DE", or with a region "DE-BY".

    Raises UserError if the package `holidays` is missing or does not know the country, and for steps longer than a day.
    """
    if importlib.util.find_spec("holidays") is None:
        raise UserError(
            f"data.holidays={country}: needs the package holidays: pip install 'rnnlab[holidays]'"
        )
    from holidays import country_holidays, list_supported_countries

    step = step_of(times)
    if step is not None and step.unit != "B" and step.length > DAY:
        raise UserError(
            f"data.holidays={country}: needs steps of a day or less, this series has steps of {step}"
        )
    known = list_supported_countries()
    nation, _, region = country.partition("-")
    if nation not in known:
        raise UserError(f"data.holidays={country}: no such country.{nearest(nation, list(known))}")
    if region and region not in known[nation]:
        raise UserError(
            f"data.holidays={country}: {nation} has no such region.{nearest(region, known[nation])}"
        )
    days = times.astype("datetime64[D]")
    years = np.unique(days.astype("datetime64[Y]")).astype(int) + 1970
    off = np.array(
        sorted(country_holidays(nation, region or None, years=years.tolist())), dtype="datetime64[D]"
    )
    return np.isin(days, off).astype(np.float64)


def step_of(times: np.ndarray, offsets: np.ndarray | None = None) -> Step | None:
    """The usual step between increasing times (N,); None for row numbers and for fewer than two rows.

    Local times decide, if there are `offsets`. The step is in months where all rows are on the same day of the month or
    all on its last day; in business days where daily rows leave out all Saturdays and Sundays; else it is the median.
    """
    if times.dtype.kind != "M" or len(times) < 2:
        return None
    times = times.astype("datetime64[us]")
    shown = local(times, offsets)
    months, days = shown.astype("datetime64[M]"), shown.astype("datetime64[D]")
    same_clock = len(np.unique(shown - days)) == 1
    apart = np.diff(months).astype(int)
    if same_clock and (apart > 0).all():
        day, ends = (days - months).astype(int), (days + 1).astype("datetime64[M]") > months
        if ends.all() and (day != day[0]).any():
            return Step("ME", int(_median(apart)))
        if (day == day[0]).all():
            return Step("M", int(_median(apart)))
    usual = int(_median(np.diff(times).astype(np.int64)))
    weekdays = (days.astype(int) - 4) % 7  # 1970-01-01 was a Thursday: Monday is 0
    over_a_weekend = bool((np.diff(days.astype(int)) > np.diff(weekdays)).any())
    if same_clock and usual == DAY and over_a_weekend and (weekdays < 5).all():
        return Step("B", 1)
    return Step("us", usual)


def continued(times: np.ndarray, n: int, offsets: np.ndarray | None = None) -> np.ndarray:
    """Times (N,) of one series, and the `n` times after them by `step_of`, or by the median step of numbers.

    Where times have offsets (N,), the local calendar counts, and the last offset holds for all new times.
    """
    if (step := step_of(times, offsets)) is not None:
        following = step.after(local(times, offsets)[-1], np.arange(1, n + 1))
        return np.concatenate([times, following if offsets is None else following - offsets[-1] * MINUTE])
    pace = np.sort(np.diff(times))[(len(times) - 1) // 2] if len(times) > 1 else 1
    return np.concatenate([times, times[-1] + pace * np.arange(1, n + 1)])


def _median(values: np.ndarray) -> np.ndarray:
    """The lower median, which is one of the values."""
    return np.sort(values)[(len(values) - 1) // 2]


def features(times: np.ndarray, names: list[str]) -> np.ndarray:
    """Sine and cosine of each time's place on the cycles `names` of FEATURES, (N, 2 * len(names))."""
    days = times.astype("datetime64[D]")
    months = days.astype("datetime64[M]").astype(int) % 12
    minutes = (times - days).astype("timedelta64[s]").astype(np.float64) / 60
    of_year = (days - days.astype("datetime64[Y]")).astype(int)
    places = {
        "minute": minutes % 60,
        "hour": minutes / 60,
        "weekday": (days.astype(int) - 4) % 7,
        "day": (days - days.astype("datetime64[M]")).astype(int),
        "week": of_year / 7,
        "month": months,
        "quarter": months // 3,
    }
    angles = [2 * np.pi * places[name] / FEATURES[name] for name in names]
    return np.stack([wave(angle) for angle in angles for wave in (np.sin, np.cos)], axis=1)
