"""Scaling, gaps, bins and columns of a CSV file."""

import numpy as np
import pytest
import torch

from rnnlab.data import Series
from rnnlab.errors import UserError


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
        assert "2 places, first from 2024-01-03T00:00:00 to 2024-01-05T00:00:00" in remarks[0]
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
        (
            "y\n1\n2\n3\n4",
            {"target": "y"},
            r"trained with input_names=\['x'\], this data has input_names=\['y'\]",
        ),
        ("x\n1\n2\n3\n4", {"target": "x", "window": 3}, "trained with window=2, this data has window=3"),
        ("x\n1", {"target": "x"}, "looks at 2 rows, this data has only 1"),
    ],
)
def test_new_data_of_another_shape_are_refused(csv, text, settings, message):
    spec = ready(csv(column(range(8)), target="x")).spec
    with pytest.raises(UserError, match=message):
        ready(csv(text, **settings).with_spec(spec))
