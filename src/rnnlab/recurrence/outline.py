"""A whole model around a stack: what goes in, where its head reads, and what is minimised.

A task describes its model so; the kernels and TensorBoard's graph read it, and need not know the task.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from rnnlab.recurrence.stack import Stack


@dataclass(frozen=True, kw_only=True)
class Outline:
    """Inputs are (B, T, I) floats; with `indices` (B, T) numbers of one-hots, or of the rows of an `embedding`.

    The linear head reads the `last` output, `every` output, or each row's own `ends`: the last of the forward
    direction and the first of the backward one.
    """

    stack: Stack
    head: nn.Linear
    reads: Literal["last", "every", "ends"]
    loss: Literal["mse", "mae", "huber", "pinball", "cross_entropy", "binary_cross_entropy"]
    target: tuple[int, ...]
    """The shape of one sequence's target; -1 is the number of steps."""
    seed: int
    indices: bool = False
    embedding: nn.Embedding | None = None
    huber_delta: float = 1.0
    levels: tuple[float, ...] = ()
    """Of the quantiles that the pinball loss is of: the head has an output for each of each target."""
    subtracted: Tensor | None = None
    """(targets,) int64: the last value of the inputs is subtracted from each, and that of these inputs is added to
    the targets again; None where nothing is subtracted."""

    @property
    def parts(self) -> dict[str, nn.Module]:
        found = {"embedding": self.embedding, "stack": self.stack, "head": self.head}
        return {name: part for name, part in found.items() if part is not None}

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        for name, part in self.parts.items():
            yield from part.named_parameters(name)
