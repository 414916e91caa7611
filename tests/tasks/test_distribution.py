"""Quantiles and Student's t: against torch's density, counted samples and brute force; natively as in torch."""

import numpy as np
import pytest
import torch

import rnnlab
from rnnlab import native
from rnnlab.data import Sine
from rnnlab.tasks import Forecaster
from rnnlab.tasks.distribution import LEVELS, Quantiles, StudentT, pinball, scores, t_quantiles
from rnnlab.tasks.rollout import free_run, interval_by_window

# scipy.stats.t.ppf(level, freedom) to eight digits, from published tables: 0.95 and 0.75
TABLE = {2.0: (2.91998558, 0.81649658), 3.0: (2.35336343, 0.76489233), 5.0: (2.01504837, 0.72668684),
         10.0: (1.81246112, 0.69981206), 30.0: (1.69726089, 0.68275569)}  # fmt: skip


def test_the_quantiles_of_t_are_those_of_the_tables():
    got = t_quantiles(torch.tensor(list(TABLE)))
    for row, expected in zip(got, TABLE.values(), strict=True):
        assert [row[LEVELS.index(0.95)].item(), row[LEVELS.index(0.75)].item()] == pytest.approx(
            expected, rel=1e-4
        )
        np.testing.assert_allclose(row, -row.flip(0), atol=1e-6)


def test_the_loss_of_t_is_the_density_of_torch():
    said, y = torch.randn(50, 3, dtype=torch.float64), torch.randn(50, dtype=torch.float64)
    location, scale, freedom = StudentT.parameters(said)
    theirs = -torch.distributions.StudentT(freedom, location, scale).log_prob(y).mean()
    torch.testing.assert_close(StudentT().loss(said, y), theirs)


def test_pinball_is_least_at_the_quantile():
    y = torch.from_numpy(np.random.default_rng(0).exponential(size=4001))
    grid = torch.linspace(0, 4, 2001, dtype=torch.float64)
    for level in (0.1, 0.5, 0.9):
        cost = torch.stack(
            [pinball(g.expand(len(y), 1), torch.tensor([level]).double(), y).mean() for g in grid]
        )
        assert grid[cost.argmin()].item() == pytest.approx(np.quantile(y.numpy(), level), abs=0.01)


def test_crps_and_coverage_of_a_right_distribution():
    """Of a standard normal forecast: CRPS = 1 / sqrt(pi), and 0.9 between the quantiles 0.05 and 0.95."""
    y = torch.from_numpy(np.random.default_rng(0).normal(size=200_000))
    levels = [(k + 0.5) / 200 for k in range(200)]
    normal = torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(levels, dtype=torch.float64))
    found = scores(normal.expand(len(y), -1), levels, y)
    assert found["crps"].item() / len(y) == pytest.approx(np.pi**-0.5, rel=0.01)
    nineteen = torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(LEVELS, dtype=torch.float64))
    assert scores(nineteen.expand(len(y), -1), LEVELS, y)["coverage"].item() / len(y) == pytest.approx(
        0.9, abs=0.003
    )


def test_crossed_quantiles_are_put_in_order():
    head = Quantiles([0.1, 0.5, 0.9])
    assert head.quantiles(torch.tensor([[3.0, 1.0, 2.0]])).tolist() == [[1.0, 2.0, 3.0]]
    assert head.point(torch.tensor([[3.0, 1.0, 2.0]])).tolist() == [2.0]


FAST = ("experiment=sine", "data.n_points=400", "data.horizon=2", "model.hidden_size=8", "trainer.threads=1",
        "logger=none", "callbacks=none", "trainer.accelerator=cpu", "scheduler=constant")  # fmt: skip


@pytest.mark.skipif(native.obstacle() is not None, reason="no native engine here")
@pytest.mark.parametrize("subtract", ["true", "false"])
def test_the_kernels_minimise_the_pinball_loss_as_the_reference_does(tmp_path, subtract):
    def trained(engine):
        return rnnlab.train(*FAST, "model.loss=quantile", "model.quantiles=[0.05,0.5,0.8,0.95]",
                            f"model.engine={engine}", f"model.subtract_last={subtract}", "trainer.max_epochs=4",
                            f"paths.outputs={tmp_path / engine}", quiet=True)  # fmt: skip

    ours, theirs = trained("native"), trained("reference")
    assert ours.record["engine"]["steps"] == "native"
    np.testing.assert_allclose(ours.metrics["loss/train"][1], theirs.metrics["loss/train"][1], rtol=1e-4)
    assert ours.results["test"].keys() == {"loss", "mse", "mae", "rmse", "pinball", "crps", "coverage"}
    for name, value in ours.results["test"].items():
        assert value == pytest.approx(theirs.results["test"][name], rel=1e-3)
    # a sine is unscaled; quantiles in order cost no more than crossed ones
    assert 0.9 < ours.results["test"]["pinball"] / ours.results["test"]["loss"] < 1 + 1e-5


@pytest.mark.parametrize("loss", ["quantile", "student_t"])
def test_a_trained_distribution_covers_what_it_says(tmp_path, loss):
    run = rnnlab.train(*FAST, f"model.loss={loss}", "data.n_points=1500", "trainer.max_epochs=25", "optimizer.lr=1e-2",
                       "monitor=metric/crps", f"paths.outputs={tmp_path}", quiet=True)  # fmt: skip
    assert abs(run.results["test"]["coverage"] - {"quantile": 0.8, "student_t": 0.9}[loss]) < 0.08
    # of Gaussian noise the CRPS is its standard deviation / sqrt(pi) at best
    assert 0.9 < run.results["test"]["crps"] / (0.1 * np.pi**-0.5) < 1.5
    data = Sine(n_points=300, horizon=2)
    data.with_spec(run.model.spec).setup()
    free = free_run(run.model, data, 100, 6)
    assert free.quantiles.shape == (2, 1, len(free.levels)) and (np.diff(free.quantiles, axis=-1) >= 0).all()
    interval = interval_by_window(run.model, data, 100, 6)
    np.testing.assert_allclose(interval[:2], free.quantiles[..., [0, -1]], rtol=1e-6)


def test_what_no_distribution_gives_cannot_be_monitored():
    from rnnlab.config import check, compose
    from rnnlab.errors import UserError

    with pytest.raises(UserError, match="monitor=metric/crps: a validation gives"):
        check(compose(["experiment=sine", "monitor=metric/crps"]))
    check(compose(["experiment=sine", "monitor=metric/crps", "model.loss=quantile"]))
    with pytest.raises(UserError, match=r"model\.quantiles=\[0\.5,0\.1\]: must increase"):
        check(compose(["experiment=sine", "model.loss=quantile", "model.quantiles=[0.5,0.1]"]))


@pytest.mark.parametrize("levels", [(0.9, 0.1), (0.5, 1.0), (0.5, 0.5), ()])
def test_levels_that_do_not_increase_are_refused_from_python_too(levels):
    with pytest.raises(rnnlab.errors.UserError, match=r"model\.quantiles=\[.*\]: must increase"):
        Quantiles(levels)


def test_differences_have_no_quantiles_that_sum_up():
    spec = {"kind": "series", "window": 5, "horizon": 2, "inputs": 1, "targets": 1, "target_index": [0],
            "target_scale": [1.0], "target_shift": [0.0], "per_window": "difference"}  # fmt: skip
    with pytest.raises(rnnlab.errors.UserError, match="cannot be added up"):
        Forecaster(spec, loss="quantile", cell="gru", hidden_size=2)
