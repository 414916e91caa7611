"""Each baseline against a loop that says what it means."""

import numpy as np
import pytest

from rnnlab.data import Series, Sine
from rnnlab.data.baselines import PENALTIES

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
    first, behind = {"train": (0, TRAIN), "test": (TRAIN - window, N)}[split]  # inputs reach back
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


@pytest.fixture
def noise(tmp_path):
    table = np.random.default_rng(1).normal(size=(N, 2)) * (1, 50) + (3, 400)
    table[1:] += 0.5 * table[:-1]
    path = tmp_path / "noise.csv"
    path.write_text("p,q\n" + "\n".join(f"{float(p)!r},{float(q)!r}" for p, q in table))
    return path


@pytest.mark.parametrize("validated", [True, False])
def test_linear_is_ridge_regression_with_its_penalty_chosen_on_what_it_is_not_fitted_on(noise, validated):
    """By an augmented least squares: sqrt(n * penalty) as rows below the standardised windows."""
    fractions = (0.5, 0.25, 0.25) if validated else (0.5, 0.0, 0.5)
    data = Series(noise, "q", columns="all", window=4, horizon=3, fractions=fractions)
    data.setup()
    raw = np.loadtxt(noise, delimiter=",", skiprows=1)

    def laid_out(starts):
        x = np.array([raw[s : s + 4].ravel() for s in starts])
        return x, np.array([raw[s + 4 : s + 7, 1] for s in starts])

    starts = range(TRAIN - 4 - 3 + 1)
    unit = np.tile(raw[list(starts)].std(0), 4)

    def ridge(at, penalty):
        x, y = laid_out(at)
        mean_x, mean_y = x.mean(0), y.mean(0)
        rows = np.vstack([(x - mean_x) / unit, np.sqrt(len(x) * penalty) * np.eye(8)])
        weights = np.linalg.lstsq(rows, np.vstack([y - mean_y, np.zeros((8, 3))]), rcond=None)[0]
        return lambda at: ((laid_out(at)[0] - mean_x) / unit @ weights + mean_y) - laid_out(at)[1]

    fifth = len(starts) // 5
    fitted = starts if validated else starts[: len(starts) - fifth]
    held = range(TRAIN - 4, 68 - 6) if validated else starts[len(starts) - fifth :]  # 67.5 rows, rounded
    errors = {p: np.mean(ridge(fitted, p)(held) ** 2) for p in PENALTIES}
    best = min(errors, key=errors.get)
    assert best > 0  # else this tells ridge regression from least squares in nothing
    test = range((68 if validated else TRAIN) - 4, N - 6)
    assert data.baselines("test")["linear"] == pytest.approx(scores(ridge(starts, best)(test)), rel=1e-6)


def test_linear_does_not_explode_where_there_are_as_many_values_as_windows(noise):
    """24 values in each of 24 windows: without a penalty its error is 7 times the spread of the series."""
    data = Series(noise, "q", columns="all", window=12, horizon=1, fractions=(0.4, 0.3, 0.3))
    data.setup()
    assert data.baselines("test")["linear"]["rmse"] < 1.3 * data.values("test").values[:, 1].std()


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
