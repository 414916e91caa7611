"""FastGRNN (Kusupati et al. 2018): a gate and a candidate that share their weights."""

from typing import Any

import torch
from torch import Tensor, nn, sigmoid, tanh

from rnnlab.cells.cell import Cell, State
from rnnlab.cells.description import Gate


class FastGRNN(Cell):
    """The candidate's bias is `bias_ih`; the gate adds `bias_z` to it. zeta and nu are scalars, shared by all units:
    the sigmoids of parameters that start at 1 and -4, as the authors' do. The output is the new h.
    """

    paper = "Kusupati et al. 2018"
    named_gates = (Gate("candidate", "n", "tanh"),)
    named_states = ("h",)
    equations = """\
n = tanh(W_ih x + b_ih + W_hh h + b_hh)
z = sigmoid(W_ih x + b_ih + W_hh h + b_hh + b_z)
h' = (zeta (1 - z) + nu) n + z h"""

    def __init__(self, input_size: int, hidden_size: int, **common: Any) -> None:
        super().__init__(input_size, hidden_size, **common)
        self.bias_z = nn.Parameter(torch.zeros(hidden_size)) if self.bias != "none" else None
        self.zeta, self.nu = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(-4.0))

    def activate(self, u: Tensor, state: State) -> tuple[Tensor, ...]:
        (h,) = state
        return (tanh(u + self.recur(h)),)

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        (h,) = state
        a = u + self.recur(h)
        z = sigmoid(a if self.bias_z is None else a + self.bias_z)
        h = (sigmoid(self.zeta) * (1 - z) + sigmoid(self.nu)) * tanh(a) + z * h
        return h, (h,)
