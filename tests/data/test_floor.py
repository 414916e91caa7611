"""The Bayes error, against plain Monte Carlo and against cases that have an answer on paper."""

import numpy as np
import pytest

from rnnlab.data import Sine
from rnnlab.data.floor import estimate, rounded


def floor(**settings):
    data = Sine(**settings)
    data.setup()
    # approximately, for both are rounded
    assert data.floor("test")["rmse"] ** 2 == pytest.approx(data.floor("test")["mse"], rel=0.02)
    return data.floor("test")["mse"]


def by_monte_carlo(amplitudes, frequencies, step, window, horizon, sigma, length, n, cells):
    """Squared error of the posterior mean over a dense grid, and its standard error: nothing clever."""
    rng = np.random.default_rng(0)
    lags = step * np.arange(window + horizon)

    def signal(t):
        return sum(a * np.sin(w * (t[:, None] + lags)) for a, w in zip(amplitudes, frequencies, strict=True))

    grid, errors = signal((np.arange(cells) + 0.5) * length / cells), []
    for _ in range(n // 500):
        truth = signal(rng.uniform(0, length, 500))
        seen = truth[:, :window] + sigma * rng.normal(size=(500, window))
        logs = (seen @ grid[:, :window].T - 0.5 * np.square(grid[:, :window]).sum(1)) / sigma**2
        weights = np.exp(logs - logs.max(1, keepdims=True))
        forecast = weights @ grid[:, window:] / weights.sum(1, keepdims=True)
        errors.append(np.square(forecast - truth[:, window:]).mean(1))
    errors = np.concatenate(errors)
    return sigma**2 + errors.mean(), errors.std() / len(errors) ** 0.5


def test_a_window_of_20_at_noise_0_1_leaves_1_065_times_the_noise():
    assert floor() / 0.1**2 == pytest.approx(1.065, rel=0.01)


@pytest.mark.parametrize(
    ("settings", "cells"),
    [
        ({}, 1000),
        ({"window": 1}, 1000),
        ({"window": 3, "horizon": 5, "noise_std": 0.5}, 1000),
        (
            {
                "amplitudes": [1.0, 0.5],
                "frequencies": [1.0, 2.7],
                "t_max": 30.0,
                "window": 8,
                "horizon": 4,
                "noise_std": 0.3,
            },
            4000,
        ),
    ],
)
def test_floor_is_that_of_plain_monte_carlo(settings, cells):
    data = Sine(**settings)
    step = data.t_max / 999
    single = len(data.frequencies) == 1
    length = 2 * np.pi if single else data.t_max - step * (data.window + data.horizon - 1)
    expected, error = by_monte_carlo(
        data.amplitudes,
        data.frequencies,
        step,
        data.window,
        data.horizon,
        data.noise_std,
        length,
        6000,
        cells,
    )
    assert floor(**settings) == pytest.approx(expected, abs=4 * error)


def test_a_floor_has_the_digits_that_other_draws_agree_on():
    signal = [1.0, 0.5], [1.0, 2.7], 30 / 999, 8, 4, 0.3, 29.0
    found = np.array([estimate(*signal, np.random.default_rng(seed)) for seed in range(12)])
    assert 0.3 < found[:, 1].mean() / found[:, 0].std(ddof=1) < 3
    assert rounded(0.0106286, 1.4e-6) == 0.01063
    assert rounded(0.0109802, 2.7e-5) == 0.011
    assert rounded(123.4, 4.0) == 120.0 and rounded(0.5, 0.0) == 0.5


def test_little_noise_leaves_what_the_linearised_signal_leaves():
    """Cramer-Rao: the position has variance sigma^2 / sum_j c'(t_j)^2, the next value c'(t)^2 times that."""
    slope = np.square(np.cos(np.linspace(0, 2 * np.pi, 4001)[:-1, None] + 100 / 999 * np.arange(21)))
    extra = (slope[:, 20] / slope[:, :20].sum(1)).mean()
    assert floor(noise_std=1e-4) / 1e-8 == pytest.approx(1 + extra, rel=0.01)


@pytest.mark.parametrize("noise", [1e-7, 1e-9, 1e-40, 1.5e-320])
def test_noise_below_the_rounding_of_the_signal_leaves_what_more_noise_leaves(noise):
    """Its positions could not be told apart by any computation with this rounding."""
    expected = floor(noise_std=1e-5) * (noise / 1e-5) ** 2
    assert floor(noise_std=noise) == pytest.approx(expected, rel=0.03, abs=5e-324)


def test_without_noise_nothing_is_left():
    assert floor(noise_std=0.0) == 0.0
    assert floor(noise_std=0.0, amplitudes=[1.0, 0.5], frequencies=[1.0, 2.7]) == 0.0


def test_without_noise_one_point_leaves_the_direction_unknown():
    """sin(t + d) = sin t cos d +- cos t sin d of unknown sign: E[cos^2 t] sin^2 d = sin^2(d) / 2 is left."""
    settings = {"n_points": 100, "t_max": 20.0, "window": 1, "noise_std": 0.0, "fractions": (1.0, 0.0, 0.0)}
    assert floor(**settings) == pytest.approx(np.sin(20 / 99) ** 2 / 2, rel=0.01)


def test_it_is_the_same_for_every_seed_and_in_every_process():
    assert floor(seed=0) == floor(seed=5)
