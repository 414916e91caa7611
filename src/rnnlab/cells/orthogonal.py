"""Simple recurrent networks that remember for long, through their initial weights or a constraint on the weights."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn, sigmoid, tanh
from torch.nn.utils import parametrize

from rnnlab.cells.cell import Cell, State
from rnnlab.cells.description import Gate

INPUT_SCALE = 0.001  # standard deviation of an IRNN's input weights


class IRNN(Cell):
    """Rectified linear units that start from the identity (Le, Jaitly and Hinton 2015). The output is the new h."""

    paper = "Le et al. 2015"
    named_gates = (Gate("h", "h", "relu"),)
    named_states = ("h",)
    equations = "h' = relu(W_ih x + b_ih + W_hh h + b_hh)"

    def __init__(self, input_size: int, hidden_size: int, *, scale: float = 1.0, **common: Any) -> None:
        super().__init__(input_size, hidden_size, **common)
        self.scale = scale

    def initialise(self, generator: np.random.Generator) -> None:
        drawn = INPUT_SCALE * generator.standard_normal(tuple(self.weight_ih.shape))
        self.weight_ih.copy_(torch.from_numpy(drawn))
        assert self.weight_hh is not None
        nn.init.eye_(self.weight_hh).mul_(self.scale)
        for bias in (self.bias_ih, self.bias_hh):
            if bias is not None:
                bias.zero_()

    def activate(self, u: Tensor, state: State) -> tuple[Tensor, ...]:
        (h,) = state
        return (torch.relu(u + self.recur(h)),)

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        (h,) = self.activate(u, state)
        return h, (h,)


class Exponential(nn.Module):
    """The rotation exp(A), with the skew-symmetric A that a matrix's upper triangle makes."""

    def forward(self, free: Tensor) -> Tensor:
        upper = free.triu(1)
        return torch.matrix_exp(upper - upper.mT)


class ExpRNN(Cell):
    """W_hh = exp(A) is always orthogonal (Lezcano-Casado and Martínez-Rubio 2019); modReLU, except for its bias b,
    keeps the norm, too.

    A starts with 2 x 2 blocks that rotate pairs of units by angles from U(-π, π) (Henaff et al. 2016). The output is
    the new h.
    """

    paper = "Lezcano-Casado and Martínez-Rubio 2019"
    named_gates = (Gate("h", "h", "linear"),)
    named_states = ("h",)
    equations = """\
a = W_ih x + b_ih + exp(A) h + b_hh
h' = sign(a) relu(abs(a) + b)"""

    def __init__(self, input_size: int, hidden_size: int, **common: Any) -> None:
        super().__init__(input_size, hidden_size, **common)
        parametrize.register_parametrization(self, "weight_hh", Exponential())
        self.threshold = nn.Parameter(torch.zeros(hidden_size))

    def initialise(self, generator: np.random.Generator) -> None:
        free = torch.zeros(self.hidden_size, self.hidden_size, dtype=torch.float64)
        starts = torch.arange(0, self.hidden_size - 1, 2)
        free[starts, starts + 1] = torch.from_numpy(generator.uniform(-np.pi, np.pi, len(starts)))
        self.get_parameter("parametrizations.weight_hh.original").copy_(free)

    def activate(self, u: Tensor, state: State) -> tuple[Tensor, ...]:
        (h,) = state
        a = u + self.recur(h)
        return (torch.sign(a) * torch.relu(torch.abs(a) + self.threshold),)

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        (h,) = self.activate(u, state)
        return h, (h,)


class Antisymmetric(nn.Module):
    """W - W' - γI, whose eigenvalues have a real part of -γ."""

    def __init__(self, damping: float) -> None:
        super().__init__()
        self.damping = damping

    def forward(self, free: Tensor) -> Tensor:
        return free - free.mT - self.damping * torch.eye(len(free), dtype=free.dtype, device=free.device)


class AntisymmetricRNN(Cell):
    """A step of size `epsilon` along a stable differential equation (Chang et al. 2019). The output is the new h."""

    paper = "Chang et al. 2019"
    named_gates = (Gate("candidate", "n", "tanh"),)
    named_states = ("h",)
    equations = """\
n = tanh(W_ih x + b_ih + (W - W' - gamma I) h + b_hh)
h' = h + epsilon n"""

    def __init__(
        self, input_size: int, hidden_size: int, *, epsilon: float = 0.1, gamma: float = 0.1, **common: Any
    ) -> None:
        super().__init__(input_size, hidden_size, **common)
        self.epsilon = epsilon
        parametrize.register_parametrization(self, "weight_hh", Antisymmetric(gamma))

    def activate(self, u: Tensor, state: State) -> tuple[Tensor, ...]:
        (h,) = state
        return (tanh(u + self.recur(h)),)

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        (h,) = state
        (n,) = self.activate(u, state)
        h = h + self.epsilon * n
        return h, (h,)


class GatedAntisymmetricRNN(Cell):
    """`AntisymmetricRNN` with a gate on the step; gate and candidate share the product with the state. The output is
    the new h.
    """

    paper = "Chang et al. 2019"
    named_gates = (Gate("candidate", "n", "tanh"), Gate("update", "z", "sigmoid"))
    named_states = ("h",)
    recurrent_gates = 1
    equations = """\
z = sigmoid(W_iz x + b_iz + (W - W' - gamma I) h + b_hh)
n = tanh(W_in x + b_in + (W - W' - gamma I) h + b_hh)
h' = h + epsilon z n"""

    def __init__(
        self, input_size: int, hidden_size: int, *, epsilon: float = 0.1, gamma: float = 0.1, **common: Any
    ) -> None:
        super().__init__(input_size, hidden_size, **common)
        self.epsilon = epsilon
        parametrize.register_parametrization(self, "weight_hh", Antisymmetric(gamma))

    def activate(self, u: Tensor, state: State) -> tuple[Tensor, ...]:
        (h,) = state
        un, uz = u.chunk(2, dim=-1)
        v = self.recur(h)
        return tanh(un + v), sigmoid(uz + v)

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        (h,) = state
        n, z = self.activate(u, state)
        h = h + self.epsilon * z * n
        return h, (h,)
