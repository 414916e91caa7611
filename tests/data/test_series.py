"""Scaling, gaps, bins and columns of a CSV file."""

import gzip
import importlib.util
import io
import zoneinfo

import numpy as np
import pandas as pd
import pytest
import torch

from rnnlab.data import Series
from rnnlab.data.calendar import continued
from rnnlab.data.frame import time_texts
from rnnlab.errors import UserError
from rnnlab.tasks import Forecaster
from rnnlab.tasks.rollout import farthest, free_run


@pytest.fixture
def csv(tmp_path):
    def write(text, **settings):
        path = tmp_path / "data.csv"
        path.write_text(text, encoding="utf-8")
        small = {"window": 2, "horizon": 1, "season": 1, "fractions": (0.5, 0.0, 0.5), "scaling": "none"}
        return Series(path, **{**small, **settings})

    return write


def ready(data):
    data.setup()
    return data


def column(values):
    return "x\n" + "\n".join(str(v) for v in values)


def test_scaling_is_fitted_on_the_training_rows_alone(csv):
    values = [1.0, 3.0, 5.0, 7.0, 100.0, 200.0, 300.0, 400.0]
    standard = ready(csv(column(values), target="x", scaling="standard"))
    assert standard.series[:4].mean() == pytest.approx(0.0, abs=1e-6)
    assert standard.series[:4].std(unbiased=False) == pytest.approx(1.0)
    assert (standard.spec["target_shift"], standard.spec["target_scale"]) == (
        [4.0],
        pytest.approx([5.0**0.5]),
    )
    minmax = ready(csv(column(values), target="x", scaling="minmax"))
    assert torch.equal(minmax.series[[0, 3, 4], 0], torch.tensor([0.0, 1.0, 16.5]))


@pytest.mark.parametrize(
    ("days", "told"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 8], False),
        ([8, 7, 6, 5, 4, 3, 2, 1], True),
        ([1, 2, 3, 3, 4, 5, 6, 7], True),
        ([1, 2, 3, 14, 15, 16, 17, 18], True),
    ],
    ids=["even", "reversed", "repeated", "leaping"],
)
def test_times_that_nobody_named_are_looked_at(csv, days, told):
    text = "day,kind,x\n" + "\n".join(f"2024-01-{day:02},a,{i % 2}" for i, day in enumerate(days))
    data = ready(csv(text, target="x"))
    assert len(data.remarks) == told and all("data.time_column=day" in remark for remark in data.remarks)
    assert data.frame.times.tolist() == list(range(8))


def test_what_comes_later_changes_no_training_batch(csv):
    values = [1.0, 3.0, 5.0, "", 7.0, 9.0, "", 2.0, 4.0, 8.0]
    later = [*values[:5], 1e6, "", -1e6, 5.0, 77.0]
    settings = {"target": "x", "scaling": "standard", "missing": "interpolate"}
    one, other = (next(iter(ready(csv(column(v), **settings)).loader("train"))) for v in (values, later))
    assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


def test_gaps_are_filled_along_time_within_each_part(csv):
    days = [
        "2020-01-01",
        "2020-01-02",
        "2020-01-05",
        "2020-01-06",
        "2020-01-07",
        "2020-01-08",
        "2020-01-09",
        "2020-01-10",
    ]
    cells = ["0", "", "8", "", "nan", "4", "inf", "NA"]
    text = "day,x\n" + "\n".join(f"{d},{c}" for d, c in zip(days, cells, strict=True))
    data = ready(csv(text, target="x", time_column="day", missing="interpolate"))
    # 2 lies a quarter of the way; the fourth is the end of its part; the last two follow the only value there
    assert data.series[:, 0].tolist() == [0, 2, 8, 8, 4, 4, 4, 4]
    rows = ready(csv(column(["0", "", "8", "9", "1", "2", "3", "4"]), target="x", missing="interpolate"))
    assert rows.series[1, 0] == 4  # without times, along the rows


def test_dropped_rows_are_gone_with_their_times(csv):
    text = "day,x,y\n2020-01-01,1,1\n2020-01-02,,2\n2020-01-03,3,\n" + "".join(
        f"2020-02-0{i},{i},{i}\n" for i in range(1, 6)
    )
    data = ready(csv(text, target="x", columns=["x", "y"], time_column="day", missing="drop"))
    assert data.series.tolist() == [[1, 1], [1, 1], [2, 2], [3, 3], [4, 4], [5, 5]]
    assert str(data.values("train").times[1]) == "2020-02-01T00:00:00.000000"


@pytest.mark.parametrize(
    ("days", "places"),
    [((1, 2, 3, 4, 5, 6, 7, 8), 0), ((1, 2, 3, 5, 6, 7, 9, 10), 2), ((1, 31, 60, 91, 121, 152, 182, 213), 0)],
    ids=["even", "two leaps", "months"],
)
def test_times_that_leap_are_remarked(csv, days, places):
    times = np.datetime64("2024-01-01") + np.array(days) - 1
    text = "t,x\n" + "\n".join(f"{t},{i % 3}" for i, t in enumerate(times))
    remarks = ready(csv(text, target="x", time_column="t")).remarks
    assert len(remarks) == (places > 0)
    if places:
        assert (
            "2 gaps between the times, the first from 2024-01-03T00:00:00 to 2024-01-05T00:00:00"
            in remarks[0]
        )
    even = ready(csv(text, target="x", time_column="t", resample="1d", missing="interpolate"))
    assert not even.remarks


def test_resampling_takes_the_mean_of_each_bin_from_midnight(csv):
    hours = ["03:10", "03:50", "04:00", "05:59", "09:30", "11:00", "13:00", "15:00", "17:00"]
    text = "t,x\n" + "\n".join(f"2020-01-01 {h},{i}" for i, h in enumerate(hours))
    data = ready(csv(text, target="x", time_column="t", resample="2h", missing="interpolate"))
    times, values = data.values("train")
    assert [str(t)[11:16] for t in times] == ["02:00", "04:00", "06:00", "08:00"]
    assert values[:, 0].tolist() == [0.5, 2.5, 3.25, 4.0]  # the bin of 6 o'clock is empty
    assert data.values("test").values[:, 0].tolist() == [5, 6, 7, 8]
    with pytest.raises(UserError, match=r"no row in the 2 hours from 2020-01-01T06:00:00; data\.missing="):
        ready(csv(text, target="x", time_column="t", resample="2h"))


def test_offsets_of_time_zones_are_honoured(csv):
    """An hour that summer time repeats is two hours."""
    times = ["2020-10-25T02:30:00+02:00", "2020-10-25T02:30:00+01:00", "2020-10-25T03:30:00+01:00"]
    text = "t,x\n" + "\n".join(f"{t},{i}" for i, t in enumerate(times))
    data = ready(csv(text, target="x", time_column="t", fractions=(1.0, 0.0, 0.0)))
    assert np.diff(data.values("train").times).tolist() == [np.timedelta64(1, "h")] * 2


BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


def in_berlin(days):
    """A file of these days' midnights in Berlin, which is 1 hour east of UTC in winter and 2 in summer."""
    return "t,x\n" + "".join(
        f"{pd.Timestamp(d, tz=BERLIN).isoformat()},{i % 7}\n" for i, d in enumerate(days)
    )


@pytest.mark.parametrize(
    ("rule", "name", "season"),
    [
        ("MS", "1 month", 12),
        ("B", "1 business day", 5),
        ("D", "1 day", 7),
        ("QS", "1 quarter", 4),
        ("ME", "1 month", 12),
    ],
)
def test_the_calendar_is_that_of_the_offsets(csv, rule, name, season):
    """Midnights in Berlin are no midnights in UTC, and no two months of a year there have the same length."""
    days = pd.date_range("2019-01-01", periods=123, freq=rule)
    data = ready(csv(in_berlin(days[:120]), target="x", time_column="t", season="auto", window=14))
    assert (str(data.step), data.season, data.remarks) == (name, season, [])
    ahead = continued(data.frame.times, 3, data.frame.offsets)[-3:]
    last = pd.Timestamp(days[119], tz=BERLIN).utcoffset()
    assert list(ahead + np.timedelta64(last)) == list(days[120:].to_numpy())  # its last offset stays


def test_a_clock_that_is_set_back_or_forward_leaves_no_hour_out(csv):
    hours = pd.date_range("2020-03-28", periods=6000, freq="h", tz="UTC").tz_convert(BERLIN)
    text = "t,x\n" + "".join(f"{hour.isoformat()},{i % 24}\n" for i, hour in enumerate(hours))
    data = ready(csv(text, target="x", time_column="t", calendar=["hour"], resample=None))
    assert str(data.step) == "1 hour" and not data.remarks
    seen = np.arctan2(*data.frame.values[:-1, 1:].T) % (2 * np.pi) * 24 / (2 * np.pi)  # of the next row
    assert np.round(seen).astype(int).tolist() == [hour.hour for hour in hours[1:]]


@pytest.mark.parametrize("rule, resample", [("D", "1d"), ("MS", "1month"), ("2h", "2h")])
def test_bins_of_days_are_those_of_the_offsets(csv, rule, resample):
    hours = pd.date_range("2020-03-27 22:30", periods=6000, freq="h", tz="UTC").tz_convert(BERLIN)
    values = np.random.default_rng(0).normal(size=len(hours))
    text = "t,x\n" + "".join(
        f"{hour.isoformat()},{x!r}\n" for hour, x in zip(hours, values.tolist(), strict=True)
    )
    data = ready(csv(text, target="x", time_column="t", resample=resample))
    series = pd.Series(values, hours if rule != "2h" else hours.tz_convert("UTC")).resample(rule).mean()
    assert data.frame.values[:, 0] == pytest.approx(series.to_numpy())
    texts = time_texts(data.frame.times, data.frame.offsets)
    if rule == "2h":
        assert [pd.Timestamp(text) for text in texts] == list(series.index)
    else:
        assert texts == [day.isoformat() for day in series.index]


@pytest.mark.parametrize("west", ["2020-03-01T16:00Z", "2020-03-05T16:00Z"])
def test_days_that_come_twice_are_one(csv, west):
    """Of one who flies over the date line: in Tokyo it is the next day already, in Los Angeles not yet."""
    hours = pd.date_range("2020-03-01 15:00", periods=240, freq="h", tz="UTC")
    there = [
        hour.tz_convert("Asia/Tokyo" if hour < pd.Timestamp(west) else "America/Los_Angeles")
        for hour in hours
    ]
    text = "t,x\n" + "".join(f"{hour.isoformat()},{i}\n" for i, hour in enumerate(there))
    data = ready(csv(text, target="x", time_column="t", resample="1d"))
    days = pd.Series(range(240), [hour.date() for hour in there]).groupby(level=0).mean()
    assert data.frame.values[:, 0] == pytest.approx(days.to_numpy())
    texts = time_texts(data.frame.times, data.frame.offsets)
    assert [text[:10] for text in texts] == list(map(str, days.index))
    assert (np.diff(data.frame.times) > np.timedelta64(0)).all()


def test_holidays_are_those_of_the_calendar_there(csv):
    pytest.importorskip("holidays")
    days = pd.date_range("2019-12-01", periods=60)
    data = ready(csv(in_berlin(days), target="x", time_column="t", holidays="DE"))
    assert [str(days[i + 1].date()) for i in np.flatnonzero(data.frame.values[:, 1])] == [
        "2019-12-25", "2019-12-26", "2020-01-01"]  # fmt: skip


def test_origins_without_a_test_part_are_refused(csv):
    with pytest.raises(UserError, match=r"data\.origin=1: leaves test parts out, and data\.fractions has no"):
        csv(column(range(20)), target="x", fractions=(0.5, 0.5, 0.0), origin=1)


def test_all_columns_are_those_of_numbers(csv):
    text = "day,kind,x,y\n" + "".join(f"2020-01-{i:02d},warm,{i},{-i}\n" for i in range(1, 9))
    data = ready(csv(text, target="y", columns="all", time_column="day"))
    assert data.spec["input_names"] == ["x", "y"]
    assert data.spec["target_index"] == [1]


def test_quotes_delimiters_byte_order_marks_and_blank_lines_are_understood(csv):
    text = '\ufeff"x";y\n"1.5";2\n\n 3 ;4\n' + "5;6\n" * 4 + "\n\n"
    data = ready(csv(text, target="x", columns=["x", "y"], delimiter=";"))
    assert data.series.tolist() == [[1.5, 2], [3, 4]] + [[5, 6]] * 4


def test_new_data_are_scaled_as_the_model_was_trained(csv):
    spec = ready(csv(column([1, 3, 5, 7, 2, 2, 2, 2]), target="x", scaling="standard")).spec
    new = ready(
        csv(column([4, 4, 4, 40]), target="x", scaling="standard", fractions=(0.0, 0.0, 1.0)).with_spec(spec)
    )
    assert new.spec["target_shift"] == [4.0]
    np.testing.assert_allclose(new.series[:, 0], [0, 0, 0, 36 / 5**0.5], rtol=1e-6)
    assert len(new.loader("test")) == 1 and new.loader("train") is None
    assert set(new.baselines("test")) == {"persistence", "seasonal"}  # nothing to fit a linear predictor on
    short = ready(csv(column([4, 5]), target="x").with_spec(spec))
    assert short.loader("test") is None and len(short.series) == 2


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("y\n1\n2\n3\n4", {"target": "y"}, "trained on the inputs x, this data has the inputs y"),
        (
            "x\n1\n2\n3\n4",
            {"target": "x", "window": 3},
            r"trained with data\.window=2, this data has data\.window=3",
        ),
        ("x\n1", {"target": "x"}, "looks at 2 rows, this data has only 1"),
    ],
)
def test_new_data_of_another_shape_are_refused(csv, text, settings, message):
    spec = ready(csv(column(range(8)), target="x")).spec
    with pytest.raises(UserError, match=message):
        ready(csv(text, **settings).with_spec(spec))


def test_a_file_may_be_gzipped_and_its_delimiter_and_numbers_of_another_country(csv, tmp_path):
    text = "day;x;y\n" + "".join(f"0{i}.02.2020;1.00{i},5;-999\n" for i in range(1, 9))
    settings = {"target": "x", "time_column": "day", "decimal": ",", "thousands": "."}
    data = ready(csv(text, **settings))
    assert data.series[:2, 0].tolist() == [1001.5, 1002.5] and str(data.step) == "1 day"
    (tmp_path / "f.csv.gz").write_bytes(gzip.compress(text.encode()))
    small = {"window": 2, "horizon": 1, "fractions": (0.5, 0.0, 0.5), "scaling": "none"}
    zipped = ready(Series(tmp_path / "f.csv.gz", **settings, **small))
    assert torch.equal(zipped.series, data.series)
    (tmp_path / "f.csv.gz").write_bytes(gzip.compress(text.encode())[:-20])
    with pytest.raises(UserError, match="is not a complete gzip file"):
        ready(Series(tmp_path / "f.csv.gz", **settings, **small))
    with pytest.raises(UserError, match=r"'1\.001,5' is not a number"):
        ready(csv(text, target="x"))
    with pytest.raises(UserError, match=r"row 2, column y: '-999' is no value"):
        ready(csv(text, target="y", marks=["-999", "?"]))


@pytest.mark.parametrize(
    ("cell", "remedy"),
    [("1,5", r"data\.decimal=','"), ("1,234.5", r"data\.thousands=','"), ("?", r"data\.marks=\['\?'\]")],
)
def test_a_number_written_otherwise_is_refused_with_the_key_that_reads_it(csv, cell, remedy):
    with pytest.raises(UserError, match=f"is not a number; {remedy}"):
        ready(csv(f"x;y\n1;2\n{cell};3\n", target="x"))


def test_marks_in_numbers_concern_texts_and_not_columns_of_numbers():
    german = {"target": "x", "decimal": ",", "thousands": ".", "window": 2, "horizon": 1, "season": None,
              "fractions": (0.5, 0.0, 0.5), "scaling": "none"}  # fmt: skip
    numbers = ready(Series(pd.DataFrame({"x": np.arange(12) + 0.5}), **german))
    assert numbers.series[:3, 0].tolist() == [0.5, 1.5, 2.5]
    texts = ready(Series(pd.DataFrame({"x": [f"1.00{i},5" for i in range(8)]}), **german))
    assert texts.series[:3, 0].tolist() == [1000.5, 1001.5, 1002.5]


def test_a_dataframe_is_what_its_file_is(csv, tmp_path):
    frame = pd.DataFrame({"x": np.random.default_rng(0).normal(size=40), "ok": [True, False] * 20},
                         index=pd.date_range("2020-01-31", periods=40, freq="ME", name="month"))  # fmt: skip
    frame.to_csv(tmp_path / "f.csv")
    small = {"target": "x", "time_column": "month", "window": 3, "horizon": 2}
    one, other = (ready(Series(source, **small)) for source in (frame, tmp_path / "f.csv"))
    assert one.content_hash == other.content_hash and one.season == 12
    twice = frame.reset_index().set_index("month", drop=False)
    assert ready(Series(twice, **small)).content_hash == one.content_hash
    assert ready(Series(frame, columns=["ok"], **small)).frame.values[:2, 0].tolist() == [1, 0]
    if importlib.util.find_spec("pyarrow"):
        frame.reset_index().to_parquet(tmp_path / "f.parquet")
        assert ready(Series(tmp_path / "f.parquet", **small)).content_hash == one.content_hash
    else:
        (tmp_path / "f.parquet").write_bytes(b"PAR1 ...")
        with pytest.raises(UserError, match="pip install pyarrow"):
            ready(Series(tmp_path / "f.parquet", **small))


def long_table(n=40, shops=("b", "a")):
    """Rows of shops in turn, of levels that differ a hundredfold."""
    days = np.datetime64("2020-01-01") + np.arange(n)
    noise = np.random.default_rng(0).normal(size=(n, len(shops)))
    rows = [
        f"{d},{s},{float(100**k * (3 + noise[i, k]))!r}"
        for i, d in enumerate(days)
        for k, s in enumerate(shops)
    ]
    return "day,shop,x\n" + "\n".join(rows)


def test_of_several_series_the_longest_is_too_short(csv):
    settings = {"target": "x", "time_column": "day", "id_column": "shop", "window": 5, "horizon": 2}
    spec = ready(csv(long_table(), **settings)).spec
    head, *rows = long_table().splitlines()
    short = [row for shop in "ab" for row in [row for row in rows if f",{shop}," in row][:4]]
    with pytest.raises(UserError, match=r"looks at 5 rows, this data has only 4 in its longest series$"):
        ready(csv("\n".join([head, *short]), **settings).with_spec(spec))


def test_several_series_are_cut_scaled_and_scored_each_by_itself(csv, tmp_path):
    settings = {"target": "x", "time_column": "day", "scaling": "standard", "window": 5, "horizon": 2, "season": 7,
                "fractions": (0.5, 0.25, 0.25)}  # fmt: skip
    data = ready(csv(long_table(), id_column="shop", **settings))
    frame = pd.read_csv(io.StringIO(long_table()))
    for number, shop in enumerate("ab"):
        alone = frame[frame["shop"] == shop]
        single = ready(Series(alone, **settings))
        at = slice(40 * number, 40 * number + 40)
        assert torch.equal(data.series[at], single.series)
        for split in ("train", "val", "test"):
            starts = data.starts(split)
            ours = starts[(starts >= at.start) & (starts < at.stop)] - at.start
            assert torch.equal(ours, single.starts(split))
        shift, scale = data.units(torch.tensor([at.start + 3]))
        expected = single.spec["target_shift"][0], single.spec["target_scale"][0]
        # NumPy's sums, by the layout
        assert (shift.item(), scale.item()) == pytest.approx(expected, rel=1e-14)
    parts = [ready(Series(frame[frame["shop"] == s], **settings)).baselines("test") for s in "ab"]
    for name in ("persistence", "seasonal"):  # the windows are as many
        assert data.baselines("test")[name]["mse"] == pytest.approx(np.mean([p[name]["mse"] for p in parts]))
    task = Forecaster(data.spec, cell="elman", hidden_size=3)
    (batch,) = data.loader("test")
    with torch.no_grad():
        task.validation_step(batch, 0)
        said = task(batch[0]) * batch[3] + batch[2]
    truth = data.frame.values[data.starts("test").numpy()[:, None] + 5 + np.arange(2)]
    assert task.evaluation_metrics()[1]["mse"] == pytest.approx(
        np.square(said.numpy() - truth).mean(), rel=1e-5
    )
    with pytest.raises(
        UserError, match=r"The times repeat for each shop: .* data\.id_column=shop tells them apart"
    ):
        ready(csv(long_table(), **settings))
    new = csv(long_table(shops=("c", "a")), id_column="shop", **settings)
    with pytest.raises(UserError, match=r"not trained on the series c and has no scale for it\."):
        ready(new.with_spec(data.spec))


def test_what_is_known_ahead_is_seen_ahead(csv):
    """Columns of the calendar and of `known` at step t are those of step t + horizon, behind the last target too."""
    days = np.datetime64("2020-01-01") + np.arange(20)
    rows = [f"{d},{i % 4 if i < 17 else ''},{i}" for i, d in enumerate(days)]
    settings = {"target": "x", "time_column": "day", "known": ["p"], "calendar": ["weekday"], "horizon": 3}
    data = ready(csv("day,x,p\n" + "\n".join(rows), **settings))
    assert data.frame.inputs == ["x", "p", "p+3", "weekday_sin+3", "weekday_cos+3"]
    assert data.series[:, 2].tolist() == list(range(3, 20))
    weekday = pd.DatetimeIndex(days).weekday
    np.testing.assert_allclose(
        data.series[:, 3], np.sin(2 * np.pi * np.roll(weekday, -3)[:17] / 7), atol=1e-6
    )
    told = data.known_ahead(17, 2)  # rows 17 and 18, of which the file tells p alone
    assert told[:, 1].tolist() == [17, 18] and told[:, 0].isnan().all() and told[:, 2].isnan().all()
    later = pd.DatetimeIndex(np.datetime64("2020-01-21") + np.arange(2)).weekday
    np.testing.assert_allclose(told[:, 3], np.sin(2 * np.pi * later / 7), atol=1e-6)
    task = Forecaster(data.spec, cell="elman", hidden_size=3)
    assert farthest(task, data, 17, 10) == (3, ["p", "p+3"])
    assert free_run(task, data, 17, 3).forecast.shape == (3, 1)
    with pytest.raises(UserError, match=r"needs the future of p\+3"):
        free_run(task, data, 17, 6)
    ended = ready(csv("day,x,p\n" + "\n".join(rows[:17]), **settings))
    with pytest.raises(UserError, match=r"needs later values of p\+3"):
        free_run(task, ended, 17, 3)


def test_a_free_run_goes_by_whole_horizons_as_far_as_inputs_are_known(csv):
    rows = [f"{i % 4},{i % 5}" for i in range(40)]
    settings = {"target": "x", "known": ["p"], "horizon": 3, "window": 4}
    data = ready(csv("x,p\n" + "\n".join(rows), **settings))
    task = Forecaster(data.spec, cell="elman", hidden_size=3)
    for steps in range(3, 20):  # up to the end of the data
        reached, missing = farthest(task, data, 40 - steps, steps)
        assert (reached, missing) == ((steps // 3 * 3, ["p+3"]) if steps > 3 and steps % 3 else (steps, []))
        assert free_run(task, data, 40 - steps, reached).forecast.shape == (reached, 1)
        if reached < steps:
            with pytest.raises(UserError, match=r"needs the future of p\+3"):
                free_run(task, data, 40 - steps, steps)


def test_a_free_run_goes_through_the_calendar(csv):
    days = np.datetime64("2020-01-01") + np.arange(30)
    text = "day,x\n" + "\n".join(f"{d},{i % 5}" for i, d in enumerate(days))
    settings = {"target": "x", "time_column": "day", "calendar": ["weekday"], "horizon": 3, "window": 4}
    data = ready(csv(text, **settings))
    task = Forecaster(data.spec, cell="elman", hidden_size=3)
    free = free_run(task, data, 30, 9).forecast
    window = data.series[26:30, :3]
    for block in range(3):
        with torch.no_grad():
            y = task(window[None])[0]
        np.testing.assert_allclose(y.numpy(), free[3 * block : 3 * block + 3], rtol=1e-5, atol=1e-6)
        ahead = pd.DatetimeIndex(
            np.datetime64("2020-01-31") + 3 * block + np.arange(3) + 3
        ).weekday.to_numpy()
        angle = torch.tensor(2 * np.pi * ahead / 7, dtype=torch.float32)
        window = torch.cat([window, torch.stack([y[:, 0], angle.sin(), angle.cos()], 1)])[-4:]


def test_logarithms_need_values_above_0(csv):
    with pytest.raises(UserError, match=r"row 4, column x: 0 has no logarithm"):
        ready(csv(column([1, 2, 0, 4, 5, 6, 7, 8]), target="x", log=True))


def test_a_validation_part_out_of_the_training_range_is_remarked(csv):
    trend = column(range(40))
    assert (
        "100% of the test part's x lies outside"
        in ready(csv(trend, target="x", scaling="standard")).remarks[0]
    )
    assert not ready(csv(trend, target="x", scaling="window_last")).remarks
    assert not ready(csv(column([i % 4 for i in range(40)]), target="x")).remarks


def test_new_data_with_another_step_are_refused(csv):
    def hours(step, n=20):
        times = np.datetime64("2020-01-01T00") + step * np.arange(n)
        return "t,x\n" + "\n".join(f"{t}:00,{i % 3}" for i, t in enumerate(times))

    settings = {"target": "x", "time_column": "t"}
    spec = ready(csv(hours(1), **settings)).spec
    with pytest.raises(UserError, match=r"trained on steps of 1 hour, this data has steps of 2 hours$"):
        ready(csv(hours(2), **settings).with_spec(spec))
    longer = ready(csv(hours(2), **settings)).spec
    with pytest.raises(UserError, match=r"has steps of 1 hour; data\.resample makes steps longer$"):
        ready(csv(hours(1), **settings).with_spec(longer))
    assert ready(csv(hours(1, 9), **settings).with_spec(spec)).season == 1


def test_known_columns_are_resampled_with_the_others_behind_the_last_target_too(csv):
    """A column x, known to the end, and a target that ends six hours before: means of two hours, by pandas."""
    hours = pd.date_range("2020-01-01", periods=40, freq="h")
    frame = pd.DataFrame({"time": hours, "x": np.arange(40.0) % 7, "p": np.arange(40.0) ** 2})
    frame.loc[34:, "x"] = np.nan
    text = frame.to_csv(index=False)
    settings = {"target": "x", "time_column": "time", "known": ["p"], "horizon": 2, "resample": "2h"}
    data = ready(csv(text, scaling="none", **settings))
    means = frame.set_index("time").resample("2h").mean()
    assert data.frame.inputs == ["x", "p", "p+2"] and len(data.series) == 17
    np.testing.assert_allclose(data.frame.values[:, :2], means[["x", "p"]].to_numpy()[:17])
    np.testing.assert_allclose(data.frame.values[:, 2], means["p"].to_numpy()[2:19])
    told = data.known_ahead(17, 3)
    np.testing.assert_allclose(told[:, 1], means["p"].to_numpy()[17:])


def test_holidays_are_known_ahead(csv):
    pytest.importorskip("holidays")
    days = np.datetime64("2020-12-01") + np.arange(40)
    text = "day,x\n" + "\n".join(f"{d},{i % 5}" for i, d in enumerate(days))
    settings = {"target": "x", "time_column": "day", "horizon": 3}
    data = ready(csv(text, holidays="DE", calendar=["weekday"], **settings))
    assert data.frame.inputs == ["x", "weekday_sin+3", "weekday_cos+3", "holiday+3"] and data.frame.plain == 3
    off = [str(day) in ("2020-12-25", "2020-12-26", "2021-01-01") for day in days]
    assert data.series[:, 3].tolist() == [float(o) for o in off[3:]] + [0.0] * 3
    assert ready(csv(text, holidays="DE-BY", **settings)).series[:, 1].sum() == 4  # Epiphany, too
    assert data.known_ahead(22, 4)[:, 3].tolist() == data.series[22:26, 3].tolist()
    for asked, message in (("ZZ", "no such country"), ("DE-XX", "DE has no such region")):
        with pytest.raises(UserError, match=f"data.holidays={asked}: {message}"):
            ready(csv(text, holidays=asked, **settings))
    weeks = "day,x\n" + "\n".join(f"{d},{i % 5}" for i, d in enumerate(days[0] + 7 * np.arange(40)))
    with pytest.raises(UserError, match="needs steps of a day or less, this series has steps of 1 week"):
        ready(csv(weeks, holidays="DE", **settings))


def test_holidays_say_what_is_missing(csv, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    days = np.datetime64("2020-12-01") + np.arange(40)
    text = "day,x\n" + "\n".join(f"{d},{i % 5}" for i, d in enumerate(days))
    with pytest.raises(UserError, match=r"needs the package holidays: pip install 'rnnlab\[holidays\]'"):
        ready(csv(text, target="x", time_column="day", holidays="DE"))


def test_an_origin_leaves_out_the_last_test_parts(csv):
    """Test parts of origins 0, 1, 2 lie end to end, keep their length, and nothing behind them is seen."""
    values = np.random.default_rng(0).normal(size=101)
    text = "x\n" + "\n".join(f"{v:.6f}" for v in values)
    settings = {"target": "x", "window": 6, "horizon": 2, "fractions": (0.6, 0.1, 0.1 + 0.2)}
    found = [ready(csv(text, origin=k, **settings)) for k in (0, 1)]
    assert found[0].content_hash == ready(csv(text, **settings)).content_hash != found[1].content_hash
    (first, stop), (begin, end) = found[1].rows("test"), found[0].rows("test")
    assert (stop, end) == (begin, 101) and stop - first == end - begin
    assert found[1].rows("train") == (0, 61 - (end - begin)) and found[1].rows("val") == (
        61 - (end - begin),
        first,
    )
    changed = "x\n" + "\n".join(f"{v:.6f}" for v in np.where(np.arange(101) < stop, values, 99.0))
    other = ready(csv(changed, origin=1, **settings))
    assert torch.equal(other.series[:stop], found[1].series[:stop])
    assert other.baselines("test") == found[1].baselines("test")
    with pytest.raises(UserError, match="too short"):
        ready(csv(text, origin=2, **settings))
    gap = text.replace(f"{values[95]:.6f}", "nan")
    assert ready(csv(gap, origin=1, missing="interpolate", **settings)).baselines("test") == found[
        1
    ].baselines("test")
