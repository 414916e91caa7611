"""Cells by name, and a cell of one's own."""

import sys
import textwrap

import pytest
import torch

from rnnlab.cells import LSTM, resolve
from rnnlab.errors import UserError
from rnnlab.recurrence import Stack

MODULE = """
    from torch import sigmoid, tanh
    from rnnlab.cells import Cell

    class UGRNN(Cell):
        gates, states = 2, 1

        def step(self, u, state):
            (h,) = state
            c, g = (u + self.recur(h)).chunk(2, dim=-1)
            g = sigmoid(g)
            h = g * h + (1 - g) * tanh(c)
            return h, (h,)

    class Stepless(Cell):
        pass

    class NoCell:
        pass
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "users_own_cells.py").write_text(textwrap.dedent(MODULE))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "users_own_cells"
    sys.modules.pop("users_own_cells", None)


def test_short_names():
    assert resolve("lstm") is LSTM


def test_a_cell_of_ones_own_runs_by_its_dotted_path(module):
    """Update-gate RNN (Collins et al. 2016), written out once more."""
    stack = Stack(f"{module}.UGRNN", 2, 3, num_layers=2).double()
    assert stack.choice.engine == "reference" and "no fused layer for UGRNN" in stack.choice.reason
    x = torch.linspace(-1, 1, 2 * 4 * 2, dtype=torch.float64).view(2, 4, 2)
    y, _ = stack(x)
    seen = x
    for cell in stack.layers:
        h, outputs = torch.zeros(2, 3, dtype=torch.float64), []
        for t in range(4):
            a = seen[:, t] @ cell.weight_ih.T + cell.bias_ih + h @ cell.weight_hh.T + cell.bias_hh
            c, g = torch.tanh(a[:, :3]), 1 / (1 + torch.exp(-a[:, 3:]))
            h = g * h + (1 - g) * c
            outputs.append(h)
        seen = torch.stack(outputs, 1)
    torch.testing.assert_close(y, seen, rtol=0, atol=1e-14)
    with pytest.raises(UserError, match=r"UGRNN has no such option"):
        Stack(f"{module}.UGRNN", 2, 3, nonlinearity="relu")
    with pytest.raises(UserError, match=r"torch has no fused layer for UGRNN; use auto or native or ref"):
        Stack(f"{module}.UGRNN", 2, 3, engine="torch")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lstn", "model.cell=lstn: not one of .*elman, .*gru, .*lstm, .*dotted path. Did you mean lstm?"),
        ("users_own_cells.UGRN", "users_own_cells has no UGRN. Did you mean UGRNN?"),
        ("users_own_cells.NoCell", "not a subclass of rnnlab.cells.Cell with a step"),
        ("users_own_cells.Stepless", "not a subclass of rnnlab.cells.Cell with a step"),
        ("no_such_module_at_all.Cell", "cannot import no_such_module_at_all"),
    ],
)
def test_what_is_no_cell_is_refused_in_one_line(module, name, message):
    with pytest.raises(UserError, match=message) as caught:
        resolve(name)
    assert "\n" not in str(caught.value)


def test_a_module_that_does_not_compile_is_refused_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "brokencells.py").write_text("class Mine(\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        UserError, match=r"^model.cell=brokencells.Mine: cannot import brokencells: SyntaxError: "
    ):
        resolve("brokencells.Mine")
