"""What is random in a step: dropout of what it multiplies with matrices, and zoneout."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class Masks(NamedTuple):
    """The draws for one step, or, with time in their second dimension, for all steps; None for what is not drawn."""

    products: Tensor | None = None
    """(B, H), one for all steps: what a step multiplies with a matrix is multiplied by it first; 0 or 1 / (1 - p)."""
    keep: Tensor | None = None
    """(B, sum(state_blocks) * H): 1 where a state keeps its old value, 0 where it takes the new one."""


PRODUCTS = (functional.linear, torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.mm, Tensor.mm)


class MaskedProducts(TorchFunctionMode):
    """Inside, the left side (B, k*H) of every product with a matrix is multiplied by a mask (B, H), block by block."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.mask = mask

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in PRODUCTS and isinstance(args[0], Tensor) and args[0].dim() == 2:
            blocks, rest = divmod(args[0].shape[1], self.mask.shape[1])
            if not rest:
                args = (args[0] * self.mask.repeat(1, blocks), *args[1:])
        return function(*args, **(kwargs or {}))
