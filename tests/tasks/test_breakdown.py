"""Errors by step, target, series and origin: against a loop over windows; their means are the score of the whole."""

import numpy as np
import pytest
import torch

from rnnlab.data import Series
from rnnlab.errors import UserError
from rnnlab.tasks import Forecaster
from rnnlab.tasks.breakdown import breakdown, spread
from rnnlab.tasks.evaluation import evaluate


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    rows = np.random.default_rng(0).normal(size=(120, 2)).cumsum(0)
    days = np.datetime64("2020-01-01") + np.arange(60)
    text = "".join(f"{days[i // 2]},{'uv'[i % 2]},{a:.6f},{b:.6f}\n" for i, (a, b) in enumerate(rows))
    path = tmp_path_factory.mktemp("two") / "two.csv"
    path.write_text("day,id,a,b\n" + text)
    data = Series(
        path, ["a", "b"], time_column="day", id_column="id", window=5, horizon=3, fractions=(0.4, 0.3, 0.3)
    )
    data.setup()
    return data, Forecaster(data.spec, cell="gru", hidden_size=4).eval()


@pytest.mark.parametrize("by", ["step", "target", "series", "origin"])
def test_each_row_is_the_mean_of_its_own_errors(two, by):
    data, task = two
    errors, names = {}, {"series": "uv", "target": "ab"}
    starts = data.starts("test").tolist()
    assert len(starts) == 32
    for n, s in enumerate(starts):
        shift, scale = data.units(torch.tensor([s]))
        with torch.no_grad():
            said = (task(data.series[s : s + 5][None])[0] * scale[0] + shift[0]).numpy()
        for h in range(3):
            for j in range(2):
                row = {"step": str(h + 1), "target": names["target"][j], "series": "uv"[s >= 60],
                       "origin": n % 16 * 4 // 16}[by]  # fmt: skip
                errors.setdefault(row, []).append(said[h, j] - data.frame.values[s + 5 + h, j])
    got = breakdown(task, data, "test", by, 4 if by == "origin" else 0)
    assert len(got) == len(errors) and (by == "origin" or got.keys() == errors.keys())
    for row, expected in zip(got.values(), errors.values(), strict=True):
        assert row["mse"]["the run"] == pytest.approx(np.mean(np.square(expected)), rel=1e-4)
        assert row["mae"]["the run"] == pytest.approx(np.mean(np.abs(expected)), rel=1e-4)
    for name, score in (data.baselines("test") | {"the run": evaluate(task, data.loader("test"))}).items():
        assert np.mean([row["mse"][name] for row in got.values()]) == pytest.approx(score["mse"], rel=1e-4)
    mean, std = spread(got).values()
    values = [row["mae"]["linear"] for row in got.values()]
    assert (mean["mae"]["linear"], std["mae"]["linear"]) == pytest.approx(
        (np.mean(values), np.std(values, ddof=1))
    )


def test_origins_are_named_by_the_first_day_that_is_forecast(two):
    data, task = two
    assert next(iter(breakdown(task, data, "test", "origin", 4))) == "2020-02-12"  # 42 of 60 days
    with pytest.raises(UserError, match="16 windows, too few for 99 origins"):
        breakdown(task, data, "test", "origin", 99)


def test_series_too_short_for_a_window_have_no_row(two, tmp_path):
    _, task = two
    days = np.datetime64("2020-01-01") + np.arange(9)
    rows = [f"{day},{name},1,2\n" for name, n in (("u", 9), ("v", 4)) for day in days[:n]]
    (tmp_path / "short.csv").write_text("day,id,a,b\n" + "".join(rows))
    data = Series(tmp_path / "short.csv", ["a", "b"], time_column="day", id_column="id", window=5, horizon=3,
                  fractions=(0, 0, 1.0)).with_spec(task.spec)  # fmt: skip
    data.setup()
    assert len(data.starts("test")) == 2
    assert breakdown(task, data, "test", "series").keys() == {"u"}
    assert breakdown(task, data, "test", "step").keys() == {"1", "2", "3"}
    with pytest.raises(UserError, match="2 windows, too few for 3 origins"):
        breakdown(task, data, "test", "origin", 3)


def test_origins_keep_the_offsets_of_their_times(two, tmp_path):
    _, task = two
    days = np.datetime64("2020-03-20") + np.arange(20)
    rows = [f"{day}T00:00:00+0{1 + (day > np.datetime64('2020-03-29'))}:00,u,1,2\n" for day in days]
    (tmp_path / "berlin.csv").write_text("day,id,a,b\n" + "".join(rows))
    data = Series(tmp_path / "berlin.csv", ["a", "b"], time_column="day", id_column="id", window=5, horizon=3,
                  fractions=(0, 0, 1.0)).with_spec(task.spec)  # fmt: skip
    data.setup()
    assert list(breakdown(task, data, "test", "origin", 2)) == [
        "2020-03-25T00:00:00+01:00",
        "2020-04-01T00:00:00+02:00",
    ]


def test_no_origin_is_lost_among_series_of_other_lengths(two, tmp_path):
    """A short series that ends with the long one has windows at two of five origins."""
    _, task = two
    first, last = np.datetime64("2020-01-01"), np.datetime64("2020-01-13")
    days = [(day, name) for name, begin in (("u", 3), ("v", 0)) for day in np.arange(first + begin, last)]
    (tmp_path / "uneven.csv").write_text("day,id,a,b\n" + "".join(f"{d},{n},1,2\n" for d, n in days))
    data = Series(tmp_path / "uneven.csv", ["a", "b"], time_column="day", id_column="id", window=5, horizon=3,
                  fractions=(0, 0, 1.0)).with_spec(task.spec)  # fmt: skip
    data.setup()
    assert len(data.starts("test")) == 2 + 5
    assert list(breakdown(task, data, "test", "origin", 5)) == [f"2020-01-{day:02d}" for day in range(6, 11)]
