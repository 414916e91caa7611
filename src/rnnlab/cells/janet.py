"""JANET, an LSTM with a forget gate alone (van der Westhuizen and Lasenby 2018)."""

from typing import Any

from torch import Tensor, sigmoid, tanh

from rnnlab.cells.cell import Cell, State
from rnnlab.cells.description import Gate


class JANET(Cell):
    """An open forget gate keeps the state, a closed one writes the candidate; a larger `beta` writes more of it. The
    output is the new h.
    """

    paper = "van der Westhuizen and Lasenby 2018"
    named_gates = (Gate("forget", "f", "sigmoid"), Gate("candidate", "n", "tanh"))
    named_states = ("h",)
    equations = """\
s = W_if x + b_if + W_hf h + b_hf
f = sigmoid(s)
n = tanh(W_in x + b_in + W_hn h + b_hn)
h' = f h + (1 - sigmoid(s - beta)) n"""

    def __init__(self, input_size: int, hidden_size: int, *, beta: float = 1.0, **common: Any) -> None:
        super().__init__(input_size, hidden_size, **common)
        self.beta = beta

    def activate(self, u: Tensor, state: State) -> tuple[Tensor, ...]:
        (h,) = state
        s, n = (u + self.recur(h)).chunk(2, dim=-1)
        return sigmoid(s), tanh(n)

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        (h,) = state
        s, n = (u + self.recur(h)).chunk(2, dim=-1)
        h = sigmoid(s) * h + (1 - sigmoid(s - self.beta)) * tanh(n)
        return h, (h,)
