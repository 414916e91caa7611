"""`Outline`: a task's description of its whole model, a stack with its inputs, head and loss.

The kernels and TensorBoard's graph read the outline, so that they need not know the task.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from rnnlab.recurrence.stack import Stack


@dataclass(frozen=True, kw_only=True)
class Outline:
    """Inputs are (B, T, I) floats; with `indices` they are (B, T) int64, for one-hots or for rows of an `embedding`.

    `reads` are the outputs of the stack that the linear head reads: the "last" one, "every" one, or the "ends" of each
    sequence: the last output of the forward direction with the first of the backward one.
    """

    stack: Stack
    head: nn.Linear
    reads: Literal["last", "every", "ends"]
    loss: Literal["mse", "mae", "huber", "pinball", "cross_entropy", "binary_cross_entropy"]
    target: tuple[int, ...]
    """The shape of the target of one sequence; -1 stands for the number of steps."""
    seed: int
    indices: bool = False
    embedding: nn.Embedding | None = None
    huber_delta: float = 1.0
    levels: tuple[float, ...] = ()
    """The levels of the quantiles in a pinball loss: the head has one output for each target and level."""
    subtracted: Tensor | None = None
    """(targets,) int64: each input's last value is subtracted from it, and the last values of these inputs are added to
    the forecasts of the targets; None where nothing is subtracted."""

    @property
    def parts(self) -> dict[str, nn.Module]:
        found = {"embedding": self.embedding, "stack": self.stack, "head": self.head}
        return {name: part for name, part in found.items() if part is not None}

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        for name, part in self.parts.items():
            yield from part.named_parameters(name)
