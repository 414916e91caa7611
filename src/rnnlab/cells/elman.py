"""The simple recurrent network (Elman 1990, "Finding structure in time")."""

from typing import Literal, get_args

import torch
from torch import Tensor

from rnnlab.cells.cell import Cell, State
from rnnlab.cells.choice import check_choice

Nonlinearity = Literal["tanh", "relu"]


class Elman(Cell):
    """h' = f(W_ih x + b_ih + W_hh h + b_hh), f = tanh or relu; the output is h'."""

    gates, states = 1, 1

    def __init__(
        self, input_size: int, hidden_size: int, *, nonlinearity: Nonlinearity = "tanh", **common
    ) -> None:
        super().__init__(input_size, hidden_size, **common)
        check_choice("model.nonlinearity", nonlinearity, get_args(Nonlinearity))
        self.nonlinearity = nonlinearity

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        (h,) = state
        f = torch.tanh if self.nonlinearity == "tanh" else torch.relu
        h = f(u + self.recur(h))
        return h, (h,)
