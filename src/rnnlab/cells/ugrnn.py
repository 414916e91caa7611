"""The update-gate network (Collins, Sohl-Dickstein and Sussillo 2016)."""

from torch import Tensor, sigmoid, tanh

from rnnlab.cells.cell import Cell, State
from rnnlab.cells.description import Gate


class UGRNN(Cell):
    """A simple recurrent network with a gate that decides how much of the old state stays. The output is the new h."""

    paper = "Collins et al. 2016"
    named_gates = (Gate("candidate", "c", "tanh"), Gate("update", "g", "sigmoid"))
    named_states = ("h",)
    equations = """\
c = tanh(W_ic x + b_ic + W_hc h + b_hc)
g = sigmoid(W_ig x + b_ig + W_hg h + b_hg)
h' = g h + (1 - g) c"""

    def activate(self, u: Tensor, state: State) -> tuple[Tensor, ...]:
        (h,) = state
        c, g = (u + self.recur(h)).chunk(2, dim=-1)
        return tanh(c), sigmoid(g)

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        (h,) = state
        c, g = self.activate(u, state)
        h = c + g * (h - c)
        return h, (h,)
