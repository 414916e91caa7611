"""The notebooks that rnnlab grew from, each an experiment: their shapes, counts and numbers, and examples/ of them.

next_value and two_layers are in tests/training/test_plain_loop.py, where a plain loop is beside them; unroll is in
tests/inspection, and numpy_loop is the reference of tests/cells.
"""

import re
from pathlib import Path

import pytest

from rnnlab.config import build, check, compose

ROOT = Path(__file__).parents[1]

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
    # i2h and h2h share one bias
    assert names == {"weight_ih", "weight_hh", "bias_ih", "head.weight", "head.bias"}
    assert run.config["data"]["segment"] == 25
    assert run.results["best"]["value"] < run.results["baselines"]["val"]["unigram"]["nats"]


@pytest.mark.parametrize(
    "name",
    ["sine", "pydoc", "markers", "notebook/sine_windows", "notebook/next_value", "notebook/two_layers",
     "notebook/binary_classifier", "notebook/char_rnn", "shakespeare"],
)  # fmt: skip
def test_every_experiment_composes_under_its_own_name(name):
    assert check(compose([f"experiment={name}"]))["name"] == name


# ---------------------------------------------------------------------- examples/

# what is put in front of all cells: trainings are cut short
CUT = """
import rnnlab
train, sweep = rnnlab.train, rnnlab.sweep
cut = ("trainer.max_epochs=1", "trainer.limit_train_batches=2", "trainer.val_check_interval=null", "trainer.threads=1",
       "trainer.check_val_every_n_epoch=1", "trainer.accelerator=cpu")
rnnlab.train = lambda *overrides, **options: train(*overrides, *cut, **options)
rnnlab.sweep = lambda *overrides, **options: sweep(*overrides, *cut, **options)
"""


@pytest.fixture(scope="module")
def examples():
    pytest.importorskip("nbclient")
    import examples

    return examples


def test_the_notebooks_of_examples_are_what_the_script_writes(examples):
    import nbformat

    assert {file.stem for file in (ROOT / "examples").glob("*.ipynb")} == examples.NOTEBOOKS.keys()
    for name in examples.NOTEBOOKS:
        kept = nbformat.read(ROOT / "examples" / f"{name}.ipynb", 4)
        assert [cell.source for cell in kept.cells] == [cell.source for cell in examples.notebook(name).cells]
        assert all(cell.outputs for cell in kept.cells if cell.cell_type == "code"), (
            f"{name} was not executed"
        )
        text = (ROOT / "examples" / f"{name}.ipynb").read_text()
        assert "/tmp/" not in text and "/home/" not in text and '"output_type": "error"' not in text
        examples.light(kept)  # raises for a picture that is too heavy


def test_the_notebooks_of_examples_run(examples, tmp_path):
    """All in one kernel, their trainings cut short: one block for each training, then its pictures."""
    import nbformat

    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CUT)])
    for name in examples.NOTEBOOKS:
        made.cells += examples.notebook(name).cells
    made.cells.append(nbformat.v4.new_code_cell("train('model.hiden_size=3')"))
    made.cells[-1].metadata["tags"] = ["raises-exception"]
    made = examples.execute(made, tmp_path)
    for cell in made.cells:
        if "run = rnnlab.train(" in cell.source:
            block, picture = (o for o in cell.outputs if o.output_type == "display_data")
            assert "<details><summary>config, parameters, engine" in block.data["text/html"]
            assert "<progress" not in block.data["text/html"]  # it is gone at the end, and the table is there
            assert re.search(", step [12] ", block.data["text/html"]) and "/s" in block.data["text/plain"]
            assert "image/png" in picture.data
        if cell.source == 'run.evaluate(split="val")':
            assert "persistence" in cell.outputs[0].data["text/html"]
        if cell.source.startswith(("rnnlab.runs(", "sizes = ")):
            assert "best loss/val" in cell.outputs[-1].data["text/html"]
        if "cell=UGRNN" in cell.source:
            assert "cell=UGRNN" in cell.outputs[-1].data["text/html"]
    (wrong,) = made.cells[-1].outputs
    assert len(wrong.traceback) == 1 and wrong.traceback[0].endswith("Did you mean model.hidden_size?")
