"""Reads times from text: ISO, other common forms, or a format that the user gives."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np

CLOCK = r"(?:[T ]\s*(?P<H>\d{1,2}):(?P<M>\d\d)(?::(?P<S>\d\d)(?P<f>\.\d+)?)?\s*(?P<half>[AaPp][Mm])?)?"
OFFSET = r"\s*(?P<offset>Z|[+-]\d\d:?\d\d)?"
MONTH = r"(?P<name>[A-Za-z]{3,9})\.?"
WRITTEN = [  # the common forms besides plain ISO, which NumPy reads at once
    re.compile(rf"{text}{CLOCK}{OFFSET}")
    for text in (
        r"(?P<y>\d{4})-(?P<m>\d{1,2})-(?P<d>\d{1,2})",  # 2012-1-1
        r"(?P<y>\d{4})(?P<m>\d\d)(?P<d>\d\d)",  # 19580329
        r"(?P<y>\d{4})[/.](?P<m>\d{1,2})[/.](?P<d>\d{1,2})",  # 2012/01/01
        rf"(?P<y>\d{{4}})[ -]?{MONTH}",  # 1991 Jul
        rf"{MONTH}[ -]?(?P<y>\d{{4}})",  # Jul 1991
        rf"(?P<d>\d{{1,2}})[ -]{MONTH}[ -](?P<y>\d{{4}})",  # 1 Jan 2012
        rf"{MONTH}[ -](?P<d>\d{{1,2}}),?[ -](?P<y>\d{{4}})",  # Jan 1, 2012
        r"(?P<y>\d{4})[ -]?[Qq](?P<q>[1-4])",  # 1970Q1
        r"[Qq](?P<q>[1-4])[ -](?P<y>\d{4})",  # Q1 1970
        r"(?P<y>\d{4})[Mm](?P<m>\d{1,2})",  # 1991M07
        r"(?P<d>\d{1,2})\.(?P<m>\d{1,2})\.(?P<y>\d{4})",  # 31.12.2012
        r"(?P<a>\d{1,2})[/-](?P<b>\d{1,2})[/-](?P<y>\d{4})",  # day or month first: the whole column decides
    )
]
MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
          "november", "december")  # fmt: skip
EXAMPLES = "2016-07-01 12:30, 20160701, 2016/07/01, 1991 Jul, 1970Q1"
SINCE_1970 = {"unix": "seconds", "unix_ms": "milliseconds"}
MINUTE = np.timedelta64(1, "m")


class Instants(NamedTuple):
    """`times` (N,) datetime64[us], in UTC where the text has offsets; `offsets` (N,) minutes east of UTC, or None."""

    times: np.ndarray
    offsets: np.ndarray | None


class Unread(ValueError):
    """Raised for the cell `index`, which is not a time; `why` follows the cell in the error's line."""

    def __init__(self, index: int, why: str) -> None:
        super().__init__(why)
        self.index, self.why = index, why


def read_times(cells: Sequence[str], form: str | None = None) -> Instants:
    """Cells as instants, read by `form` (a format of strptime, unix or unix_ms), or else in the form of the first.

    Raises Unread for the first cell that cannot be read.
    """
    cells = [cell.strip() for cell in cells]
    if form:
        return _by_format(cells, form)
    if (found := _iso(cells)) is not None:
        return found
    return _by_pattern(cells)


def _iso(cells: Sequence[str]) -> Instants | None:
    """Instants if all cells are plain ISO (years or months alone, too); else None."""
    shape = re.compile(r"\d{4}(-\d\d(-\d\d([T ]\d\d(:\d\d(:\d\d(\.\d+)?)?)?(Z|[+-]\d\d:?\d\d)?)?)?)?")
    found = [shape.fullmatch(cell) for cell in cells]
    if not all(found):
        return None
    offsets = [match[7] for match in found if match]
    naive = [cell[: -len(offset)] if offset else cell for cell, offset in zip(cells, offsets, strict=True)]
    try:
        times = np.array(naive, dtype="datetime64[us]")
    except ValueError:  # a day that does not exist
        return None
    return _in_utc(times, [_minutes(offset) for offset in offsets])


def _in_utc(times: np.ndarray, offsets: Sequence[int | None]) -> Instants:
    without = [i for i, offset in enumerate(offsets) if offset is None]
    if len(without) == len(offsets):
        return Instants(times, None)
    if without:  # perhaps in local time, perhaps in UTC
        raise Unread(without[0], "has no offset from UTC, and others have one")
    east = np.array(offsets)
    return Instants(times - east * MINUTE, east)


def _minutes(offset: str | None) -> int | None:
    if not offset:
        return None
    if offset == "Z":
        return 0
    minutes = 60 * int(offset[1:3]) + int(offset[-2:])
    return -minutes if offset[0] == "-" else minutes


def _by_pattern(cells: Sequence[str]) -> Instants:
    pattern = next((p for p in WRITTEN if p.fullmatch(cells[0])), WRITTEN[0])
    matches = [pattern.fullmatch(cell) for cell in cells]
    for i, match in enumerate(matches):
        if match is None:
            first = f"is not written like the first, {cells[0]!r}" if i else f"is no time such as {EXAMPLES}"
            raise Unread(i, f"{first}; data.time_format says how times are written")
    found = [match.groupdict() for match in matches if match]
    if "a" in pattern.groupindex:
        order = _day_or_month_first(found)
        for groups in found:
            groups |= {order[0]: groups["a"], order[1]: groups["b"]}
    times = [_instant(i, groups) for i, groups in enumerate(found)]
    return _in_utc(np.array(times, dtype="datetime64[us]"), [_minutes(groups["offset"]) for groups in found])


def _day_or_month_first(found: list[dict[str, str]]) -> str:
    day_first, month_first = (any(int(groups[key]) > 12 for groups in found) for key in "ab")
    if day_first == month_first:
        raise Unread(
            0,
            "may begin with the day or the month; data.time_format says which, such as %d/%m/%Y or %m/%d/%Y",
        )
    return "dm" if day_first else "md"


def _instant(i: int, groups: dict[str, str]) -> datetime:
    month = int(groups.get("m") or 1)
    if name := groups.get("name"):
        named = [n for n, full in enumerate(MONTHS, 1) if full.startswith(name.lower())]
        if not named:
            raise Unread(i, f"is no time: there is no month {name}")
        month = named[0]
    if quarter := groups.get("q"):
        month = 3 * int(quarter) - 2
    hour = int(groups["H"] or 0)
    if half := groups["half"]:
        hour = hour % 12 + 12 * (half.lower() == "pm")
    micros = min(round(float(groups["f"] or 0) * 1_000_000), 999_999)  # of .9999999, too
    try:
        return datetime(int(groups["y"]), month, int(groups.get("d") or 1), hour, int(groups["M"] or 0),
                        int(groups["S"] or 0), micros)  # fmt: skip
    except ValueError as error:
        raise Unread(i, f"is no time: {error}") from None


def _by_format(cells: Sequence[str], form: str) -> Instants:
    times, offsets = [], []
    if form in SINCE_1970:
        factor = 1e6 if form == "unix" else 1e3
        for i, cell in enumerate(cells):
            if not re.fullmatch(r"-?\d{1,15}(\.\d*)?", cell) or abs(float(cell)) * factor >= 2**63:
                raise Unread(i, f"is no number of {SINCE_1970[form]} since 1970")
        micros = np.round(np.array(cells, dtype=np.float64) * factor).astype(np.int64)
        return Instants(micros.astype("datetime64[us]"), None)
    for i, cell in enumerate(cells):
        try:
            time = datetime.strptime(cell, form)
        except ValueError:
            raise Unread(i, f"is not written as data.time_format={form} says") from None
        offset = time.utcoffset()
        times.append(time.replace(tzinfo=None))
        offsets.append(None if offset is None else round(offset.total_seconds() / 60))
    return _in_utc(np.array(times, dtype="datetime64[us]"), offsets)
