"""The size of a cell, counted on a copy on torch's meta device, which has shapes but takes no memory."""

from typing import Any, NamedTuple

import torch
from torch import nn

from rnnlab.cells.cell import Cell


class Size(NamedTuple):
    parameters: int
    multiplications: int
    """In the products with matrices, in one step of one sequence: each matrix is used once in a step."""

    def __add__(self, other: Any) -> "Size":
        return Size(self.parameters + other.parameters, self.multiplications + other.multiplications)


def size_of(module: nn.Module) -> Size:
    """The size of a cell or of a whole stack."""
    named = [(name.rpartition(".")[2], p) for name, p in module.named_parameters()]
    matrices = sum(p.numel() for name, p in named if p.dim() == 2 and name != "initial")
    return Size(sum(p.numel() for _, p in named), matrices)


def size(kind: type[Cell], input_size: int, hidden_size: int, **options: Any) -> Size:
    with torch.device("meta"):
        return size_of(kind(input_size, hidden_size, **options))
