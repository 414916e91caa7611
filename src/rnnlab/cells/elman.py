"""The simple recurrent network (Elman 1990, "Finding structure in time")."""

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from rnnlab.cells.cell import Cell, State
from rnnlab.cells.choice import check_choice
from rnnlab.cells.description import Gate

Nonlinearity = Literal["tanh", "relu"]


class Elman(Cell):
    """h' is f, tanh or relu (`nonlinearity`), of the sum of both projections. The output is the new h."""

    paper = "Elman 1990"
    named_gates = (Gate("h", "h", "tanh"),)
    named_states = ("h",)
    torch_layer = "RNN"
    equations = "h' = f(W_ih x + b_ih + W_hh h + b_hh)"
    how = (
        "At each step the input and the old state are weighed and added; f of the sum, tanh or "
        "relu, is the new state."
    )

    def __init__(
        self, input_size: int, hidden_size: int, *, nonlinearity: Nonlinearity = "tanh", **common: Any
    ) -> None:
        super().__init__(input_size, hidden_size, **common)
        check_choice("model.nonlinearity", nonlinearity, get_args(Nonlinearity))
        self.nonlinearity = nonlinearity
        self.named_gates = (Gate("h", "h", nonlinearity),)

    @property
    def torch_function(self) -> Any:
        return getattr(torch, f"rnn_{self.nonlinearity}")

    def activate(self, u: Tensor, state: State) -> tuple[Tensor, ...]:
        (h,) = state
        f = torch.tanh if self.nonlinearity == "tanh" else torch.relu
        return (f(u + self.recur(h)),)

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        (h,) = self.activate(u, state)
        return h, (h,)
