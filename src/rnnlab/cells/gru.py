"""The gated recurrent unit (Cho et al. 2014) as cuDNN and torch have it: r acts after the product."""

from torch import Tensor, sigmoid, tanh

from rnnlab.cells.cell import Cell, State


class GRU(Cell):
    """Gates in torch's order: reset r, update z, candidate n. The output is the new h."""

    gates, states = 3, 1

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        (h,) = state
        ur, uz, un = u.chunk(3, dim=-1)
        vr, vz, vn = self.recur(h).chunk(3, dim=-1)
        r, z = sigmoid(ur + vr), sigmoid(uz + vz)
        n = tanh(un + r * vn)
        h = n + z * (h - n)
        return h, (h,)
