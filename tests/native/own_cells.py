"""Cells as users write them, one for each thing that a step may do."""

import torch
from torch import nn, sigmoid, tanh
from torch.nn import functional

from rnnlab.cells import Cell


class UGRNN(Cell):
    """Collins et al. 2017: one product, one slot for each sum."""

    gates, states = 2, 1

    def step(self, u, state):
        (h,) = state
        c, g = (u + self.recur(h)).chunk(2, dim=-1)
        g = sigmoid(g)
        h = g * h + (1 - g) * tanh(c)
        return h, (h,)


class MGU(Cell):
    """Zhou et al. 2016, the gate after the product."""

    gates, states = 2, 1

    def step(self, u, state):
        (h,) = state
        uf, un = u.chunk(2, dim=-1)
        vf, vn = self.recur(h).chunk(2, dim=-1)
        f = sigmoid(uf + vf)
        h = (1 - f) * h + f * tanh(un + f * vn)
        return h, (h,)


class ChainedGRU(Cell):
    """Cho et al. 2014: r before the second product; each product uses some blocks of one matrix."""

    gates, states = 3, 1

    def step(self, u, state):
        (h,) = state
        ur, uz, un = u.chunk(3, dim=-1)
        vr, vz, _ = self.recur(h).chunk(3, dim=-1)
        r, z = sigmoid(ur + vr), sigmoid(uz + vz)
        n = tanh(un + self.recur(r * h)[:, 2 * self.hidden_size :])
        h = n + z * (h - n)
        return h, (h,)


class Highway(Cell):
    """Zilly et al. 2017: products one after another, with matrices of their own."""

    gates, states = 2, 1

    def __init__(self, input_size, hidden_size, **common):
        super().__init__(input_size, hidden_size, **common)
        self.deep = nn.ParameterList(
            nn.Parameter(torch.zeros(2 * hidden_size, hidden_size)) for _ in range(2)
        )

    def step(self, u, state):
        (s,) = state
        a, t = (u + self.recur(s)).chunk(2, -1)
        s = s + sigmoid(t) * (tanh(a) - s)
        for weight in self.deep:
            a, t = functional.linear(s, weight).chunk(2, -1)
            s = s + sigmoid(t) * (tanh(a) - s)
        return s, (s,)


class Peephole(Cell):
    """Gers and Schmidhuber 2000: parameters by unit, and one number for all units."""

    gates, states = 4, 2

    def __init__(self, input_size, hidden_size, **common):
        super().__init__(input_size, hidden_size, **common)
        self.peep = nn.Parameter(torch.zeros(3 * hidden_size))
        self.scale = nn.Parameter(torch.ones(()))

    def step(self, u, state):
        h, c = state
        i, f, g, o = (u + self.recur(h)).chunk(4, -1)
        pi, pf, po = self.peep.chunk(3)
        i, f = sigmoid(i + pi * c), sigmoid(f + pf * c)
        c = f * c + i * tanh(g) * self.scale
        h = sigmoid(o + po * c) * tanh(c)
        return h, (h, c)


class LayerNormGRU(Cell):
    """Ba et al. 2016: sums over the units, before and after the product."""

    gates, states = 3, 1

    def __init__(self, input_size, hidden_size, **common):
        super().__init__(input_size, hidden_size, **common)
        self.norm = nn.LayerNorm(hidden_size)

    def step(self, u, state):
        (h,) = state
        ur, uz, un = u.chunk(3, dim=-1)
        vr, vz, vn = self.recur(self.norm(h)).chunk(3, dim=-1)
        r, z = sigmoid(ur + vr), sigmoid(uz + vz)
        n = tanh(functional.layer_norm(un + r * vn, (self.hidden_size,)))
        h = n + z * (h - n)
        return h, (h,)


class IndRNN(Cell):
    """Li et al. 2018: no product at all."""

    gates, states, recurrent_gates = 1, 1, 0

    def __init__(self, input_size, hidden_size, **common):
        super().__init__(input_size, hidden_size, **common)
        self.weight = nn.Parameter(torch.full((hidden_size,), 0.9))

    def step(self, u, state):
        (h,) = state
        h = torch.relu(u + self.weight * h)
        return h, (h,)


class MinGRU(Cell):
    """Feng et al. 2024: linear in its state."""

    gates, states, recurrent_gates = 2, 1, 0

    def step(self, u, state):
        (h,) = state
        z, n = u.chunk(2, -1)
        h = torch.lerp(h, n, sigmoid(z))
        return h, (h,)


class Wide(Cell):
    """A state of two blocks, a matrix that takes two, and an output that is no state."""

    gates, state_blocks = 2, (2, 1)

    def __init__(self, input_size, hidden_size, **common):
        super().__init__(input_size, hidden_size, **common)
        self.mix = nn.Parameter(torch.zeros(2 * hidden_size, 2 * hidden_size))

    def step(self, u, state):
        s, c = state
        s = functional.softplus(functional.linear(s, self.mix) + u) - 0.5
        a, b = s.chunk(2, -1)
        c = 0.9 * c + functional.gelu(a) * functional.elu(b)
        return torch.sin(c) + a, (s, c)


class Deep(Cell):
    """Products of products, a buffer, conditions, and sums over the units between them."""

    gates, states = 1, 1

    def __init__(self, input_size, hidden_size, **common):
        super().__init__(input_size, hidden_size, **common)
        self.a = nn.Parameter(torch.zeros(hidden_size, hidden_size))
        self.b = nn.Parameter(torch.zeros(hidden_size, hidden_size))
        self.bias_a = nn.Parameter(torch.zeros(hidden_size))
        self.register_buffer("mask", torch.arange(hidden_size) % 3 / 2.0)

    def step(self, u, state):
        (h,) = state
        x = functional.linear(h, self.a, self.bias_a)
        y = functional.silu(x + u) @ self.b.T
        centred = y - y.mean(-1, keepdim=True)
        v = centred / torch.sqrt(y.var(-1, keepdim=True, unbiased=False) + 0.1)
        h = tanh(v + self.recur(x * y)) * self.mask + torch.where(y > 0, y, x).clamp(-1, 1)
        return h, (h,)


class Warming(Cell):
    """Its gate opens with the number of the step."""

    gates, states = 1, 1

    def __init__(self, input_size, hidden_size, **common):
        super().__init__(input_size, hidden_size, **common)
        self.tau = nn.Parameter(torch.full((hidden_size,), 3.0))

    def step(self, u, state, t):
        (h,) = state
        gate = torch.exp(-t / (1 + self.tau.square()))
        h = gate * h + (1 - gate) * tanh(u + self.recur(h) + 0.01 * t)
        return h, (h,)


class Attentive(Cell):
    """Sums over the units of sums over the units, functions of them, and a state that is one of them."""

    gates, states = 1, 2

    def __init__(self, input_size, hidden_size, **common):
        super().__init__(input_size, hidden_size, **common)
        self.number = nn.Parameter(torch.tensor(0.7))

    def step(self, u, state):
        h, m = state
        a = u + self.recur(h) - 0.1 * m
        e = torch.exp(a - a.mean(-1, keepdim=True))
        share = e / e.sum(-1, keepdim=True)
        focus = (share * a).sum(-1, keepdim=True)
        spread = (a - focus).square().mean(-1, keepdim=True).mean(-1, keepdim=True)
        scale = self.number / torch.sqrt(spread + 0.1) + tanh(focus).sum(-1, keepdim=True)
        h = tanh(share * scale + torch.where(focus > 0, a, 0.5 * a) / (1 + spread))
        return h, (h, focus + torch.zeros_like(h))


class Steep(Cell):
    """A steeper gate with the gradient of a sigmoid."""

    gates, states = 2, 1

    def step(self, u, state):
        (h,) = state
        c, g = (u + self.recur(h)).chunk(2, dim=-1)
        g = sigmoid(g)
        g = g + (g * g * (3 - 2 * g) - g).detach()
        h = g * h + (1 - g) * tanh(c) * torch.detach(1 + h * h)
        return h, (h,)


OWN = (
    UGRNN,
    MGU,
    ChainedGRU,
    Highway,
    Peephole,
    LayerNormGRU,
    IndRNN,
    MinGRU,
    Wide,
    Deep,
    Warming,
    Attentive,
    Steep,
)
