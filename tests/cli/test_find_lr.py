"""`rnnlab find-lr`: the rate that it suggests, and that it leaves nothing but a picture."""

import shlex

import matplotlib.image
import numpy as np
import pytest
import torch

from rnnlab.cli import find_lr, main
from rnnlab.cli.find_lr import Tried, smoothed
from rnnlab.data import Sine
from rnnlab.errors import RunFailed

SMALL = (
    "experiment=sine",
    "data.n_points=300",
    "trainer.accelerator=cpu",
    "model.engine=torch",
    "trainer.threads=1",
)


def tried(losses, rates=None):
    rates = np.geomspace(1e-6, 1, len(losses)) if rates is None else rates
    return Tried(32, rates, np.asarray(losses, float), 1.0)


def test_a_tenth_of_the_rate_with_the_lowest_loss():
    rates = np.geomspace(1e-6, 1, 400)
    valley = 1 + np.log10(rates / 0.03) ** 2 / 10
    found = tried(valley, rates)
    assert found.lowest == pytest.approx(0.03, rel=0.6)  # the mean of those before lags behind
    assert found.suggested == float(f"{found.lowest / 10:.1e}")


def test_noise_alone_suggests_nothing():
    noise = np.random.default_rng(3).normal(1, 0.1, 300)
    assert tried(noise).suggested is None
    assert tried(noise - np.r_[np.zeros(250), np.full(50, 0.5)]).suggested is not None


@pytest.mark.parametrize(("size", "rows"), [(64, 50), (1000, 150), (0, 150)])
def test_examples_are_counted_as_they_lie_in_the_batches(size, rows):
    """Of 150 windows: batches of 64, 64 and 22, or one of all."""
    data = Sine(n_points=171 + 50, window=20, fractions=(0.77, 0.0, 0.23), batch_size=size)
    data.setup()
    assert len(data.starts("train")) == 150
    assert find_lr.rows_of(data.loader("train", shuffle=True), size) == rows
    assert find_lr.rows_of(torch.utils.data.DataLoader([1, 2]), 7) == 7


def test_the_mean_is_one_of_all_before_without_a_bias():
    losses = np.array([3.0, 1.0, 2.0])
    weights = find_lr.MEMORY ** np.arange(3)
    expected = [np.average(losses[: i + 1][::-1], weights=weights[: i + 1]) for i in range(3)]
    assert smoothed(losses) == pytest.approx(expected)


def test_a_table_a_picture_and_a_command_that_trains_better(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["find-lr", *SMALL, "notes='two words'", "--batch-sizes", "16,64", "--steps", "120"]) == 0
    out = capsys.readouterr()
    assert out.err == "" and [path.name for path in tmp_path.iterdir()] == ["find-lr.png"]
    assert matplotlib.image.imread(tmp_path / "find-lr.png").std() > 0.05
    (line,) = [line for line in out.out.splitlines() if line.startswith("train ")]
    words = shlex.split(line)[1:]
    assert words[:2] == ["rnnlab", "train"] and "notes='two words'" in words
    rate = float(words[-1].partition("optimizer.lr=")[2])
    import rnnlab

    reached = {}
    for lr in (rate, rate / 100, min(rate * 300, 10)):
        try:
            run = rnnlab.train(*words[2:-1], f"optimizer.lr={lr}", "trainer.max_steps=100", "callbacks=none",
                               f"paths.outputs={tmp_path / 'out'}", quiet=True)  # fmt: skip
            reached[lr] = run.results["last"]["metrics"]["loss/val"]
        except RunFailed:
            reached[lr] = np.inf
    assert min(reached, key=reached.get) == rate, reached


def test_the_rates_rise_in_equal_factors_and_the_numbers_are_the_runs(tmp_path):
    from rnnlab.config import check, compose

    config = check(compose([*SMALL, f"paths.outputs={tmp_path}"]))
    found = find_lr.range_test(config, 1e-5, 1e-2, 31)
    assert found.rates == pytest.approx(np.geomspace(1e-5, 1e-2, 31), rel=1e-5)
    assert len(found.losses) == 31 and found.batch_size == config["data"]["batch_size"]


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        (["--from", "1", "--to", "0.1"], "--from 1 --to 0.1: must be rates above 0, --from below --to"),
        (["--steps", "19"], "--steps 19: must be at least 20"),
        (
            ["--from", "100", "--to", "1e4", "--steps", "20"],
            "--from 100: the loss has grown 4-fold, or is not finite",
        ),
        (["--batch-sizes", "8,x"], "--batch-sizes 8,x: must be whole numbers of at least 1"),
        (["optimizer.lrr=3"], "optimizer.lrr: no such key. Did you mean optimizer.lr?"),
    ],
)
def test_what_cannot_be_is_a_line(asked, line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["find-lr", *SMALL, *asked]) == 2
    assert capsys.readouterr().err.startswith(line) and not list(tmp_path.iterdir())


def test_a_single_batch_size_is_part_of_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["find-lr", *SMALL, "--batch-sizes", "16", "--steps", "120"]) == 0
    assert " data.batch_size=16 " in capsys.readouterr().out


def test_a_picture_that_cannot_be_drawn_loses_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").mkdir()
    assert main(["find-lr", *SMALL, "--steps", "120", "--picture", "a.png"]) == 2
    said = capsys.readouterr()
    assert "train    rnnlab train " in said.out and "examples a second" in said.out and "a.png" in said.err
    assert main(["find-lr", *SMALL, "--picture", "a.gif"]) == 2
    assert capsys.readouterr() == ("", "a.gif: a figure is written as .svg, .pdf, .png\n")


def test_losses_below_zero_are_drawn(tmp_path):
    losses = np.linspace(0.5, -2.0, 60)
    axes = find_lr.picture([tried(losses)]).axes[0]
    assert axes.get_yscale() == "linear" and axes.get_ylim()[0] < -1
    assert find_lr.picture([tried(losses + 3)]).axes[0].get_yscale() == "log"
