"""The random masks of a step: dropout in its matrix products, and zoneout."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import Module, Parameter, functional
from torch.overrides import TorchFunctionMode

from rnnlab.errors import UserError


class Masks(NamedTuple):
    """The masks of one step, or of all steps; None for a mask that is not drawn."""

    products: Tensor | None = None
    """(B, H), the same for all steps: multiplies the left side of each matrix product; 0 or 1 / (1 - p)."""
    keep: Tensor | None = None
    """(B, sum(state_blocks) * H), or (B, T, ...) for all steps: 1 where a state keeps its old value, else 0."""


PRODUCTS = (
    *(functional.linear, torch.matmul, torch.linalg.matmul, Tensor.matmul, Tensor.__matmul__, torch.mm, Tensor.mm),
)  # fmt: skip
FACTORS = {"input": 0, "weight": 1, "other": 1, "mat2": 1}
"""The names of the two factors, where they are given by name, and their places."""
UNCLEAR = (
    *(torch.einsum, torch.tensordot, torch.inner, torch.bmm, torch.baddbmm, torch.addbmm, torch.addmm, torch.mv),
    *(torch.addmv, torch.chain_matmul, torch.linalg.multi_dot, torch.linalg.vecdot, functional.bilinear),
    *(Tensor.inner, Tensor.bmm, Tensor.baddbmm, Tensor.addbmm, Tensor.addmm, Tensor.mv, Tensor.addmv),
    *(Tensor.baddbmm_, Tensor.addbmm_, Tensor.addmm_, Tensor.addmv_),
)  # fmt: skip
"""Products in which it is not clear where the state is."""


class MaskedProducts(TorchFunctionMode):
    """While open, the state's side (B, k*H), or transposed (k*H, B), of every matrix product is multiplied by a mask
    (B, H), block by block. Raises UserError for a product in which it is not clear where the state is.
    """

    def __init__(self, mask: Tensor, cell: Module) -> None:
        super().__init__()
        self.mask, self.cell = mask, cell

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = list(args), dict(kwargs or {})
        if function in PRODUCTS:
            for name in kwargs.keys() & FACTORS.keys():
                args.insert(FACTORS[name], kwargs.pop(name))
            unclear = not self._mask(args, transposed=function is not functional.linear)
        else:
            unclear = function in UNCLEAR
        if unclear:
            raise UserError(
                f"model.recurrent_dropout: it is not clear which argument of {function.__name__} is the state; write "
                "functional.linear(h, W) or h @ W.T"
            )
        return function(*args, **kwargs)

    def _mask(self, factors: list[Any], transposed: bool) -> bool:
        """Masks the state's side of a product; returns False where it is not clear which side that is."""
        rows, units = self.mask.shape
        left, right = factors[0], factors[1]
        on_left = left.dim() == 2 and left.shape[0] == rows and not isinstance(left, Parameter)
        on_right = transposed and right.dim() == 2 and right.shape[1] == rows and right.shape[0] % units == 0
        if on_left and on_right:  # a batch has as many rows as the layer units
            on_left, on_right = not self._is_weight(left), not self._is_weight(right)
            if on_left == on_right:
                return False
        if on_left:
            if left.shape[1] % units == 0:
                factors[0] = left * self.mask.repeat(1, left.shape[1] // units)
            return True
        if on_right:
            factors[1] = right * self.mask.T.repeat(right.shape[0] // units, 1)
            return True
        if not transposed and right.shape[0] == rows and not self._is_weight(right):
            return False  # functional.linear(W, h)
        return all(one.dim() == 2 or self._is_weight(one) for one in (left, right))

    def _is_weight(self, tensor: Tensor) -> bool:
        """Whether a factor is a weight, or a part of one."""
        if isinstance(tensor, Parameter):
            return True
        # a learned start is a state
        weights = (p for name, p in self.cell.named_parameters() if name != "initial")
        here = tensor.untyped_storage().data_ptr()
        return any(weight.untyped_storage().data_ptr() == here for weight in weights)
