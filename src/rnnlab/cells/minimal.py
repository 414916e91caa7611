"""minGRU and minLSTM (Feng et al. 2024, "Were RNNs all we needed?"): gates that see the input alone."""

from typing import Any, Literal, get_args

import torch
from torch import Tensor, sigmoid

from rnnlab.cells.cell import Cell, State
from rnnlab.cells.choice import check_choice
from rnnlab.cells.description import Gate

Candidate = Literal["linear", "positive"]
SHUT = -40.0  # below it sigmoid(x) is exp(x) to all digits
HALF = (torch.float16, torch.bfloat16)


def positive(a: Tensor) -> Tensor:
    """The paper's g, above 0 so that its logarithm can be taken."""
    return torch.where(a >= 0, a + 0.5, sigmoid(a))


def share(f: Tensor, i: Tensor) -> Tensor:
    """The ratio f / (f + i) of two gates from their sums, as (1 + exp(-i)) / (2 + exp(-i) + exp(-f)).

    Where both sums are below `SHUT`, the ratio depends on their difference alone, and both are shifted up to it: the
    gates may be so small that f + i is 0. What is then more than 20 below it counts as 20 below it, so that exp and its
    products stay finite; the ratio changes by 2e-9 at most. Neither shift has a gradient.
    """
    if f.dtype in HALF:  # exp soon overflows
        return share(f.float(), i.float()).to(f.dtype)
    shift = torch.clamp(torch.maximum(f, i) - SHUT, max=0).detach()
    b, a = (exp_of_minus(gate - shift) for gate in (f, i))
    return (1 + a) * torch.reciprocal(2 + a + b)


def exp_of_minus(x: Tensor) -> Tensor:
    """exp(-x). An x further than 20 below `SHUT` counts as 20 below it, but not for the gradient."""
    return torch.exp(-(x + (torch.clamp(x, min=SHUT - 20) - x).detach()))


class MinGRU(Cell):
    """`candidate`: "linear" as in the paper's plain form, or "positive" as in its log-space form.

    The output is the new h.
    """

    paper = "Feng et al. 2024"
    named_gates = (Gate("update", "z", "sigmoid"), Gate("candidate", "n", "linear"))
    named_states = ("h",)
    recurrent_gates = 0
    equations = """\
z = sigmoid(W_iz x + b_iz)
n = W_in x + b_in
h' = (1 - z) h + z n"""

    def __init__(
        self, input_size: int, hidden_size: int, *, candidate: Candidate = "linear", **common: Any
    ) -> None:
        super().__init__(input_size, hidden_size, **common)
        check_choice("model.options.candidate", candidate, get_args(Candidate))
        self.candidate = candidate

    def activate(self, u: Tensor, state: State) -> tuple[Tensor, ...]:
        z, n = u.chunk(2, dim=-1)
        return sigmoid(z), positive(n) if self.candidate == "positive" else n

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        (h,) = state
        z, n = self.activate(u, state)
        h = h + z * (n - h)
        return h, (h,)


class MinLSTM(Cell):
    """The weights of old state and candidate add up to 1. The output is the new h. `candidate` as in `MinGRU`."""

    paper = "Feng et al. 2024"
    named_gates = (
        Gate("forget", "f", "sigmoid"),
        Gate("input", "i", "sigmoid"),
        Gate("candidate", "n", "linear"),
    )
    named_states = ("h",)
    recurrent_gates = 0
    equations = """\
f = sigmoid(W_if x + b_if)
i = sigmoid(W_ii x + b_ii)
n = W_in x + b_in
h' = f / (f + i) h + i / (f + i) n"""

    def __init__(
        self, input_size: int, hidden_size: int, *, candidate: Candidate = "linear", **common: Any
    ) -> None:
        super().__init__(input_size, hidden_size, **common)
        check_choice("model.options.candidate", candidate, get_args(Candidate))
        self.candidate = candidate

    def activate(self, u: Tensor, state: State) -> tuple[Tensor, ...]:
        f, i, n = u.chunk(3, dim=-1)
        return sigmoid(f), sigmoid(i), positive(n) if self.candidate == "positive" else n

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        (h,) = state
        f, i, n = u.chunk(3, dim=-1)
        n = positive(n) if self.candidate == "positive" else n
        h = n + share(f, i) * (h - n)
        return h, (h,)
