"""The multiplicative LSTM (Krause et al. 2016), equations (18) to (22)."""

from typing import Any

import torch
from torch import Tensor, nn, sigmoid, tanh
from torch.nn import functional

from rnnlab.cells.cell import Cell, State
from rnnlab.cells.description import Gate


class MultiplicativeLSTM(Cell):
    """Each input has recurrent weights of its own, factored through m. The state is (h, c), the output h."""

    paper = "Krause et al. 2016"
    named_gates = (
        Gate("input", "i", "sigmoid"),
        Gate("forget", "f", "sigmoid"),
        Gate("candidate", "g", "tanh"),
        Gate("output", "o", "sigmoid"),
        Gate("factor", "m", "linear"),
    )
    named_states = ("h", "c")
    recurrent_gates = 1
    own_products = 4
    equations = """\
m = (W_im x + b_im) (W_hm h + b_hm)
i = sigmoid(W_ii x + b_ii + W_mi m)
f = sigmoid(W_if x + b_if + W_mf m)
g = tanh(W_ig x + b_ig + W_mg m)
o = sigmoid(W_io x + b_io + W_mo m)
c' = f c + i g
h' = o tanh(c')"""

    def __init__(self, input_size: int, hidden_size: int, **common: Any) -> None:
        super().__init__(input_size, hidden_size, **common)
        self.weight_hm = nn.Parameter(torch.zeros(4 * hidden_size, hidden_size))

    def activate(self, u: Tensor, state: State) -> tuple[Tensor, ...]:
        h, _ = state
        *gates, um = u.chunk(5, dim=-1)
        m = um * self.recur(h)
        i, f, g, o = (torch.cat(gates, dim=-1) + functional.linear(m, self.weight_hm)).chunk(4, dim=-1)
        return sigmoid(i), sigmoid(f), tanh(g), sigmoid(o), m

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        _, c = state
        i, f, g, o, _ = self.activate(u, state)
        c = f * c + i * g
        h = o * tanh(c)
        return h, (h, c)
