"""Steps whose output nobody reads: all but the last of a forecaster's top layer, for cells whose output is no state."""

import pytest
import torch
from programs import Case, relative_error, torchs_gradients

from rnnlab.native.kernels import kernels_of

CELLS = ["sru", "qrnn", "s4d", "s5", "lru"]
SHAPES = {
    "one layer": {"hidden_size": 20, "batch": 35, "steps": 20},
    "two layers": {"hidden_size": 17, "batch": 3, "steps": 50, "num_layers": 2, "initial_state": "learned"},
    "both directions": {"hidden_size": 16, "batch": 33, "steps": 9, "bidirectional": True},
    "many inputs": {"hidden_size": 32, "batch": 50, "steps": 7, "inputs": 12},
    "a single step": {"hidden_size": 5, "batch": 4, "steps": 1},
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cell", CELLS)
def test_loss_and_gradients(cell, shape):
    case = Case(kind="series", cell=cell, **SHAPES[shape])
    program, name = case.program(), case.names(1)[0]
    assert kernels_of(program.task.stack.cells[0]).plan.quiet is not None
    loss = program.gradients(name)
    truth_loss, truth = torchs_gradients(case, name, torch.float64, "reference")
    _, usual = torchs_gradients(case, name, torch.float32, "reference")
    found = [p.grad.double() for p in program.task.parameters()]
    assert loss == pytest.approx(truth_loss, rel=1e-5)
    assert relative_error(found, truth) <= 3 * max(relative_error(usual, truth), 3e-7)


def test_what_such_a_step_does_without():
    planned = {cell: kernels_of(Case("series", 1, 1, cell=cell, hidden_size=4).task("auto").stack.cells[0]).plan
               for cell in ("lru", "sru", "gru")}  # fmt: skip
    assert planned["lru"].left_out == {0, 1}  # C s, the real and the imaginary part
    assert planned["sru"].quiet_inputs == 2  # n and f, of n, f, r and s
    assert planned["gru"].quiet is None  # its output is its state


@pytest.mark.parametrize("cell", ["peepholelstm", "sru", "s4d"])
def test_rows_that_have_ended_give_parameters_by_unit_nothing(cell):
    case = Case(kind="labelled", batch=40, steps=15, cell=cell, hidden_size=18)
    program, name = case.program(), case.names(1)[0]
    program.gradients(name)
    _, truth = torchs_gradients(case, name, torch.float64, "reference")
    _, usual = torchs_gradients(case, name, torch.float32, "reference")
    found = [p.grad.double() for p in program.task.parameters()]
    assert relative_error(found, truth) <= 3 * max(relative_error(usual, truth), 3e-7)
