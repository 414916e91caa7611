"""Diagonal state space models, as recurrences: S4D (Gu et al. 2022) and S5 (Smith et al. 2023).

Complex numbers are pairs of real ones: a state holds all real parts, then all imaginary parts.
"""

from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from rnnlab.cells.cell import Cell, State
from rnnlab.cells.choice import check_choice
from rnnlab.cells.description import Gate
from rnnlab.errors import UserError

Discretisation = Literal["zoh", "bilinear"]
STEPS = 0.001, 0.1  # the step sizes dt start log-uniform between these


class Complex(NamedTuple):
    """Complex numbers as two real tensors."""

    real: Tensor
    imag: Tensor

    def times(self, other: "Complex") -> "Complex":
        return Complex(
            self.real * other.real - self.imag * other.imag, self.real * other.imag + self.imag * other.real
        )

    def over(self, other: "Complex") -> "Complex":
        size = other.real * other.real + other.imag * other.imag
        return Complex(
            (self.real * other.real + self.imag * other.imag) / size,
            (self.imag * other.real - self.real * other.imag) / size,
        )


def discretised(pole: Complex, dt: Tensor, how: str) -> tuple[Complex, Complex]:
    """A and B of s' = A s + B b, the solution of ds/dt = pole s + b after a time dt.

    "zoh" holds b constant during dt, "bilinear" is the trapezoidal rule.
    """
    turn = Complex(dt * pole.real, dt * pole.imag)
    if how == "zoh":
        size = torch.exp(turn.real)
        a = Complex(size * torch.cos(turn.imag), size * torch.sin(turn.imag))
        return a, Complex(a.real - 1, a.imag).over(pole)
    below = Complex(1 - turn.real / 2, -turn.imag / 2)
    above = Complex(1 + turn.real / 2, turn.imag / 2)
    return above.over(below), Complex(dt, torch.zeros_like(dt)).over(below)


def log_steps(generator: np.random.Generator, size: int) -> Tensor:
    low, high = np.log(STEPS)
    return torch.from_numpy(generator.uniform(low, high, size))


class S4D(Cell):
    """Each unit has `pairs` complex states of its own and reads only these for its output h: units do not mix.

    The poles A start at -1/2 + iπn (S4D-Lin) for n = 0, 1, ..; B is 1. The state is `pairs` blocks of H real parts,
    then as many blocks of imaginary parts. `discretisation`: see `discretised`.
    """

    paper = "Gu et al. 2022"
    named_gates = (Gate("input", "b", "linear"),)
    named_states = ("s",)
    state_blocks = (8,)
    recurrent_gates = 0
    equations = """\
b = W_ih x + b_ih
s' = exp(dt A) s + (exp(dt A) - 1) / A b
h = 2 Re(sum of C s' over the pairs) + D b"""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        pairs: int = 4,
        discretisation: Discretisation = "zoh",
        **common: Any,
    ) -> None:
        check_choice("model.options.discretisation", discretisation, get_args(Discretisation))
        if pairs < 1:
            raise UserError(f"model.options.pairs={pairs}: must be a whole number of at least 1")
        self.pairs, self.discretisation, self.state_blocks = pairs, discretisation, (2 * pairs,)
        super().__init__(input_size, hidden_size, **common)
        size = pairs * hidden_size
        self.log_dt = nn.Parameter(torch.zeros(hidden_size))
        self.log_damping = nn.Parameter(torch.zeros(size))
        self.frequency = nn.Parameter(torch.zeros(size))
        self.c_real = nn.Parameter(torch.zeros(size))
        self.c_imag = nn.Parameter(torch.zeros(size))
        self.d = nn.Parameter(torch.zeros(hidden_size))

    def initialise(self, generator: np.random.Generator) -> None:
        self.log_dt.copy_(log_steps(generator, self.hidden_size))
        self.log_damping.fill_(np.log(0.5))
        self.frequency.copy_(torch.arange(self.pairs).repeat_interleave(self.hidden_size) * np.pi)
        for c in (self.c_real, self.c_imag):
            c.copy_(torch.from_numpy(generator.standard_normal(len(c)) * 0.5**0.5))
        self.d.copy_(torch.from_numpy(generator.standard_normal(self.hidden_size)))

    def activate(self, u: Tensor, state: State) -> tuple[Tensor, ...]:
        return (u,)

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        (s,) = state
        pole = Complex(-torch.exp(self.log_damping), self.frequency)
        dt = torch.cat([torch.exp(self.log_dt)] * self.pairs)
        a, b = discretised(pole, dt, self.discretisation)
        old = a.times(Complex(*s.chunk(2, dim=-1)))
        wide = torch.cat([u] * self.pairs, dim=-1)
        real, imag = old.real + b.real * wide, old.imag + b.imag * wide
        h = self.d * u
        for part in (self.c_real * real - self.c_imag * imag).chunk(self.pairs, dim=-1):
            h = h + 2 * part
        return h, (torch.cat([real, imag], dim=-1),)


class S5(Cell):
    """H complex states; every input feeds every state, and every unit of the output h reads every state.

    The poles A start at the eigenvalues of HiPPO's normal part above the real axis; each stands for its conjugate, too,
    hence the 2 in h. `discretisation`: see `discretised`.
    """

    paper = "Smith et al. 2023"
    named_gates = (
        Gate("real input", "br", "linear"),
        Gate("imaginary input", "bi", "linear"),
        Gate("skip", "d", "linear"),
    )
    named_states = ("s",)
    state_blocks = (2,)
    recurrent_gates = 0
    own_products = 2
    equations = """\
br = W_ir x + b_ir
bi = W_ii x + b_ii
d = W_id x + b_id
s' = exp(dt A) s + (exp(dt A) - 1) / A (br + i bi)
h = 2 Re(C s') + d"""

    def __init__(
        self, input_size: int, hidden_size: int, *, discretisation: Discretisation = "zoh", **common: Any
    ) -> None:
        super().__init__(input_size, hidden_size, **common)
        check_choice("model.options.discretisation", discretisation, get_args(Discretisation))
        self.discretisation = discretisation
        self.log_dt = nn.Parameter(torch.zeros(hidden_size))
        self.log_damping = nn.Parameter(torch.zeros(hidden_size))
        self.frequency = nn.Parameter(torch.zeros(hidden_size))
        self.weight_c = nn.Parameter(torch.zeros(hidden_size, 2 * hidden_size))

    def initialise(self, generator: np.random.Generator) -> None:
        self.log_dt.copy_(log_steps(generator, self.hidden_size))
        self.log_damping.fill_(np.log(0.5))
        self.frequency.copy_(torch.from_numpy(hippo_frequencies(self.hidden_size)))

    def activate(self, u: Tensor, state: State) -> tuple[Tensor, ...]:
        return u.chunk(3, dim=-1)

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        (s,) = state
        br, bi, d = self.activate(u, state)
        pole = Complex(-torch.exp(self.log_damping), self.frequency)
        a, b = discretised(pole, torch.exp(self.log_dt), self.discretisation)
        old, new = a.times(Complex(*s.chunk(2, dim=-1))), b.times(Complex(br, bi))
        s = torch.cat([old.real + new.real, old.imag + new.imag], dim=-1)
        return 2 * functional.linear(s, self.weight_c) + d, (s,)


def hippo_frequencies(pairs: int) -> np.ndarray:
    """The positive imaginary parts of the eigenvalues of HiPPO-LegS's normal part (2 `pairs` dimensions), ascending."""
    p = np.sqrt(np.arange(2 * pairs) + 0.5)
    skew = np.triu(np.outer(p, p), 1)
    return np.sort(np.linalg.eigvalsh(1j * (skew - skew.T)))[pairs:]
