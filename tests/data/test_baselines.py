"""Each baseline against a loop that says what it means."""

import numpy as np
import pytest

from rnnlab.data import Series, Sine

N, TRAIN = 90, 45


@pytest.fixture
def path(tmp_path):
    rng = np.random.default_rng(0)
    table = np.cumsum(rng.normal(size=(N, 2)), axis=0) * (1, 50) + (3, 400)
    path = tmp_path / "walk.csv"
    path.write_text("p,q\n" + "\n".join(f"{float(p)!r},{float(q)!r}" for p, q in table))
    return path


def scores(errors):
    errors = np.asarray(errors)
    mse = np.mean(errors**2)
    return {"mse": mse, "mae": np.mean(np.abs(errors)), "rmse": np.sqrt(mse)}


def windows(split, window, horizon):
    first, behind = {"train": (0, TRAIN), "test": (TRAIN, N)}[split]
    return range(first, behind - window - horizon + 1)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(
    ("season", "window", "horizon"), [(4, 6, 3), (2, 6, 7), (12, 5, 4), (7, 7, 7), (1, 3, 4)]
)
def test_persistence_and_season_are_in_raw_units(path, split, season, window, horizon):
    data = Series(path, ["q", "p"], season=season, window=window, horizon=horizon, fractions=(0.5, 0.0, 0.5))
    data.setup()
    raw = np.loadtxt(path, delimiter=",", skiprows=1)[:, [1, 0]]
    persistence, seasonal = [], []
    for s in windows(split, window, horizon):
        now = s + window - 1
        for h in range(1, horizon + 1):
            truth, before = raw[now + h], now + h
            while before > now:  # the last season that lies before the forecast
                before -= season
            persistence.append(raw[now] - truth)
            seasonal.append((raw[before] if before >= 0 else raw[now]) - truth)
    got = data.baselines(split)
    assert got["persistence"] == pytest.approx(scores(persistence))
    assert got["seasonal"] == pytest.approx(scores(seasonal))


def test_linear_is_least_squares_on_the_training_windows(path):
    data = Series(path, "q", columns="all", window=4, horizon=3, fractions=(0.5, 0.0, 0.5))
    data.setup()
    raw = np.loadtxt(path, delimiter=",", skiprows=1)

    def laid_out(split):
        starts = windows(split, 4, 3)
        x = np.array([np.append(raw[s : s + 4].ravel(), 1.0) for s in starts])
        return x, np.array([raw[s + 4 : s + 7, 1] for s in starts])

    (x, y), (x_test, y_test) = laid_out("train"), laid_out("test")
    weights = np.linalg.lstsq(x, y, rcond=None)[0]
    assert data.baselines("test")["linear"] == pytest.approx(scores(x_test @ weights - y_test), rel=1e-6)


def test_linear_predicts_a_noiseless_sine_though_its_windows_have_rank_2():
    data = Sine(noise_std=0.0, horizon=4)
    data.setup()
    assert data.baselines("test")["linear"]["rmse"] < 1e-6


def test_the_mean_is_that_of_the_training_targets():
    data = Sine(n_points=200, window=20, horizon=2)
    data.setup()
    raw = data.series[:, 0].double().numpy()
    mean = np.mean([raw[s + 20 + h] for s in range(0, 140 - 21) for h in range(2)])
    errors = [mean - raw[s + 20 + h] for s in range(170, 200 - 21) for h in range(2)]
    assert data.baselines("test")["mean"] == pytest.approx(scores(errors), rel=1e-5)


def test_no_baseline_beats_the_floor_where_there_is_much_data():
    data = Sine(n_points=100_000, t_max=10_000.0)
    data.setup()
    floor = data.floor("test")["mse"]
    assert all(score["mse"] > floor for score in data.baselines("test").values())
    assert data.baselines("test")["linear"]["mse"] < 1.2 * floor
