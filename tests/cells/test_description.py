"""What a cell says of itself: read from its file and by its class, inherited or not, and true of its step."""

import inspect

import numpy as np
import pytest
import torch

from rnnlab.cells import CATALOGUE, CELLS, GRU, Cell, Gate
from rnnlab.cells.description import Option, described, multiplications
from rnnlab.cells.registry import name_of
from rnnlab.recurrence import Stack, initialise
from rnnlab.unroll import numpy_cells

TEXT = '''
from rnnlab.cells.cell import Cell

class Cell2:
    """No cell."""

class First(Cell):
    named_gates = (Gate("reset", "r", "sigmoid"), Gate("forget", "f", "sigmoid"))
    named_states = ("h", "m")
    torch_layer = "GRU"

    def __init__(self, input_size, hidden_size, *, leak=0.1, **common):
        pass

Kind = Literal["soft", "hard"]

class Second(First):
    gates = 2
    recurrent_gates = 1
    own_products = 3

    def __init__(self, input_size, hidden_size, *, kind: Kind = "soft", leak: float = 0.5, deep: bool = False):
        pass
'''


@pytest.mark.parametrize("name", CELLS)
def test_a_file_says_what_its_class_says(name):
    cell, read = CELLS[name], CATALOGUE[name]
    assert (read.gates, read.states, read.torch_layer) == (
        cell.named_gates,
        cell.named_states,
        cell.torch_layer,
    )
    assert (cell.gates, cell.states) == (len(read.gates), len(read.states)) and name_of(cell) == name
    assert len(cell.state_blocks) == cell.states and read.own_products == cell.own_products
    assert read.recurrent_gates == (cell.gates if cell.recurrent_gates is None else cell.recurrent_gates)
    own = inspect.signature(cell).parameters.values()
    assert tuple(read.options) == (
        tuple(p.name for p in own if p.kind is p.KEYWORD_ONLY) if "__init__" in vars(cell) else ()
    )
    if not cell.torch_layer:
        return
    layer = getattr(torch.nn, cell.torch_layer)(3, 5)
    assert layer.weight_hh_l0.shape == cell(3, 5).weight_hh.shape


def test_a_text_with_two_cells():
    found = described(TEXT, "a.b")
    assert list(found) == ["first", "second"]
    first, second = found.values()
    assert first.gates == (Gate("reset", "r", "sigmoid"), Gate("forget", "f", "sigmoid"))
    assert (first.states, first.options, first.torch_layer) == (("h", "m"), {"leak": Option("", 0.1)}, "GRU")
    assert first.has_gate("forget") and not first.has_gate("candidate")
    assert second.options == {
        "kind": Option("word", "soft", ("soft", "hard")),
        "leak": Option("float", 0.5),
        "deep": Option("bool", False),
    }
    assert (second.recurrent_gates, second.own_products, first.recurrent_gates) == (1, 3, 2)
    assert (second.module, second.class_name, second.gates, second.torch_layer) == ("a.b", "Second", (), "")


@pytest.mark.parametrize("name", CELLS)
def test_multiplications_are_the_numbers_in_the_weights(name):
    cell = CELLS[name](3, 5)
    matrices = sum(p.numel() for n, p in cell.named_parameters() if p.dim() == 2 and n != "initial")
    assert multiplications(name, 3, 5) == matrices


def test_a_cell_of_a_users_own_counts_as_four_gates():
    assert multiplications("mycells.MGU", 3, 5) == 4 * 5 * (3 + 5)


@pytest.mark.parametrize(
    ("name", "options", "step"),
    [("elman", {}, numpy_cells.elman), ("elman", {"nonlinearity": "relu"}, numpy_cells.elman_relu),
     ("gru", {}, numpy_cells.gru), ("lstm", {}, numpy_cells.lstm)],
)  # fmt: skip
def test_activations_are_the_gates_of_the_equations(name, options, step):
    stack = Stack(name, 3, 4, engine="reference", **options).double()
    initialise(stack, [], seed=3)
    cell, draw = stack.layers[0], np.random.default_rng(1)
    x, state = draw.standard_normal(3), tuple(draw.standard_normal((cell.states, 4)))
    w = {n: p.detach().numpy() for n, p in cell.named_parameters()}
    quantities, _ = step(w["weight_ih"] @ x + w["bias_ih"], w["weight_hh"] @ state[0] + w["bias_hh"], state)
    expected = {q.name: q.value for q in quantities}
    with torch.no_grad():
        found = cell.activations(
            cell.project(torch.from_numpy(x)[None]), tuple(torch.from_numpy(s)[None] for s in state)
        )
    assert list(found) == [gate.name for gate in cell.named_gates]
    for gate in cell.named_gates:
        np.testing.assert_allclose(found[gate.name][0], expected[gate.name], rtol=0, atol=1e-14)
        low, high = {"sigmoid": (0, 1), "tanh": (-1, 1), "relu": (0, np.inf)}[gate.squeeze]
        assert (found[gate.name] >= low).all() and (found[gate.name] <= high).all()


def test_a_subclass_inherits_no_layer_of_torchs_and_with_other_equations_no_gates():
    class Named(GRU):
        pass

    class Other(GRU):
        def step(self, u, state):
            return state[0], state

    assert Named.torch_layer == "" and Named.named_gates == GRU.named_gates and Named.gates == 3
    assert Other.named_gates == () and Other.gates == 3 and Other.equations == Cell.equations
    assert Other(2, 3).activations(torch.zeros(1, 9), (torch.zeros(1, 3),)) == {}
    assert name_of(Named) is None


def test_the_forget_gate_is_found_where_a_cell_has_it():
    class Late(Cell):
        named_gates = (
            Gate("candidate", "n", "tanh"),
            Gate("other", "o", "sigmoid"),
            Gate("forget", "f", "sigmoid"),
        )

        def step(self, u, state):
            return state[0], state

    stack = Stack(Late, 2, 3)
    initialise(stack, [], forget_bias=7.0, seed=0)
    bias = stack.layers[0].bias_ih
    assert (
        bias[6:].tolist() == [7.0] * 3 and bias[:6].abs().max() < 1 and not stack.layers[0].bias_hh[6:].any()
    )
