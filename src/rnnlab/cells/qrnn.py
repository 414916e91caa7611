"""The quasi-recurrent network (Bradbury et al. 2017) with a window of two steps."""

import torch
from torch import Tensor, sigmoid, tanh

from rnnlab.cells.cell import Cell, State
from rnnlab.cells.description import Gate


class QRNN(Cell):
    """fo-pooling: gates and candidate are a convolution over this and the previous input; the pooling is elementwise.

    The state is the memory c and p (3H), the previous input's part of the convolution; the output is h.
    """

    paper = "Bradbury et al. 2017"
    named_gates = (
        Gate("candidate", "n", "tanh"),
        Gate("forget", "f", "sigmoid"),
        Gate("output", "o", "sigmoid"),
        Gate("past candidate", "pn", "linear"),
        Gate("past forget", "pf", "linear"),
        Gate("past output", "po", "linear"),
    )
    named_states = ("c", "p")
    recurrent_gates = 0
    state_blocks = (1, 3)
    equations = """\
n = tanh(W_in x + b_in + (p)_n)
f = sigmoid(W_if x + b_if + (p)_f)
o = sigmoid(W_io x + b_io + (p)_o)
c' = f c + (1 - f) n
p' = W_ip x + b_ip
h = o c'"""

    def activate(self, u: Tensor, state: State) -> tuple[Tensor, ...]:
        _, past = state
        now, following = u.chunk(2, dim=-1)
        n, f, o = (now + past).chunk(3, dim=-1)
        return tanh(n), sigmoid(f), sigmoid(o), *following.chunk(3, dim=-1)

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        c, _ = state
        n, f, o, *following = self.activate(u, state)
        c = n + f * (c - n)
        return o * c, (c, torch.cat(following, dim=-1))
