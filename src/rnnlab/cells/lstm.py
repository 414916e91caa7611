"""Long short-term memory (Hochreiter and Schmidhuber 1997) with a forget gate (Gers et al. 2000)."""

from torch import Tensor, sigmoid, tanh

from rnnlab.cells.cell import Cell, State


class LSTM(Cell):
    """Gates in torch's order: input i, forget f, candidate g, output o. The state is (h, c), the output h."""

    gates, states = 4, 2

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        h, c = state
        i, f, g, o = (u + self.recur(h)).chunk(4, dim=-1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(c)
        return h, (h, c)
