"""Scales of a window's own: reversible, free of level and spread, and trained in on every engine alike."""

import numpy as np
import pytest
import torch

import rnnlab
from rnnlab import native
from rnnlab.data import Series
from rnnlab.data.per_window import MODES, PerWindow
from rnnlab.errors import UserError
from rnnlab.tasks import Forecaster


@pytest.mark.parametrize("mode", MODES)
def test_what_is_wanted_is_what_restores_the_truth(mode):
    x, y = torch.randn(5, 9, 3).cumsum(1).double(), torch.randn(5, 4, 2).double()
    scale = PerWindow(mode, torch.tensor([2, 0]), season=3, horizon=4)
    seen, units = scale.seen(x)
    torch.testing.assert_close(scale.restored(scale.head_target(y, units), units), y)
    assert seen.shape == (5, 9 - {"difference": 1, "seasonal_difference": 3}.get(mode, 0), 3)


def test_each_mode_against_numpy():
    x, y = (
        np.random.default_rng(0).normal(size=(6, 2)).cumsum(0),
        np.random.default_rng(1).normal(size=(3, 1)),
    )
    std = np.sqrt(x.var(0) + 1e-5)
    expected = {
        "window_last": (x - x[-1], y - x[-1, 1]),
        "window_mean": (x - x.mean(0), y - x[:, 1].mean()),
        "window_standard": ((x - x.mean(0)) / std, (y - x[:, 1].mean()) / std[1]),
        "difference": (np.diff(x, axis=0), np.diff(np.concatenate([x[-1:, 1:], y]), axis=0)),
        # the third step repeats the season's first
        "seasonal_difference": (x[2:] - x[:-2], y - x[[4, 5, 4], 1:]),
    }
    assert set(expected) == set(MODES)
    for mode, (seen, wanted) in expected.items():
        scale = PerWindow(mode, torch.tensor([1]), season=2, horizon=3)
        got, units = scale.seen(torch.from_numpy(x)[None])
        np.testing.assert_allclose(got[0], seen, atol=1e-12)
        np.testing.assert_allclose(scale.head_target(torch.from_numpy(y)[None], units)[0], wanted, atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_inputs_that_are_left_plain_are_shown_as_they_are(mode):
    x = torch.randn(4, 7, 3)
    scale = PerWindow(mode, torch.tensor([0]), plain=1, season=3, horizon=2)
    seen, units = scale.seen(x)
    assert torch.equal(seen[..., 2], x[:, 7 - seen.shape[1] :, 2])
    assert not torch.equal(seen[..., 1], x[:, 7 - seen.shape[1] :, 1])
    y = torch.randn(4, 2, 1)
    torch.testing.assert_close(scale.restored(scale.head_target(y, units), units), y)


@pytest.fixture
def airline(tmp_path):
    """A level and a swing that grow, as of airline passengers."""
    t, noise = np.arange(120), np.random.default_rng(0).normal(size=120)
    months = np.datetime64("1949-01") + t
    values = np.exp(4.7 + 0.01 * t + 0.1 * np.sin(t / 12 * 2 * np.pi) + 0.02 * noise)
    path = tmp_path / "passengers.csv"
    path.write_text("month,n\n" + "\n".join(f"{m},{v:.3f}" for m, v in zip(months, values, strict=True)))
    return path


def settings(path, **more):
    return {"path": path, "target": "n", "time_column": "month", "window": 14, "horizon": 3, **more}


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("mode", ["standard", *MODES])
def test_metrics_are_in_the_units_of_the_file(airline, mode, log):
    data = Series(**settings(airline, scaling=mode, log=log))
    data.setup()
    task = Forecaster(data.spec, cell="gru", hidden_size=4).eval()
    (batch,) = data.loader("test")
    with torch.no_grad():
        said = task.unscaled(task(batch[0]))
        task.validation_step(batch, 0)
    _, metrics = task.evaluation_metrics()
    raw, starts = data.frame.values[:, 0], data.starts("test").numpy()
    truth = raw[starts[:, None] + 14 + np.arange(3)][..., None]
    np.testing.assert_allclose(metrics["mse"], np.square(said.numpy() - truth).mean(), rtol=1e-4)
    if mode != "standard":  # a model that says nothing holds what the scale says: the last value, or the mean
        torch.nn.init.zeros_(task.head.weight), torch.nn.init.zeros_(task.head.bias)
        with torch.no_grad():
            held = task.unscaled(task(batch[0]))
        windows = raw[starts[:, None] + np.arange(14)]
        windows = np.log(windows) if log else windows
        centre = windows.mean(1) if mode in ("window_mean", "window_standard") else windows[:, -1]
        if mode == "seasonal_difference":  # the third step's value of a year before
            centre = windows[:, 14 + 2 - 12]
        centre = np.exp(centre) if log else centre
        np.testing.assert_allclose(held[:, 2, 0], centre, rtol=1e-5)


@pytest.mark.skipif(native.obstacle() is not None, reason="no native engine here")
@pytest.mark.parametrize(("mode", "subtract"), [*((m, False) for m in MODES), ("window_standard", True)])
def test_the_kernels_train_in_it_as_the_reference_does(airline, tmp_path, mode, subtract):
    def trained(engine):
        return rnnlab.train(
            "data=series", "model=forecaster", *(f"data.{k}={v}" for k, v in settings(airline, scaling=mode).items()),
            "data.log=true", "model.cell=gru", "model.hidden_size=6", f"model.subtract_last={subtract}".lower(),
            f"model.engine={engine}", "trainer.max_epochs=3", "logger=none", "callbacks=none", "name=x",
            "trainer.threads=1", "trainer.accelerator=cpu", f"paths.outputs={tmp_path / engine}", quiet=True,
        )  # fmt: skip

    ours, theirs = trained("native"), trained("reference")
    assert ours.record["engine"]["steps"] == "native"
    for key in ("mse", "loss"):
        assert ours.results["test"][key] == pytest.approx(theirs.results["test"][key], rel=1e-4)
    np.testing.assert_allclose(ours.metrics["loss/train"][1], theirs.metrics["loss/train"][1], rtol=1e-4)


def test_very_small_and_very_large_units_have_their_errors(tmp_path):
    swing = np.sin(np.arange(80.0))
    for unit in (1e-30, 1e30):
        (tmp_path / "x.csv").write_text("x\n" + "\n".join(repr(float(v * unit)) for v in swing))
        data = Series(tmp_path / "x.csv", "x", window=5, horizon=2)
        data.setup()
        task = Forecaster(data.spec, cell="elman", hidden_size=3)
        with torch.no_grad():
            task.validation_step(next(iter(data.loader("test"))), 0)
        mse = task.evaluation_metrics()[1]["mse"]
        assert 0.01 < mse / unit**2 < 10
        assert 0.01 < data.baselines("test")["persistence"]["mse"] / unit**2 < 10


@pytest.mark.parametrize(
    ("more", "said"),
    [({"window": 12}, "data.window=12.*a season of 12 steps"), ({"season": None}, "set data.season")],
)
def test_a_seasonal_difference_needs_a_season_within_the_window(airline, more, said):
    with pytest.raises(UserError, match=f"seasonal_difference needs a window longer than a season.*{said}"):
        Series(**settings(airline, scaling="seasonal_difference", **more)).setup()
