"""Times as they are written, and how they go on: against pandas."""

import numpy as np
import pandas as pd
import pytest

from rnnlab.data.calendar import FEATURES, features, step_of
from rnnlab.data.instants import Unread, read_times

FREQUENCIES = {
    "ME": ("1 month", 12),
    "MS": ("1 month", 12),
    "QS": ("1 quarter", 4),
    "QE": ("1 quarter", 4),
    "YE": ("1 year", None),
    "YS": ("1 year", None),
    "2MS": ("2 months", 6),
    "W": ("1 week", 52),
    "D": ("1 day", 7),
    "B": ("1 business day", 5),
    "h": ("1 hour", 24),
    "30min": ("30 minutes", 48),
    "10s": ("10 seconds", 8640),
}


@pytest.mark.parametrize("frequency", FREQUENCIES)
@pytest.mark.parametrize("start", ["2019-12-31 00:00", "2020-01-30 06:30"])
def test_a_series_goes_on_as_its_calendar_does(frequency, start):
    times = pd.date_range(start, periods=40, freq=frequency).to_numpy("datetime64[us]")
    step = step_of(times[:20])
    assert (str(step), step.season) == FREQUENCIES[frequency]
    np.testing.assert_array_equal(step.after(times[19], np.arange(1, 21)), times[20:])
    np.testing.assert_array_equal(step.between(times), np.ones(39))


def test_a_day_that_a_month_lacks_is_its_last():
    times = np.array(["2020-10-30", "2020-11-30", "2020-12-30", "2021-01-30"], "datetime64[us]")
    after = step_of(times).after(times[-1], np.arange(1, 4)).astype("datetime64[D]")
    assert after.astype(str).tolist() == ["2021-02-28", "2021-03-30", "2021-04-30"]


WRITTEN = {
    "19580329": "1958-03-29",
    "2012/01/02": "2012-01-02",
    "1991 Jul": "1991-07-01",
    "Jul 1991": "1991-07-01",
    "1970Q2": "1970-04-01",
    "Q3 1970": "1970-07-01",
    "1991M07": "1991-07-01",
    "1 Feb 2012": "2012-02-01",
    "February 1, 2012": "2012-02-01",
    "Feb-1-2012": "2012-02-01",
    "31.12.2012": "2012-12-31",
    "31/12/2012 1:30 PM": "2012-12-31T13:30",
    "12/31/2012 12:05 am": "2012-12-31T00:05",
    "2012-1-2": "2012-01-02",
    "1961-02": "1961-02-01",
    "1958": "1958-01-01",
    "2020-10-25T02:30:00+02:00": "2020-10-25T00:30",
    "2020-10-25 02:30Z": "2020-10-25T02:30",
    "2020/10/25 02:30:01.5": "2020-10-25T02:30:01.5",
}


@pytest.mark.parametrize("text", WRITTEN)
def test_times_are_read_as_they_are_commonly_written(text):
    assert read_times([text]).times[0] == np.datetime64(WRITTEN[text], "us")


def test_a_column_says_whether_days_or_months_come_first():
    read = read_times(["01/02/2012", "13/02/2012"]).times.astype("datetime64[D]").astype(str)
    assert read.tolist() == ["2012-02-01", "2012-02-13"]
    read = read_times(["01/02/2012", "01/13/2012"]).times.astype("datetime64[D]").astype(str)
    assert read.tolist() == ["2012-01-02", "2012-01-13"]
    with pytest.raises(Unread, match=r"data\.time_format says which, such as %d/%m/%Y or %m/%d/%Y"):
        read_times(["01/02/2012", "02/03/2012"])
    assert read_times(["01/02/2012"], "%m/%d/%Y").times[0] == np.datetime64("2012-01-02")


def test_offsets_are_kept_and_numbers_of_seconds_are_read():
    times, offsets = read_times(["2020-10-25T02:30:00+02:00", "2020-10-25T02:30:00-03:30"])
    assert offsets.tolist() == [120, -210] and (times[1] - times[0]) == np.timedelta64(330, "m")
    assert read_times(["1577836800.5"], "unix").times[0] == np.datetime64("2020-01-01T00:00:00.5")
    with pytest.raises(Unread, match="is no number of seconds since 1970"):  # microseconds, perhaps
        read_times(["157783680000000"], "unix")
    assert read_times(["2020/01/01 00:00:00.9999999"]).times[0] == np.datetime64("2020-01-01T00:00:00.999999")
    assert read_times(["2020-01-01 +0100"], "%Y-%m-%d %z").offsets.tolist() == [60]


@pytest.mark.parametrize(
    ("cells", "index"),
    [
        (["2020-01-01T01:00", "2020-01-01T02:00Z"], 0),
        (["2020-01-01T01:00Z", "2020-01-01T02:00+00:00", "2020-01-01T03:00", "2020-01-01"], 2),
        (["2020/01/01 01:00 +0100", "2020/01/01 02:00"], 1),
    ],
)
def test_a_time_without_an_offset_among_others_is_named(cells, index):
    with pytest.raises(Unread, match=r"^has no offset from UTC, and others have one$") as caught:
        read_times(cells)
    assert caught.value.index == index


def test_offsets_may_be_written_in_several_ways():
    for form in (None, "%Y-%m-%dT%H:%M%z"):
        cells = ["2020-01-01T01:00Z", "2020-01-01T02:00+00:00", "2020-01-01T03:00+0100"]
        assert read_times(cells, form).offsets.tolist() == [0, 0, 60]
    assert read_times(["2020-01-01T01:00", "2020-01-01T02:00"]).offsets is None


@pytest.mark.parametrize(
    ("cells", "index"),
    [
        (["2020-01-01", "soon"], 1),
        (["1991 Jul", "1991 Jux"], 1),
        (["2020-02-30"], 0),
        ([""], 0),
        (["1970Q5"], 0),
    ],
)
def test_what_is_no_time_is_named(cells, index):
    with pytest.raises(Unread) as caught:
        read_times(cells)
    assert caught.value.index == index


def test_cycles_are_pandas_own():
    times = pd.date_range("2019-12-28 01:07", periods=900, freq="17h")
    at = {
        "minute": times.minute,
        "hour": times.hour + times.minute / 60,
        "weekday": times.weekday,
        "day": times.day - 1,
        "week": (times.dayofyear - 1) / 7,
        "month": times.month - 1,
        "quarter": times.quarter - 1,
    }
    got = features(times.to_numpy("datetime64[us]"), list(FEATURES))
    for i, (name, length) in enumerate(FEATURES.items()):
        angle = 2 * np.pi * np.asarray(at[name]) / length
        np.testing.assert_allclose(
            got[:, 2 * i : 2 * i + 2], np.stack([np.sin(angle), np.cos(angle)], 1), atol=1e-9
        )
