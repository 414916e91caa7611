"""The minimal gated unit (Zhou et al. 2016)."""

from typing import Any

import torch
from torch import Tensor, nn, sigmoid, tanh
from torch.nn import functional

from rnnlab.cells.cell import Cell, State
from rnnlab.cells.description import Gate


class MGU(Cell):
    """One gate decides both how much is forgotten and how much of the old state the candidate sees. The output is the
    new h.
    """

    paper = "Zhou et al. 2016"
    named_gates = (Gate("forget", "f", "sigmoid"), Gate("candidate", "n", "tanh"))
    named_states = ("h",)
    recurrent_gates = 1
    own_products = 1
    equations = """\
f = sigmoid(W_if x + b_if + W_hf h + b_hf)
n = tanh(W_in x + b_in + W_hn (f h))
h' = (1 - f) h + f n"""

    def __init__(self, input_size: int, hidden_size: int, **common: Any) -> None:
        super().__init__(input_size, hidden_size, **common)
        self.weight_hn = nn.Parameter(torch.zeros(hidden_size, hidden_size))

    def activate(self, u: Tensor, state: State) -> tuple[Tensor, ...]:
        (h,) = state
        uf, un = u.chunk(2, dim=-1)
        f = sigmoid(uf + self.recur(h))
        return f, tanh(un + functional.linear(f * h, self.weight_hn))

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        (h,) = state
        f, n = self.activate(u, state)
        h = h + f * (n - h)
        return h, (h,)
