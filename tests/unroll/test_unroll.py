"""The numbers of the notebooks, by hand and by the library, and what a person sees."""

import html
import re

import numpy as np
import pytest
import torch

from rnnlab.cells import CELLS
from rnnlab.cli import unroll as command
from rnnlab.errors import UserError
from rnnlab.unroll.page import unroll_page
from rnnlab.unroll.unroll import EXAMPLES, unroll


def both_ways(unrolled, kind):
    """(steps, 2, units): one kind of line, by hand and by the library."""
    lines = [line for step in unrolled.steps for line in step if line.kind == kind]
    return np.array([[line.by_hand, line.by_library] for line in lines])


def test_the_notebooks_numbers_to_six_digits():
    shown = unroll("notebook")
    projected = [[1.7883494, -1.2822826], [3.5776963, -2.2393026], [5.3670435, -3.1963227]]
    states = [[0.9557818, -0.9550318], [0.9994815, -0.99265563], [0.9999861, -0.9989048]]
    for kind, expected in (("input", projected), ("new", states)):
        for way in both_ways(shown, kind).transpose(1, 0, 2):
            np.testing.assert_allclose(way, expected, rtol=0, atol=1e-6)
    assert shown.largest_difference < 1e-6


def test_the_smaller_sisters_states():
    expected = [[0.89547], [0.99461], [0.99901], [0.99979]]
    for way in both_ways(unroll("small"), "new").transpose(1, 0, 2):
        np.testing.assert_allclose(way, expected, rtol=0, atol=5e-6)


def test_the_numpy_notebooks_sizes_and_outputs():
    shown = unroll("numpy")
    shapes = {name: value.shape for name, value in shown.parameters.items()}
    assert shapes == {"W_ih": (3, 4), "b_ih": (3,), "W_hh": (3, 3), "b_hh": (3,), "W_hy": (2, 3), "b_y": (2,)}
    states, outputs = both_ways(shown, "new"), both_ways(shown, "output")
    expected = states @ shown.parameters["W_hy"].T + shown.parameters["b_y"]
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-6)
    assert 0 < shown.largest_difference < 1e-6  # two precisions, so two computations


def test_no_global_generator_is_touched():
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    for name in EXAMPLES:
        unroll(name)
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)


@pytest.mark.parametrize("name", command.EXAMPLES)
def test_the_page_shows_both_columns_uncut_in_a_terminal_of_100_columns(name, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "100")
    assert not command.main(["--example", name])
    page = capsys.readouterr().out
    assert max(map(len, page.splitlines())) <= 100 and "…" not in page
    digits = 7 if EXAMPLES[name].hidden < 3 else 6
    for step in unroll(name).steps:
        for line in step:
            (row,) = [row for row in page.splitlines() if row.strip().startswith(line.formula.strip())][:1]
            wanted = [f"{v:.{digits}f}" for v in (*line.by_hand, *line.by_library)]
            if line.kind != "sum":  # its formula stands in every step
                assert [word.strip("[]") for word in row.split() if "." in word][: len(wanted)] == wanted


def test_the_small_example_says_that_its_notebook_does_not_reproduce(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "100")
    command.main(["--example", "small"])
    assert "do not reproduce" in capsys.readouterr().out


def test_an_example_that_is_not_there():
    assert tuple(EXAMPLES) == command.EXAMPLES
    with pytest.raises(
        UserError, match=r"--example=smal: not one of notebook, small, numpy. Did you mean small?"
    ):
        unroll("smal")


def test_digits_that_make_no_sense():
    with pytest.raises(UserError, match=r"--digits=-1: not a number from 1 to 12"):
        command.main(["--digits", "-1"])


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_a_trained_model_by_hand_and_by_itself(small, cell):
    from rnnlab.unroll.run import unroll_run

    run = small(f"model.cell={cell}", "model.num_layers=2", "trainer.max_epochs=1")
    shown = unroll_run(run, "0.1 -0.4 0.7")
    assert len(shown.steps) == 3 and 0 < shown.largest_difference < 1e-5
    x = torch.tensor([[[0.1], [-0.4], [0.7]]])
    with torch.no_grad():
        y, _ = run.model.stack(x)
        forecast = run.model(x)
    hidden = [[line for line in step if line.kind == "new"][-1] for step in shown.steps]
    np.testing.assert_allclose([line.by_hand for line in hidden], y[0].numpy(), atol=1e-6)
    np.testing.assert_allclose(shown.steps[-1][-1].by_hand, forecast.flatten().numpy(), atol=1e-6)


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_the_page_has_the_cells_equations_and_names_what_it_does_not_draw(small, tmp_path, cell):
    run = small("trainer.max_epochs=1", f"model.cell={cell}")
    command.main([str(run.folder), "--input", "0.1 -0.4", "--html", str(tmp_path / "page.html")])
    page = html.unescape((tmp_path / "page.html").read_text())
    assert CELLS[cell].equations in page and CELLS[cell].how in page
    assert ("more than one state" in page) is (cell == "lstm")


@pytest.mark.parametrize(("options", "bounded"), [((), True), (("model.nonlinearity=relu",), False)])
def test_the_lesson_says_where_the_state_stays_between_minus_one_and_one(small, capsys, options, bounded):
    run = small("model.cell=elman", "trainer.max_epochs=1", *options)
    capsys.readouterr()
    command.main([str(run.folder), "--input", "0.1 -0.4"])
    page = " ".join(capsys.readouterr().out.split())
    assert ("between -1 and 1" in page) is bounded and ("= tanh( W_ih" in page) is bounded
    assert ("= relu(sum of both)" in page) is not bounded


def test_what_a_run_cannot_read_is_refused(small):
    run = small("trainer.max_epochs=1")
    for wrong, said in (
        ("0.1 x", "not a number"),
        ("0.1 nan", "nan is not a number"),
        ("1,2", "one has 2"),
        ("", "0 steps"),
    ):
        with pytest.raises(UserError, match=said):
            command.main([str(run.folder), "--input", wrong])
    with pytest.raises(UserError, match="--input"):
        command.main([str(run.folder)])
    with pytest.raises(UserError, match="a run's folder"):
        command.main(["--input", "x"])


def test_no_page_is_written_of_what_is_not_a_number():
    shown = unroll("notebook")
    shown.steps[1][0].by_library[0] = np.nan
    name = shown.steps[1][0].formula.strip().partition(" = ")[0]
    with pytest.raises(UserError, match=f"^unroll: {re.escape(name)} is not finite at step 2; the page"):
        unroll_page(shown)
