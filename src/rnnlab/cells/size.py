"""How large a cell is, counted on one that has shapes and no memory behind them."""

from typing import Any, NamedTuple

import torch
from torch import nn

from rnnlab.cells.cell import Cell


class Size(NamedTuple):
    parameters: int
    multiplications: int
    """Of one step for one sequence, in the products with matrices: each is used once a step."""

    def __add__(self, other: Any) -> "Size":
        return Size(self.parameters + other.parameters, self.multiplications + other.multiplications)


def size_of(module: nn.Module) -> Size:
    """Of a cell or of a whole stack of them."""
    named = [(name.rpartition(".")[2], p) for name, p in module.named_parameters()]
    matrices = sum(p.numel() for name, p in named if p.dim() == 2 and name != "initial")
    return Size(sum(p.numel() for _, p in named), matrices)


def size(kind: type[Cell], input_size: int, hidden_size: int, **options: Any) -> Size:
    with torch.device("meta"):
        return size_of(kind(input_size, hidden_size, **options))
