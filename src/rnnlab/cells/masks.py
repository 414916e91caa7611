"""The random masks of a step: dropout in its matrix products, and zoneout."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class Masks(NamedTuple):
    """The masks of one step, or of all steps; None for a mask that is not drawn."""

    products: Tensor | None = None
    """(B, H), the same for all steps: multiplies the left side of each matrix product; 0 or 1 / (1 - p)."""
    keep: Tensor | None = None
    """(B, sum(state_blocks) * H), or (B, T, ...) for all steps: 1 where a state keeps its old value, else 0."""


PRODUCTS = (functional.linear, torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.mm, Tensor.mm)


class MaskedProducts(TorchFunctionMode):
    """While open, the left side (B, k*H) of every matrix product is multiplied by a mask (B, H), block by block."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.mask = mask

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in PRODUCTS and isinstance(args[0], Tensor) and args[0].dim() == 2:
            blocks, rest = divmod(args[0].shape[1], self.mask.shape[1])
            if not rest:
                args = (args[0] * self.mask.repeat(1, blocks), *args[1:])
        return function(*args, **(kwargs or {}))
