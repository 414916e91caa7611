"""sLSTM, the scalar-memory cell of xLSTM (Beck et al. 2024), with one head."""

from typing import Any, Literal, get_args

import torch
from torch import Tensor, sigmoid, tanh
from torch.nn import functional

from rnnlab.cells.cell import Cell, State
from rnnlab.cells.choice import check_choice
from rnnlab.cells.description import Gate

Forget = Literal["sigmoid", "exp"]


class SLSTM(Cell):
    """The input gate is exponential; the normaliser n sums up what the gates let through. The output is h. `forget` is
    the forget gate's activation: with "exp", l is the sum itself, not the logarithm of its sigmoid.

    The stabiliser m prevents overflow: c and n are stored divided by exp(m), which does not change c / n. While n is 0,
    m is the exponent of the input gate.
    """

    paper = "Beck et al. 2024"
    named_gates = (
        Gate("input", "i", "exp"),
        Gate("forget", "f", "sigmoid"),
        Gate("candidate", "g", "tanh"),
        Gate("output", "o", "sigmoid"),
    )
    coupled_states = True  # c and n are scaled by exp(-m)
    named_states = ("h", "c", "n", "m")
    equations = """\
a = W_ii x + b_ii + W_hi h + b_hi
l = log(sigmoid(W_if x + b_if + W_hf h + b_hf))
g = tanh(W_ig x + b_ig + W_hg h + b_hg)
o = sigmoid(W_io x + b_io + W_ho h + b_ho)
m' = max(l + m, a), or a where n = 0
i = exp(a - m')
f = exp(l + m - m')
c' = f c + i g
n' = f n + i
h' = o c' / n'"""

    def __init__(
        self, input_size: int, hidden_size: int, *, forget: Forget = "sigmoid", **common: Any
    ) -> None:
        super().__init__(input_size, hidden_size, **common)
        check_choice("model.options.forget", forget, get_args(Forget))
        self.forget = forget

    def stabilised(self, u: Tensor, state: State) -> tuple[tuple[Tensor, ...], Tensor]:
        """The gates, and the new m."""
        h, _, n, m = state
        a, f, g, o = (u + self.recur(h)).chunk(4, dim=-1)
        kept = m - functional.softplus(-f) if self.forget == "sigmoid" else m + f
        m = torch.where(n == 0, a, torch.maximum(kept, a))
        f = torch.where(
            n == 0, torch.zeros_like(kept), torch.exp(torch.minimum(kept - m, torch.zeros_like(m)))
        )
        return (torch.exp(a - m), f, tanh(g), sigmoid(o)), m

    def activate(self, u: Tensor, state: State) -> tuple[Tensor, ...]:
        return self.stabilised(u, state)[0]

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        _, c, n, _ = state
        (i, f, g, o), m = self.stabilised(u, state)
        c = f * c + i * g
        n = f * n + i
        h = o * (c / n)
        return h, (h, c, n, m)
