"""Cells from differential equations.

coRNN (Rusch and Mishra 2021), LEM (Rusch et al. 2022) and CfC (Hasani et al. 2022).
"""

from typing import Any

import torch
from torch import Tensor, nn, sigmoid, tanh
from torch.nn import functional

from rnnlab.cells.cell import Cell, State
from rnnlab.cells.description import Gate


class CoRNN(Cell):
    """Coupled oscillators with position h, the output, and velocity z: damped by `epsilon`, drawn back by `gamma`."""

    paper = "Rusch and Mishra 2021"
    named_gates = (Gate("candidate", "n", "tanh"),)
    named_states = ("h", "z")
    own_products = 1
    equations = """\
n = tanh(W_ih x + b_ih + W_hh h + b_hh + W_hz z)
z' = z + dt (n - gamma h - epsilon z)
h' = h + dt z'"""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        dt: float = 0.042,
        gamma: float = 2.7,
        epsilon: float = 4.7,
        **common: Any,
    ) -> None:
        super().__init__(input_size, hidden_size, **common)
        self.dt, self.gamma, self.epsilon = dt, gamma, epsilon
        self.weight_hz = nn.Parameter(torch.zeros(hidden_size, hidden_size))

    def activate(self, u: Tensor, state: State) -> tuple[Tensor, ...]:
        h, z = state
        return (tanh(u + self.recur(h) + functional.linear(z, self.weight_hz)),)

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        h, z = state
        (n,) = self.activate(u, state)
        z = z + self.dt * (n - self.gamma * h - self.epsilon * z)
        h = h + self.dt * z
        return h, (h, z)


class LEM(Cell):
    """Long expressive memory: each unit of h, the output, and of z has a time step of its own, at most `dt`."""

    paper = "Rusch et al. 2022"
    named_gates = (
        Gate("step", "s", "sigmoid"),
        Gate("memory step", "m", "sigmoid"),
        Gate("memory", "g", "tanh"),
        Gate("candidate", "n", "tanh"),
    )
    named_states = ("h", "z")
    recurrent_gates = 3
    own_products = 1
    equations = """\
s = sigmoid(W_is x + b_is + W_hs h + b_hs)
m = sigmoid(W_im x + b_im + W_hm h + b_hm)
g = tanh(W_ig x + b_ig + W_hg h + b_hg)
z' = (1 - dt m) z + dt m g
n = tanh(W_in x + b_in + W_hn z')
h' = (1 - dt s) h + dt s n"""

    def __init__(self, input_size: int, hidden_size: int, *, dt: float = 1.0, **common: Any) -> None:
        super().__init__(input_size, hidden_size, **common)
        self.dt = dt
        self.weight_hn = nn.Parameter(torch.zeros(hidden_size, hidden_size))

    def moved(self, u: Tensor, state: State) -> tuple[tuple[Tensor, ...], Tensor]:
        """The gates, and the new z."""
        h, z = state
        us, um, ug, un = u.chunk(4, dim=-1)
        vs, vm, vg = self.recur(h).chunk(3, dim=-1)
        s, m, g = sigmoid(us + vs), sigmoid(um + vm), tanh(ug + vg)
        z = z + self.dt * m * (g - z)
        return (s, m, g, tanh(un + functional.linear(z, self.weight_hn))), z

    def activate(self, u: Tensor, state: State) -> tuple[Tensor, ...]:
        return self.moved(u, state)[0]

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        h, _ = state
        (s, _, _, n), z = self.moved(u, state)
        h = h + self.dt * s * (n - h)
        return h, (h, z)


class CfC(Cell):
    """The closed form of a liquid time-constant network: equation (10) of the paper at time `dt`, without a backbone.

    The output is the new h.
    """

    paper = "Hasani et al. 2022"
    named_gates = (Gate("time", "t", "sigmoid"), Gate("start", "g", "tanh"), Gate("candidate", "n", "tanh"))
    named_states = ("h",)
    equations = """\
t = sigmoid(-dt (W_it x + b_it + W_ht h + b_ht))
g = tanh(W_ig x + b_ig + W_hg h + b_hg)
n = tanh(W_in x + b_in + W_hn h + b_hn)
h' = t g + (1 - t) n"""

    def __init__(self, input_size: int, hidden_size: int, *, dt: float = 1.0, **common: Any) -> None:
        super().__init__(input_size, hidden_size, **common)
        self.dt = dt

    def activate(self, u: Tensor, state: State) -> tuple[Tensor, ...]:
        (h,) = state
        f, g, n = (u + self.recur(h)).chunk(3, dim=-1)
        return sigmoid(-self.dt * f), tanh(g), tanh(n)

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        t, g, n = self.activate(u, state)
        h = n + t * (g - n)
        return h, (h,)
