"""The sine: what is drawn, how it is split, and the notebooks' shapes."""

import numpy as np
import pytest
import torch

from rnnlab.data import Sine
from rnnlab.errors import UserError


def made(**settings):
    data = Sine(**settings)
    data.setup()
    return data


def test_points_are_a_sum_of_sines_plus_noise_of_the_asked_size():
    data = made(n_points=20_000, amplitudes=[1.0, 0.5], frequencies=[1.0, 3.0], noise_std=0.2)
    t = np.arange(20_000) * 100 / 19_999
    np.testing.assert_allclose(data.clean, np.sin(t) + 0.5 * np.sin(3 * t), atol=1e-12)
    noise = data.series[:, 0].double().numpy() - data.clean
    assert noise.std() == pytest.approx(0.2, rel=0.02)
    assert abs(noise.mean()) < 0.006  # four standard errors
    assert abs(np.corrcoef(noise[1:], noise[:-1])[0, 1]) < 0.03


def test_the_seed_decides_the_noise_and_nothing_else_does():
    before = (torch.get_rng_state(), np.random.get_state()[1].copy())
    assert torch.equal(made(seed=0).series, made(seed=0).series)
    assert not torch.equal(made(seed=0).series, made(seed=1).series)
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])


def test_no_window_straddles_a_cut():
    data = made(horizon=3)
    for split, (first, behind) in {"train": (0, 700), "val": (700, 850), "test": (850, 1000)}.items():
        starts = data.starts(split)
        assert data.rows(split) == (first, behind)
        assert starts.min() == first
        assert starts.max() + data.window + data.horizon == behind


def test_notebook_sine_windows():
    """980 windows dealt 80/20 at random, as the notebook does: training inputs (784, 20, 1)."""
    data = made(noise_std=0.0, split="windows", fractions=(0.8, 0.2, 0.0), batch_size=0)
    ((x, y),) = data.loader("train", shuffle=True)
    assert (x.shape, y.shape) == ((784, 20, 1), (784, 1, 1))
    train, val = data.starts("train"), data.starts("val")
    assert torch.equal(torch.cat([train, val]).sort().values, torch.arange(980))
    assert val.max() > 900 and val.min() < 80  # spread over the series, not its end
    # the leak: the targets of the validation are inputs of the training
    seen = (train[:, None] + torch.arange(20)).unique()
    assert torch.isin(val + 20, seen).float().mean() > 0.9


def test_notebook_next_value():
    data = made(n_points=100, t_max=20.0, noise_std=0.0, window=1, fractions=(1.0, 0.0, 0.0), batch_size=0)
    ((x, y),) = data.loader("train", shuffle=True)
    points = np.sin(np.linspace(0, 20, 100)).astype(np.float32)
    np.testing.assert_allclose(x[:, 0, 0], points[:99], atol=1e-7)
    np.testing.assert_allclose(y[:, 0, 0], points[1:], atol=1e-7)


def test_realised_noise_is_that_of_the_targets():
    data = made(horizon=2)
    squares = [data.noise[s + 20 + h] ** 2 for s in range(850, 1000 - 21) for h in range(2)]
    assert data.facts("test")["realised_noise"] == pytest.approx(np.mean(squares), rel=1e-12)
    # a forecast of the clean signal misses by exactly that
    error = [
        data.series[s + 20 + h, 0].item() - data.clean[s + 20 + h] for s in range(850, 979) for h in range(2)
    ]
    assert np.square(error).mean() == pytest.approx(data.facts("test")["realised_noise"], rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"amplitudes": [1.0, 2.0]}, r"data\.amplitudes=\[1\.0,2\.0\]: 2 amplitudes for 1 frequencies"),
        ({"split": "point"}, "Did you mean points"),
        ({"noise_std": -0.1}, r"data\.noise_std=-0\.1: must be a number of at least 0"),
        ({"t_max": 0.0}, r"data\.t_max=0\.0: must be a number above 0"),
        ({"window": 0}, r"data\.window=0: must be a whole number of at least 1"),
        ({"n_points": 1}, r"data\.n_points=1: must be a whole number of at least 2"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        Sine(**settings)


class Louder(Sine):
    """Another series than the floor is computed for."""

    def read(self):
        frame = super().read()
        frame.values[:] = np.sign(frame.values)
        return frame


def test_a_subclass_that_reads_another_series_has_not_the_floor_of_a_sine():
    data = Louder(n_points=300)
    data.setup()
    assert data.floor("val") == data.facts("val") == {} and data.baselines("val")
    assert made(n_points=300).floor("val") and made(n_points=300).facts("val")
