"""The simple recurrent unit (Lei et al. 2018): all products are with the input."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn, sigmoid

from rnnlab.cells.cell import Cell, State
from rnnlab.cells.description import Gate


class SRU(Cell):
    """Each gate of a unit sees the memory of that unit alone; a highway connection adds the projected input to the
    output. The state is c, the output h.
    """

    paper = "Lei et al. 2018"
    named_gates = (
        Gate("candidate", "n", "linear"),
        Gate("forget", "f", "sigmoid"),
        Gate("reset", "r", "sigmoid"),
        Gate("skip", "s", "linear"),
    )
    named_states = ("c",)
    recurrent_gates = 0
    equations = """\
n = W_in x + b_in
f = sigmoid(W_if x + b_if + v_f c)
r = sigmoid(W_ir x + b_ir + v_r c)
s = W_is x + b_is
c' = f c + (1 - f) n
h = r c' + (1 - r) s"""

    def __init__(self, input_size: int, hidden_size: int, **common: Any) -> None:
        super().__init__(input_size, hidden_size, **common)
        self.forget_weight = nn.Parameter(torch.zeros(hidden_size))
        self.reset_weight = nn.Parameter(torch.zeros(hidden_size))

    def initialise(self, generator: np.random.Generator) -> None:
        bound = self.hidden_size**-0.5
        for weight in (self.forget_weight, self.reset_weight):
            weight.copy_(torch.from_numpy(generator.uniform(-bound, bound, self.hidden_size)))

    def activate(self, u: Tensor, state: State) -> tuple[Tensor, ...]:
        (c,) = state
        n, uf, ur, s = u.chunk(4, dim=-1)
        return n, sigmoid(uf + self.forget_weight * c), sigmoid(ur + self.reset_weight * c), s

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        (c,) = state
        n, f, r, s = self.activate(u, state)
        c = n + f * (c - n)
        return s + r * (c - s), (c,)
