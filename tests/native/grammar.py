"""Random cells: a step is a list of instructions, drawn from all that a step may do.

    python tests/native/grammar.py FIRST COUNT

compares so many of them, from seed FIRST on, with float64 autograd; each takes about a second to compile.
"""

import random
import sys

import torch
from torch import Tensor, nn
from torch.nn import functional

from rnnlab.cells import Cell

SMOOTH = (
    torch.tanh, torch.sigmoid, torch.sin, torch.cos, torch.square, functional.softplus, functional.silu,
    functional.gelu, functional.elu, torch.neg, torch.erf,
)  # fmt: skip
CORNERED = (
    torch.relu, functional.leaky_relu, torch.abs, lambda a: a.clamp(-0.7, 0.8), lambda a: a * torch.tanh(a).detach(),
)  # fmt: skip
NARROWED = (
    lambda a: torch.exp(torch.tanh(a)), lambda a: torch.log(1.5 + torch.tanh(a)), lambda a: torch.log1p(a.square()),
    lambda a: torch.sqrt(0.1 + a.square()), lambda a: torch.rsqrt(0.5 + a.square()),
    lambda a: (0.5 + a.square()) ** 1.7, lambda a: 1.7 ** torch.tanh(a), lambda a: torch.tanh(a) ** 3,
)  # fmt: skip
PAIRS = (
    torch.add, torch.sub, torch.mul, lambda a, b: a / (1.5 + torch.tanh(b)), torch.maximum, torch.minimum,
    lambda a, b: torch.where(a > b, a, 0.5 * b), lambda a, b: a + 0.3 * b, lambda a, b: torch.lerp(a, b, 0.4),
    lambda a, b: torch.where((a > 0) & (b <= 0), a * b, a - b),
)  # fmt: skip


class Random(Cell):
    """One of the grammar's sentences."""

    seed = 0

    def __init__(self, input_size: int, hidden_size: int, **common):
        draw = random.Random(self.seed)
        self.gates, states = draw.randint(1, 4), draw.randint(1, 3)
        self.state_blocks = tuple(draw.choice([1, 1, 1, 2]) for _ in range(states))
        self.recurrent_gates = draw.choice([None, 0, 1, 2])
        super().__init__(input_size, hidden_size, **common)
        self.matrices = nn.ParameterList(
            nn.Parameter(torch.zeros(draw.randint(1, 2) * hidden_size, draw.randint(1, 2) * hidden_size))
            for _ in range(draw.choice([0, 0, 1, 2]))
        )
        self.vector = nn.Parameter(torch.full((2 * hidden_size,), 0.7))
        self.number = nn.Parameter(torch.tensor(0.4))
        self.register_buffer("fixed", torch.arange(hidden_size) / hidden_size)

    def step(self, u: Tensor, state: tuple[Tensor, ...]):
        draw = random.Random(self.seed + 1)
        pool = [*u.chunk(self.gates, -1)]
        for s, k in zip(state, self.state_blocks, strict=True):
            pool += s.chunk(k, -1)
        pool += [*self.vector.chunk(2), self.fixed]
        pool = [a + torch.zeros_like(pool[0]) if a.dim() == 1 else a for a in pool]

        def some() -> Tensor:
            return draw.choice(pool)

        for _ in range(draw.randint(4, 14)):
            kind = draw.random()
            if kind < 0.3:
                made = [draw.choice(PAIRS)(some(), some())]
            elif kind < 0.5:
                made = [draw.choice(SMOOTH)(some())]
            elif kind < 0.6:
                made = [draw.choice(NARROWED)(some())]
            elif kind < 0.65:
                made = [draw.choice(CORNERED)(some())]
            elif kind < 0.8 and self.recurrent_gates != 0:
                made = self.recur(some()).chunk(self.recurrent_gates or self.gates, -1)
            elif kind < 0.9 and len(self.matrices):
                weight = draw.choice(list(self.matrices))
                parts = [some() for _ in range(weight.shape[1] // self.hidden_size)]
                out = functional.linear(torch.cat(parts, -1), weight)
                made = out.split(self.hidden_size, -1)
            elif kind < 0.95:
                made = [functional.layer_norm(some(), (self.hidden_size,), eps=0.1)]
            else:
                a = some()
                made = [a * self.number + a.mean(-1, keepdim=True) * self.vector[: self.hidden_size]]
            pool += made
        fresh = pool[-8:]
        following = tuple(
            torch.cat([torch.tanh(draw.choice(fresh) + 0.1 * pool[0]) for _ in range(k)], -1)
            for k in self.state_blocks
        )
        y = (
            following[0]
            if self.state_blocks[0] == 1 and draw.random() < 0.7
            else torch.tanh(draw.choice(fresh))
        )
        return y, following


def random_cell(seed: int) -> type[Random]:
    return type(f"Random{seed}", (Random,), {"seed": seed})


def main(first: int, count: int) -> int:
    from programs import relative_error
    from test_own_cells import CASES, CLOSE, outcome

    wrong = 0
    for seed in range(first, first + count):
        kind, case = random_cell(seed), list(CASES.values())[seed % len(CASES)]
        try:
            truth = outcome("reference", torch.float64, kind, **case)
            usual = relative_error(outcome("reference", torch.float32, kind, **case), truth)
            error = relative_error(outcome("native", torch.float32, kind, **case), truth)
        except Exception as problem:
            print(f"{seed}: {type(problem).__name__}: {problem}")
            wrong += 1
            continue
        if not error <= 10 * usual + CLOSE:
            print(f"{seed}: off by {error:.1e}, float32's own reference by {usual:.1e}")
            wrong += 1
    print(f"{count - wrong} of {count} agree with float64 autograd")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
