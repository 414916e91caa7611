"""The independently recurrent network (Li et al. 2018): each unit sees no other unit's past."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rnnlab.cells.cell import Cell, State
from rnnlab.cells.description import Gate


class IndRNN(Cell):
    """Rectified linear units with a recurrent weight each, from U(0, 1) at the start. The output is the new h."""

    paper = "Li et al. 2018"
    named_gates = (Gate("h", "h", "relu"),)
    named_states = ("h",)
    recurrent_gates = 0
    equations = "h' = relu(W_ih x + b_ih + w h)"

    def __init__(self, input_size: int, hidden_size: int, **common: Any) -> None:
        super().__init__(input_size, hidden_size, **common)
        self.recurrent = nn.Parameter(torch.zeros(hidden_size))

    def initialise(self, generator: np.random.Generator) -> None:
        self.recurrent.copy_(torch.from_numpy(generator.uniform(0.0, 1.0, self.hidden_size)))

    def activate(self, u: Tensor, state: State) -> tuple[Tensor, ...]:
        (h,) = state
        return (torch.relu(u + self.recurrent * h),)

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        (h,) = self.activate(u, state)
        return h, (h,)
