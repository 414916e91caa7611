"""Long short-term memory (Hochreiter and Schmidhuber 1997) with a forget gate (Gers et al. 2000)."""

from torch import Tensor, sigmoid, tanh

from rnnlab.cells.cell import Cell, State
from rnnlab.cells.description import Gate


class LSTM(Cell):
    """Gates in torch's order. The state is (h, c), the output h."""

    paper = "Gers et al. 2000"
    named_gates = (
        Gate("input", "i", "sigmoid"),
        Gate("forget", "f", "sigmoid"),
        Gate("candidate", "g", "tanh"),
        Gate("output", "o", "sigmoid"),
    )
    named_states = ("h", "c")
    torch_layer = "LSTM"
    equations = """\
i = sigmoid(W_ii x + b_ii + W_hi h + b_hi)
f = sigmoid(W_if x + b_if + W_hf h + b_hf)
g = tanh(W_ig x + b_ig + W_hg h + b_hg)
o = sigmoid(W_io x + b_io + W_ho h + b_ho)
c' = f c + i g
h' = o tanh(c')"""
    how = (
        "Behind it stands a memory c. At each step gates between 0 and 1, computed from the input and the "
        "old state, decide what is forgotten, what is written and what is shown."
    )

    def activate(self, u: Tensor, state: State) -> tuple[Tensor, ...]:
        h, _ = state
        i, f, g, o = (u + self.recur(h)).chunk(4, dim=-1)
        return sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        _, c = state
        i, f, g, o = self.activate(u, state)
        c = f * c + i * g
        h = o * tanh(c)
        return h, (h, c)
