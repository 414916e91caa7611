"""Weights that torch computes from a matrix W and its transpose, such as W - W' - gamma I; so do the kernels.

Element (i, j) of such a weight is own W[i][j] + other W[j][i] + plus, with three constants per element. Symmetric,
skew-symmetric, triangular, masked and scaled matrices have this form; a matrix that is not square has no `other`. The
constants are found with a few inputs and tested with random ones: other functions (an exponential, a norm) fail.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from rnnlab.cells import Cell

PLAIN = (bool, int, float, str)  # types of attributes whose changes are noticed during training


class Mirrored(NamedTuple):
    """The constants of one weight. `own`, `other` and `plus` are float32 with the shape of `original` (W); `other` is
    None where W is not square.
    """

    original: nn.Parameter
    own: Tensor
    other: Tensor | None
    plus: Tensor


def obstacle(cell: Cell) -> str | None:
    """Why the kernels cannot compute a cell's parametrized weights; None where they can, or where there are none."""
    name = parametrize.type_before_parametrizations(cell).__name__
    others = [at for at, module in cell.named_modules() if at and parametrize.is_parametrized(module)]
    if others or len(mirrored(cell)) < len(getattr(cell, "parametrizations", ())):
        return f"the kernels cannot compute {name}'s parametrized weights"
    return None


def mirrored(cell: nn.Module) -> dict[str, Mirrored]:
    """{name: constants} of the parametrized weights of a cell that have this form."""
    found = {name: _read(made) for name, made in dict(getattr(cell, "parametrizations", {})).items()}
    return {name: read for name, read in found.items() if read is not None}


def _read(made: Any) -> Mirrored | None:
    weight = getattr(made, "original", None)
    if not isinstance(weight, nn.Parameter) or weight.dim() > 2:
        return None
    if list(made.parameters()) != [weight] or next(made.buffers(), None) is not None:
        return None
    # a change of other attributes would not be noticed
    for module in [part for part in made.modules() if part is not made]:
        if not all(key.startswith("_") or isinstance(value, PLAIN) for key, value in vars(module).items()):
            return None
    before, modes = torch.get_rng_state(), [(module, module.training) for module in made.modules()]
    try:
        with torch.no_grad():
            return _measured(made, weight)
    except (RuntimeError, TypeError, ValueError):  # for example, it accepts only float32
        return None
    finally:
        torch.set_rng_state(before)
        for module, training in modes:
            module.training = training


def _measured(made: Any, weight: nn.Parameter) -> Mirrored | None:
    def of(free: Tensor) -> Tensor:
        for function in made:
            free = function(free)
        return free

    zero, one = torch.zeros(weight.shape, dtype=torch.float64), torch.ones(weight.shape, dtype=torch.float64)
    plus = of(zero)
    if plus.shape != weight.shape or plus.dtype != zero.dtype:
        return None
    own, other = of(one) - plus, None
    if weight.dim() == 2 and weight.shape[0] == weight.shape[1]:
        above, below = (of(part) - plus for part in (one.triu(1), one.tril(-1)))
        own = above.triu(1) + below.tril(-1) + (of(one.triu().tril()) - plus).triu().tril()
        other = below.triu(1) + above.tril(-1)
    generator = torch.Generator().manual_seed(0)
    for size in (1e-6, 1e-4, 1e-2, 1.0, 1e3):  # some functions change only small or large numbers
        for training in (True, False):
            made.train(training)
            drawn, d = torch.randn(2, *weight.shape, dtype=torch.float64, generator=generator)
            drawn = size * drawn
            said = own * drawn + plus if other is None else own * drawn + other * drawn.mT + plus
            back = own * d if other is None else own * d + (other * d).mT
            with torch.enable_grad():  # a part may be detached, which shows in the gradient
                out = of(drawn.requires_grad_())
                (gradient,) = torch.autograd.grad(out, drawn, d, allow_unused=True)
            close = torch.allclose(out.detach(), said.detach(), rtol=1e-9, atol=1e-9 * size)
            if not close or gradient is None or not torch.allclose(gradient, back):
                return None
    return Mirrored(weight, own.float(), None if other is None else other.float(), plus.float())
