"""Linear recurrent units: the LRU (Orvieto et al. 2023) and the gated one of Griffin (De et al. 2024)."""

from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn, sigmoid
from torch.nn import functional

from rnnlab.cells.cell import Cell, State
from rnnlab.cells.choice import check_choice
from rnnlab.cells.description import Gate
from rnnlab.errors import UserError

Eigenvalues = Literal["complex", "real"]


class LRU(Cell):
    """A diagonal linear recurrence with H complex eigenvalues λ = exp(-exp(ν) + i exp(θ)), always stable.

    λ start uniformly distributed on the ring with radii from `r_min` to `r_max`, with phases up to `max_phase`; γ
    starts at sqrt(1 - |λ|²). The state s holds H real parts, then H imaginary parts, which `eigenvalues=real` leaves
    out; the output is h.
    """

    paper = "Orvieto et al. 2023"
    named_gates: tuple[Gate, ...] = (
        Gate("real input", "br", "linear"),
        Gate("imaginary input", "bi", "linear"),
        Gate("skip", "d", "linear"),
    )
    named_states = ("s",)
    state_blocks: tuple[int, ...] = (2,)
    recurrent_gates = 0
    own_products = 2
    equations = """\
br = W_ir x + b_ir
bi = W_ii x + b_ii
d = W_id x + b_id
s' = lambda s + gamma (br + i bi)
h = Re(C s') + d"""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        eigenvalues: Eigenvalues = "complex",
        r_min: float = 0.0,
        r_max: float = 1.0,
        max_phase: float = 6.283185307179586,
        **common: Any,
    ) -> None:
        check_choice("model.options.eigenvalues", eigenvalues, get_args(Eigenvalues))
        if not 0 <= r_min <= r_max <= 1:
            raise UserError(
                f"model.options.r_min={r_min}, model.options.r_max={r_max}: both lie between 0 and 1, the smaller first"
            )
        if not max_phase > 0:
            raise UserError(f"model.options.max_phase={max_phase}: must be above 0")
        self.eigenvalues, self.r_min, self.r_max, self.max_phase = eigenvalues, r_min, r_max, max_phase
        if eigenvalues == "real":
            self.named_gates, self.state_blocks = (Gate("input", "b", "linear"), LRU.named_gates[2]), (1,)
        super().__init__(input_size, hidden_size, **common)
        self.log_nu = nn.Parameter(torch.zeros(hidden_size))
        self.log_theta = nn.Parameter(torch.zeros(hidden_size)) if eigenvalues == "complex" else None
        self.log_gamma = nn.Parameter(torch.zeros(hidden_size))
        self.weight_c = nn.Parameter(torch.zeros(hidden_size, self.state_blocks[0] * hidden_size))

    def initialise(self, generator: np.random.Generator) -> None:
        u = generator.uniform(size=self.hidden_size)
        square = u * (self.r_max**2 - self.r_min**2) + self.r_min**2  # |λ|²: makes λ uniform on the ring
        square = square.clip(1e-12, 1 - 1e-12)
        self.log_nu.copy_(torch.from_numpy(np.log(-0.5 * np.log(square))))
        self.log_gamma.copy_(torch.from_numpy(0.5 * np.log1p(-square)))
        if self.log_theta is not None:
            phase = self.max_phase * (1 - generator.uniform(size=self.hidden_size))
            self.log_theta.copy_(torch.from_numpy(np.log(phase)))

    def activate(self, u: Tensor, state: State) -> tuple[Tensor, ...]:
        return u.chunk(self.gates, dim=-1)

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        (s,) = state
        modulus, gamma = torch.exp(-torch.exp(self.log_nu)), torch.exp(self.log_gamma)
        *b, d = self.activate(u, state)
        if self.log_theta is None:
            s = modulus * s + gamma * b[0]
        else:
            theta = torch.exp(self.log_theta)
            a_real, a_imag = modulus * torch.cos(theta), modulus * torch.sin(theta)
            real, imag = s.chunk(2, dim=-1)
            real, imag = a_real * real - a_imag * imag, a_real * imag + a_imag * real
            s = torch.cat([real + gamma * b[0], imag + gamma * b[1]], dim=-1)
        return functional.linear(s, self.weight_c) + d, (s,)


SHARPNESS = 8.0  # Griffin's c
LEAST = 2.5e-7  # lower bound of 1 - a²; the gradient of its root is 1000 there


class RGLRU(Cell):
    """The real-gated linear recurrent unit: the input decides how much of the state stays. The output is the new h.

    sigmoid(Lambda)^8 starts between 0.9 and 0.999. The argument of the root is kept above 0, where the root's gradient
    is infinite.
    """

    paper = "De et al. 2024"
    named_gates = (
        Gate("recurrence", "r", "sigmoid"),
        Gate("input", "i", "sigmoid"),
        Gate("candidate", "n", "linear"),
    )
    named_states = ("h",)
    recurrent_gates = 0
    equations = """\
r = sigmoid(W_ir x + b_ir)
i = sigmoid(W_ii x + b_ii)
n = W_in x + b_in
a = sigmoid(Lambda) ** (8 r)
h' = a h + sqrt(1 - a**2) (i n)"""

    def __init__(self, input_size: int, hidden_size: int, **common: Any) -> None:
        super().__init__(input_size, hidden_size, **common)
        self.decay = nn.Parameter(torch.zeros(hidden_size))

    def initialise(self, generator: np.random.Generator) -> None:
        a = generator.uniform(0.9, 0.999, self.hidden_size) ** (1 / SHARPNESS)
        self.decay.copy_(torch.from_numpy(np.log(a) - np.log1p(-a)))

    def activate(self, u: Tensor, state: State) -> tuple[Tensor, ...]:
        r, i, n = u.chunk(3, dim=-1)
        return sigmoid(r), sigmoid(i), n

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        (h,) = state
        r, i, n = self.activate(u, state)
        a = torch.exp(-SHARPNESS * functional.softplus(-self.decay) * r)
        h = a * h + torch.sqrt(torch.clamp(1 - a * a, min=LEAST)) * (i * n)
        return h, (h,)
