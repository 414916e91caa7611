"""The notebooks that rnnlab grew from, each an experiment: their shapes, counts and numbers.

next_value and two_layers are in tests/training/test_plain_loop.py, where a plain loop is beside them; unroll is in
tests/inspection, and numpy_loop is the reference of tests/cells.
"""

import pytest

from rnnlab.config import build, check, compose

QUIET = ("trainer.threads=1", "model.engine=torch", "trainer.accelerator=cpu", "callbacks=none")


def parameters(run) -> dict[str, int]:
    return {name: p.numel() for name, p in run.model.named_parameters()}


def test_sine_windows_has_784_training_windows_and_learns_the_sine(small):
    run = small(base=("experiment=notebook/sine_windows", *QUIET))
    data = build(run.config["data"], "data")
    data.setup()
    x, y = data.loader("train").fetch(slice(None))
    assert (tuple(x.shape), tuple(y.shape)) == ((784, 20, 1), (784, 1, 1))
    assert len(data.starts("val")) == 196
    assert sum(parameters(run).values()) == 32 * 1 + 32 * 32 + 32 + 32 + 32 + 1
    results = run.results
    assert results["best"]["metrics"]["metric/mse"] < 5e-4 < results["baselines"]["val"]["persistence"]["mse"]
    assert results["floor"]["val"]["mse"] == 0  # twenty points without noise tell where the sine stands


def test_sine_windows_offers_the_noise_that_was_forgotten_and_a_split_without_the_leak(small):
    run = small(
        "data.noise_std=0.1", "data.split=points", "trainer.max_epochs=2",
        base=("experiment=notebook/sine_windows", *QUIET),
    )  # fmt: skip
    assert run.results["floor"]["val"]["mse"] > 0.01


def test_binary_classifier_has_the_notebooks_counts_and_learns(small):
    run = small("trainer.max_epochs=6", base=("experiment=notebook/binary_classifier", *QUIET))
    counts = parameters(run)
    assert counts["embedding.weight"] == 32_000
    assert sum(n for name, n in counts.items() if name.startswith("stack.")) == 2_080
    assert sum(n for name, n in counts.items() if name.startswith("head.")) == 33
    results = run.results
    assert results["test"]["accuracy"] > results["baselines"]["test"]["majority"]["accuracy"] + 0.1


def test_char_rnn_is_the_notebooks_cell_and_beats_single_characters(small):
    run = small(
        "trainer.max_steps=300",
        "trainer.val_check_interval=300",
        base=("experiment=notebook/char_rnn", *QUIET),
    )
    names = {name.removeprefix("stack.layers.0.") for name in parameters(run)}
    assert names == {
        "weight_ih",
        "weight_hh",
        "bias_ih",
        "head.weight",
        "head.bias",
    }  # i2h and h2h share one bias
    assert run.config["data"]["segment"] == 25
    assert run.results["best"]["value"] < run.results["baselines"]["val"]["unigram"]["nats"]


@pytest.mark.parametrize(
    "name",
    ["sine", "pydoc", "markers", "notebook/sine_windows", "notebook/next_value", "notebook/two_layers",
     "notebook/binary_classifier", "notebook/char_rnn", "shakespeare"],
)  # fmt: skip
def test_every_experiment_composes_under_its_own_name(name):
    assert check(compose([f"experiment={name}"]))["name"] == name
