"""Unrolls an example recurrence: every step by hand and by the library."""

from typing import Literal, NamedTuple, cast

import numpy as np
import torch
from torch import nn

from rnnlab import streams
from rnnlab.cells import Cell, Elman
from rnnlab.cells.choice import check_choice
from rnnlab.recurrence import Stack, initialise
from rnnlab.unroll import numpy_cells


class Example(NamedTuple):
    """A network and its inputs (T, I)."""

    title: str
    seed: int
    hidden: int
    outputs: int
    x: np.ndarray
    drawn: str
    scheme: str
    note: str = ""
    cell: type[Cell] = Elman
    words: tuple[str, ...] = ()  # the names of the inputs, if they are not numbers
    bounded: bool = True  # whether the state stays between -1 and 1


EXAMPLES = {
    "notebook": Example(
        "5 inputs, 2 hidden units, 3 steps",
        seed=28,
        hidden=2,
        outputs=0,
        x=np.repeat([[1.0], [2.0], [3.0]], 5, axis=1),
        drawn="those that torch.manual_seed(28) gives to nn.RNN(5, 2)",
        scheme="torch",
    ),
    "small": Example(
        "1 input, 1 hidden unit, 4 steps",
        seed=42,
        hidden=1,
        outputs=0,
        x=np.array([[1.0], [2.0], [3.0], [4.0]]),
        drawn="those that torch.manual_seed(42) gives to nn.RNN(1, 1)",
        scheme="torch",
        note="The notebook this comes from feeds a wrong shape, and the states it prints do not reproduce.",
    ),
    "numpy": Example(
        "4 inputs, 3 hidden units, 2 outputs, 4 steps",
        seed=0,
        hidden=3,
        outputs=2,
        x=np.round(streams.generator(0, "data").standard_normal((4, 4)), 1),
        drawn="drawn, as the inputs, from rnnlab's streams with seed 0",
        scheme="uniform",
    ),
}


class Line(NamedTuple):
    """One quantity of a step, computed twice."""

    kind: Literal["input", "state", "gate", "sum", "new", "output"]
    formula: str
    by_hand: np.ndarray
    by_library: np.ndarray


class Unrolled(NamedTuple):
    example: Example
    parameters: dict[str, np.ndarray]
    steps: list[list[Line]]
    said: tuple[str, ...] = ()  # the meaning of the output of each step, in words

    @property
    def largest_difference(self) -> float:
        lines = [line for step in self.steps for line in step]
        return max(float(np.abs(line.by_hand - line.by_library).max()) for line in lines)


def unroll(name: str) -> Unrolled:
    """Runs an example by hand, in float64 NumPy, and by the library, in float32, on the same weights.

    Raises UserError for an example that does not exist.
    """
    check_choice("--example", name, list(EXAMPLES))
    example = EXAMPLES[name]
    stack = Stack("elman", example.x.shape[1], example.hidden).float()
    head = None
    if example.outputs:  # made without a draw from torch's global generator
        head = nn.Linear(example.hidden, example.outputs, device="meta").to_empty(device="cpu")
    initialise(stack, [head] if head else [], scheme=example.scheme, seed=example.seed)
    cell = cast(Cell, stack.layers[0])
    tensors = {"W_ih": cell.weight_ih, "b_ih": cell.bias_ih, "W_hh": cell.weight_hh, "b_hh": cell.bias_hh}
    if head:
        tensors |= {"W_hy": head.weight, "b_y": head.bias}
    parameters = {name: tensor.detach().numpy() for name, tensor in tensors.items() if tensor is not None}
    return Unrolled(example, parameters, _steps(example, parameters, stack, head))


@torch.no_grad()
def _steps(
    example: Example, p: dict[str, np.ndarray], stack: Stack, head: nn.Linear | None
) -> list[list[Line]]:
    float64 = {key: value.astype(np.float64) for key, value in p.items()}
    hand = numpy_cells.run(
        numpy_cells.elman,
        example.x,
        (np.zeros(example.hidden),),
        float64["W_ih"],
        float64["W_hh"],
        float64["b_ih"],
        float64["b_hh"],
    )
    x = torch.from_numpy(example.x).float()
    cell = cast(Cell, stack.layers[0])
    projected = cell.project(x)  # (T, H)
    h = stack(x[None])[0][0]  # (T, H), the whole sequence by the engine that a run would use
    recurred = cell.recur(torch.cat([torch.zeros(1, example.hidden), h[:-1]]))
    steps = []
    for t, step in enumerate(hand):
        now, before = subscript(t + 1), subscript(t)
        lines = [
            Line("input", f"  W_ih x{now} + b_ih", step.from_input, projected[t].numpy()),
            Line("state", f"+ W_hh h{before} + b_hh", step.from_state, recurred[t].numpy()),
            Line("sum", "= sum", step.from_input + step.from_state, (projected[t] + recurred[t]).numpy()),
            Line("new", f"h{now} = tanh(sum)", step.state[0], h[t].numpy()),
        ]
        if head:
            y = float64["W_hy"] @ step.state[0] + float64["b_y"]
            lines.append(Line("output", f"y{now} = W_hy h{now} + b_y", y, head(h[t]).numpy()))
        steps.append(lines)
    return steps


def subscript(t: int) -> str:
    return str(t).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))
