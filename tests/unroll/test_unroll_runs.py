"""Trained models of every task unrolled over an input, and what their outputs are said to mean."""

from pathlib import Path

import numpy as np
import pytest
import torch

import rnnlab
from rnnlab.cli import unroll
from rnnlab.data.vocabulary import Vocabulary
from rnnlab.errors import UserError
from rnnlab.runs.load import load_model
from rnnlab.unroll.run import unroll_run

FAST = ("trainer.accelerator=cpu", "trainer.threads=1", "logger=none", "callbacks=none", "model.hidden_size=6",
        "model.engine=torch")  # fmt: skip


@pytest.fixture(scope="module")
def chars(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chars")
    (folder / "t.txt").write_text("the cat sat on the mat\n" * 200)
    return rnnlab.train("experiment=pydoc", *FAST, f"data.path={folder / 't.txt'}", "data.batch_size=4",
                        "model.num_layers=2", "trainer.max_steps=30", "trainer.val_check_interval=30",
                        f"paths.outputs={folder}")  # fmt: skip


def hidden(shown):
    """The top layer's state after each step, by hand."""
    return np.array([[line for line in step if line.kind == "new"][-1].by_hand for step in shown.steps])


def test_a_text(chars):
    shown = unroll_run(chars, "the cat")
    vocabulary = Vocabulary.from_spec(chars.model.spec)
    ids = vocabulary.encode("the cat")[None]
    with torch.no_grad():
        y, _ = chars.model.stack(ids)
        logits, _ = chars.model(ids)
    np.testing.assert_allclose(hidden(shown), y[0].numpy(), atol=1e-6)
    np.testing.assert_allclose([step[-1].by_hand for step in shown.steps], logits[0].numpy(), atol=1e-5)
    assert shown.example.words == tuple("the cat")
    for said, step in zip(shown.said, torch.softmax(logits[0].double(), -1), strict=True):
        p, i = step.max(0)
        assert said.startswith(f"next: {vocabulary.decode([int(i)])!r} {100 * p:.0f}%")
    with pytest.raises(UserError, match="0 steps"):
        unroll_run(chars, "")
    with pytest.raises(UserError):
        unroll_run(chars, "the QUEEN")


@pytest.mark.parametrize("classes", [2, 3])
def test_tokens(tmp_path, classes):
    run = rnnlab.train("experiment=markers", *FAST, "data.n_sequences=200", f"data.classes={classes}",
                       "trainer.max_epochs=1", f"paths.outputs={tmp_path}")  # fmt: skip
    shown = unroll_run(run, "1 7 300 2")
    x = torch.tensor([[1, 7, 300, 2]])
    with torch.no_grad():
        own = run.model(x, torch.tensor([4]))[0].double()
    np.testing.assert_allclose(shown.steps[-1][-1].by_hand, np.atleast_1d(own.numpy()), atol=1e-5)
    p = torch.stack([1 - own.sigmoid(), own.sigmoid()]) if classes == 2 else own.softmax(0)
    assert shown.said[-1] == f"if it ended here: class {int(p.argmax())} ({100 * p.max():.0f}%)"
    with pytest.raises(UserError, match="not a token from 0 to"):
        unroll_run(run, "1 99999")


@pytest.mark.parametrize("subtract", ["false", "true"])
def test_a_forecast_is_in_the_units_of_the_data(small, subtract):
    run = small(
        f"model.subtract_last={subtract}", "data.amplitudes=[40]", "data.horizon=2", "trainer.max_epochs=1"
    )
    shown = unroll_run(run, "10 30 20")
    task = run.model
    x = (torch.tensor([[[10.0], [30.0], [20.0]]]) - task.spec["input_shift"][0]) / task.spec["input_scale"][0]
    with torch.no_grad():
        forecast = task.unscaled(task(x)).flatten().tolist()
    said = [float(v) for v in shown.said[-1].removeprefix("forecast: ").split("; ")]
    assert said == pytest.approx(forecast, rel=1e-3)
    assert bool(shown.said[0]) == (subtract == "false")  # what will be subtracted is not known before the end


@pytest.mark.parametrize(
    ("scaling", "left"), [("difference", 9), ("seasonal_difference", 6), ("window_mean", 10)]
)
def test_a_scale_of_the_windows_own(tmp_path, scaling, left):
    (tmp_path / "x.csv").write_text(
        "x\n" + "\n".join(f"{50 + 9 * np.sin(i * 1.5) + i / 9:.3f}" for i in range(80))
    )
    run = rnnlab.train("data=series", "model=forecaster", f"data.path={tmp_path / 'x.csv'}", "data.target=x",
                       "data.window=10", "data.horizon=6", "data.season=4", f"data.scaling={scaling}", "name=own",
                       "trainer.max_epochs=1", *FAST, f"paths.outputs={tmp_path}", quiet=True)  # fmt: skip
    numbers = [51.0, 58.5, 49.0, 41.0, 52.0, 60.0, 50.0, 42.0, 53.0, 61.0]
    shown = unroll_run(run, " ".join(map(str, numbers)))
    assert len(shown.example.words) == len(shown.said) == left and shown.example.words[-1] == "61.0"
    forecast = run.predict(torch.tensor(numbers)[None, :, None]).flatten()[:3].tolist()
    assert [float(v) for v in shown.said[-1].removeprefix("forecast: ").removesuffix(" ...").split("; ")] == (
        pytest.approx(forecast, rel=1e-3)
    )
    if left < 10:
        with pytest.raises(UserError, match=f"--input: 1 step; from {11 - left} to"):
            unroll_run(run, "51.0")


CELL = """
from torch import tanh
from rnnlab import Cell

class Leaky(Cell):
    def step(self, u, state):
        h = 0.7 * state[0] + tanh(u + self.recur(state[0]))
        return h, (h,)
"""


def test_a_cell_of_ones_own(small, tmp_path, monkeypatch, capsys):
    (tmp_path / "unrolled_cells.py").write_text(CELL)
    monkeypatch.syspath_prepend(str(tmp_path))
    run = small(
        "model.cell=unrolled_cells.Leaky", "model.num_layers=2", "model.engine=auto", "trainer.max_epochs=1"
    )
    with pytest.raises(UserError, match="trust"):
        unroll_run(run, "0.1 0.5")
    shown = unroll_run(run, "0.1 0.5", trust=True)
    model = load_model(run, trust=True)
    w = {n: p.detach().double().numpy() for n, p in model.stack.layers[0].named_parameters()}
    h = np.zeros(8)
    for x, lines in zip((0.1, 0.5), shown.steps, strict=True):
        x = (x - model.spec["input_shift"][0]) / model.spec["input_scale"][0]
        h = 0.7 * h + np.tanh(w["weight_ih"][:, 0] * x + w["bias_ih"] + w["weight_hh"] @ h + w["bias_hh"])
        np.testing.assert_allclose(lines[0].by_hand, h, atol=1e-7)
    assert 0 < shown.largest_difference < 1e-6
    assert not unroll.main(
        [str(run.folder), "--input", "0.1 0.5", "--trust", "--html", str(tmp_path / "u.html")]
    )
    assert not unroll.main([str(run.folder), "--input", "0.1 0.5", "--trust"])
    assert "Leaky is not written out by hand" in capsys.readouterr().out


@pytest.mark.parametrize("cell", ["sru", "gruv3"])
def test_the_memory_of_a_cell_whose_output_is_no_state_is_shown(small, cell):
    run = small(f"model.cell={cell}", "model.engine=auto", "trainer.max_epochs=1")
    shown = unroll_run(run, "0.1 -0.4")
    states = [line for line in shown.steps[-1] if line.formula.startswith("state ")]
    assert len(states) == (cell == "sru") and shown.largest_difference < 1e-6


@pytest.mark.parametrize("columns", [60, 80, 100])
@pytest.mark.parametrize("cell", ["elman", "lstm"])
def test_the_lesson_fits_a_narrow_terminal(small, monkeypatch, capsys, columns, cell):
    run = small(f"model.cell={cell}", "model.engine=auto", "trainer.max_epochs=1")
    capsys.readouterr()
    monkeypatch.setenv("COLUMNS", str(columns))
    unroll.main([str(run.folder), "--input", "0.1 -0.4"])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns and not any("…" in line for line in lines)
    assert sum(line.startswith("forecast: ") for line in lines) == 2


def test_a_module_of_ones_own_is_refused_in_a_line(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "training")
    import plain_project

    run = rnnlab.train("trainer.max_epochs=1", *FAST[:4], f"paths.outputs={tmp_path}", "name=own",
                       module=plain_project.Module(), data=plain_project.Data(), quiet=True)  # fmt: skip
    with pytest.raises(UserError, match="holds a Module; only a Task with a stack and a linear head"):
        unroll.main([str(run.folder), "--input", "1 2"])


def test_an_example_beside_a_run_is_refused(chars):
    with pytest.raises(UserError, match="--example numpy: an example, or a run's folder"):
        unroll.main([str(chars.folder), "--example", "numpy", "--input", "the"])
