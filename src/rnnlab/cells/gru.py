"""The gated recurrent unit (Cho et al. 2014) as cuDNN and torch have it: r acts after the product."""

from typing import Any

import torch
from torch import Tensor, nn, sigmoid, tanh
from torch.nn import functional

from rnnlab.cells.cell import Cell, State
from rnnlab.cells.description import Gate


class GRU(Cell):
    """Gates in torch's order. The output is the new h."""

    paper = "Cho et al. 2014, v1"
    named_gates = (
        Gate("reset", "r", "sigmoid"),
        Gate("update", "z", "sigmoid"),
        Gate("candidate", "n", "tanh"),
    )
    named_states = ("h",)
    torch_layer = "GRU"
    equations = """\
r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)
z = sigmoid(W_iz x + b_iz + W_hz h + b_hz)
n = tanh(W_in x + b_in + r (W_hn h + b_hn))
h' = (1 - z) n + z h"""
    how = (
        "At each step gates between 0 and 1, computed from the input and the old state, decide how much of "
        "the old state the candidate sees and how much of it stays."
    )

    def activate(self, u: Tensor, state: State) -> tuple[Tensor, ...]:
        (h,) = state
        ur, uz, un = u.chunk(3, dim=-1)
        vr, vz, vn = self.recur(h).chunk(3, dim=-1)
        r, z = sigmoid(ur + vr), sigmoid(uz + vz)
        return r, z, tanh(un + r * vn)

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        (h,) = state
        _, z, n = self.activate(u, state)
        h = n + z * (h - n)
        return h, (h,)


class GRUv3(Cell):
    """The GRU of the third version of Cho's paper: r acts before the product. `GRU` is that of the first version.

    The output is the new h.
    """

    paper = "Cho et al. 2014, v3"
    named_gates = (
        Gate("reset", "r", "sigmoid"),
        Gate("update", "z", "sigmoid"),
        Gate("candidate", "n", "tanh"),
    )
    named_states = ("h",)
    recurrent_gates = 2
    own_products = 1
    equations = """\
r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)
z = sigmoid(W_iz x + b_iz + W_hz h + b_hz)
n = tanh(W_in x + b_in + W_hn (r h))
h' = (1 - z) n + z h"""

    def __init__(self, input_size: int, hidden_size: int, **common: Any) -> None:
        super().__init__(input_size, hidden_size, **common)
        self.weight_hn = nn.Parameter(torch.zeros(hidden_size, hidden_size))

    def activate(self, u: Tensor, state: State) -> tuple[Tensor, ...]:
        (h,) = state
        ur, uz, un = u.chunk(3, dim=-1)
        vr, vz = self.recur(h).chunk(2, dim=-1)
        r, z = sigmoid(ur + vr), sigmoid(uz + vz)
        return r, z, tanh(un + functional.linear(r * h, self.weight_hn))

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        (h,) = state
        _, z, n = self.activate(u, state)
        h = n + z * (h - n)
        return h, (h,)
