"""Distributions as forecasts: quantiles or Student's t, with their losses and scores."""

from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from rnnlab.errors import UserError

LEVELS = tuple(round(0.05 * k, 2) for k in range(1, 20))  # quantiles that score and draw a Student's t


def pinball(quantiles: Tensor, levels: Tensor, y: Tensor) -> Tensor:
    """The pinball loss (Koenker and Bassett 1978) of each quantile (..., levels) of y (...), in units of y."""
    over = y[..., None] - quantiles
    return torch.maximum(levels * over, (levels - 1) * over)


class Quantiles:
    """One output of the head for each level; the loss is the mean pinball loss over the levels. Raises UserError for
    levels that do not increase between 0 and 1.
    """

    def __init__(self, levels: Sequence[float]) -> None:
        if not len(levels) or not all(low < high for low, high in pairwise((0, *levels, 1))):
            shown = ",".join(map(str, levels))
            raise UserError(
                f"model.quantiles=[{shown}]: must increase, between 0 and 1, as [0.1,0.5,0.9] does"
            )
        self.levels, self.width = tuple(levels), len(levels)

    def loss(self, said: Tensor, y: Tensor) -> Tensor:
        """The mean loss, 0-d, of the head's outputs `said` (..., width) for the truth y (...)."""
        return pinball(said, torch.tensor(self.levels, dtype=said.dtype, device=said.device), y).mean()

    def quantiles(self, said: Tensor) -> Tensor:
        """The quantiles (..., levels) in increasing order: crossed outputs are sorted (Chernozhukov et al. 2010)."""
        return said.sort(-1).values

    def point(self, said: Tensor) -> Tensor:
        """The quantile (...) whose level is nearest to 0.5."""
        return self.quantiles(said)[..., min(range(self.width), key=lambda i: abs(self.levels[i] - 0.5))]


class StudentT:
    """Student's t with location, scale and more than 2 degrees of freedom, fitted by maximum likelihood
    (Salinas et al. 2020).
    """

    width = 3
    levels = LEVELS

    @staticmethod
    def parameters(said: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        location, scale, freedom = said.unbind(-1)
        return location, F.softplus(scale) + 1e-4, 2.0 + F.softplus(freedom)

    def loss(self, said: Tensor, y: Tensor) -> Tensor:
        location, scale, freedom = self.parameters(said)
        z = (y - location) / scale
        log_density = (
            torch.lgamma((freedom + 1) / 2) - torch.lgamma(freedom / 2)
            - 0.5 * torch.log(torch.pi * freedom) - scale.log() - (freedom + 1) / 2 * torch.log1p(z.square() / freedom)
        )  # fmt: skip
        return -log_density.mean()

    def quantiles(self, said: Tensor) -> Tensor:
        location, scale, freedom = self.parameters(said)
        return location[..., None] + scale[..., None] * t_quantiles(freedom).to(said)

    def point(self, said: Tensor) -> Tensor:
        return said[..., 0]


Distribution = Quantiles | StudentT


def scores(quantiles: Tensor, levels: Sequence[float], y: Tensor) -> dict[str, Tensor]:
    """Sums over y (...) of three scores, from quantiles (..., levels). pinball: the mean over the levels. crps: twice
    that mean, which approximates CRPS when there are many levels. coverage: 1 where y lies between the outermost
    quantiles, else 0.
    """
    loss = pinball(quantiles, torch.tensor(levels, dtype=quantiles.dtype, device=y.device), y).mean(-1)
    between = (quantiles[..., 0] <= y) & (y <= quantiles[..., -1])
    return {"pinball": loss.sum(), "crps": 2 * loss.sum(), "coverage": between.to(loss.dtype).sum()}


def t_quantiles(freedom: Tensor) -> Tensor:
    """The quantiles LEVELS of Student's t, (..., levels) float64, with a relative error below 1e-4."""
    grid, table = _table()
    place = 1 / freedom.detach().cpu().double().clamp(2.0, 1e4)
    at = torch.searchsorted(grid, place).clamp(1, len(grid) - 1)
    share = ((place - grid[at - 1]) / (grid[at] - grid[at - 1]))[..., None]
    return (1 - share) * table[at - 1] + share * table[at]


@cache
def _table() -> tuple[Tensor, Tensor]:
    """A grid of 1/v (n,) from 1e-4 to 1/2, v being the degrees of freedom, and the quantiles LEVELS there (n, levels).

    With t = sqrt(v) tan(a) the density of a is proportional to cos(a)^(v-1): its cumulative sums are inverted.
    """
    grid = torch.linspace(1e-4, 0.5, 160, dtype=torch.float64)
    rows = []
    for v in (1 / grid).tolist():
        reach = min(torch.pi / 2, 40 / v**0.5)  # beyond it, the density for a large v is practically 0
        a = torch.linspace(-reach, reach, 40_001, dtype=torch.float64)
        density = a.cos().clamp(min=0) ** (v - 1)
        mass = torch.cumulative_trapezoid(density, a)
        mass = torch.cat([mass.new_zeros(1), mass]) / mass[-1]
        level = torch.tensor(LEVELS, dtype=torch.float64)
        at = torch.searchsorted(mass, level).clamp(1)
        share = (level - mass[at - 1]) / (mass[at] - mass[at - 1])
        rows.append(v**0.5 * torch.tan(a[at - 1] + share * (a[at] - a[at - 1])))
    return grid, torch.stack(rows)
