"""The recurrent highway network (Zilly et al. 2017), with the carry gate coupled to the transform gate."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn, sigmoid, tanh
from torch.nn import functional

from rnnlab.cells.cell import Cell, State
from rnnlab.cells.description import Gate
from rnnlab.errors import UserError

TRANSFORM_BIAS = -2.0  # at first the highways carry most of the state on, as in the paper


class RHN(Cell):
    """`depth` highway layers within a step, the first of which sees the input. The output is the new h."""

    paper = "Zilly et al. 2017"
    named_gates = (Gate("candidate", "n", "tanh"), Gate("transform", "t", "sigmoid"))
    named_states = ("h",)
    own_products = 2
    equations = """\
n = tanh(W_in x + b_in + W_hn h + b_hn)
t = sigmoid(W_it x + b_it + W_ht h + b_ht)
s1 = t n + (1 - t) h
h' = t2 n2 + (1 - t2) s1, with n2 and t2 from s1 alone, and so on to the depth"""

    def __init__(self, input_size: int, hidden_size: int, *, depth: int = 2, **common: Any) -> None:
        super().__init__(input_size, hidden_size, **common)
        if depth < 1:
            raise UserError(f"model.options.depth={depth}: must be a whole number of at least 1")
        self.deeper = range(2, depth + 1)
        for layer in self.deeper:
            weight, bias = torch.zeros(2 * hidden_size, hidden_size), torch.zeros(2 * hidden_size)
            self.register_parameter(f"weight_h{layer}", nn.Parameter(weight))
            self.register_parameter(f"bias_h{layer}", None if self.bias == "none" else nn.Parameter(bias))

    def initialise(self, generator: np.random.Generator) -> None:
        for bias in (self.bias_ih, *(getattr(self, f"bias_h{layer}") for layer in self.deeper)):
            if bias is not None:
                bias[self.hidden_size :] = TRANSFORM_BIAS
        if self.bias_hh is not None:
            self.bias_hh[self.hidden_size :] = 0.0

    def activate(self, u: Tensor, state: State) -> tuple[Tensor, ...]:
        (h,) = state
        n, t = (u + self.recur(h)).chunk(2, dim=-1)
        return tanh(n), sigmoid(t)

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        (h,) = state
        n, t = self.activate(u, state)
        h = h + t * (n - h)
        for layer in self.deeper:
            weight, bias = getattr(self, f"weight_h{layer}"), getattr(self, f"bias_h{layer}")
            n, t = functional.linear(h, weight, bias).chunk(2, dim=-1)
            h = h + sigmoid(t) * (tanh(n) - h)
        return h, (h,)
