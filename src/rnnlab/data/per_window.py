"""Scales that belong to a window: what a model is shown of it, and how its forecast comes back.

Each is reversible: `restored(PerWindow.wanted(y)) == y`. A level or a spread that drifts over the years, which a scale
of the training part would leave outside of what the model has seen, is taken out of every window by itself.
"""

from typing import Literal

import torch
from torch import Tensor

Mode = Literal["window_last", "window_mean", "window_standard", "difference"]
MODES: tuple[str, ...] = ("window_last", "window_mean", "window_standard", "difference")
EPSILON = 1e-5  # added to a window's variance, of a series of variance 1 (Kim et al. 2022)


class PerWindow:
    """The scale `mode` of windows x (B, window, inputs), whose first `inputs - plain` columns are scaled.

    * window_last: less the window's last value (NLinear, Zeng et al. 2023)
    * window_mean: less its mean
    * window_standard: less its mean, by its standard deviation (RevIN without weights, Kim et al. 2022)
    * difference: each value less the one before, so that a window is a step shorter; forecasts are summed up
    """

    def __init__(self, mode: Mode, targets: Tensor, plain: int = 0) -> None:
        self.mode, self.targets, self.plain = mode, targets, plain

    def seen(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the model is shown of x, and the window's shift and scale (B, 1, 2 * inputs)."""
        last = x[:, -1:]
        shift, scale = last, torch.ones_like(last)
        if self.mode in ("window_mean", "window_standard"):
            shift = x.mean(1, keepdim=True)
        if self.mode == "window_standard":
            scale = ((x - shift).square().mean(1, keepdim=True) + EPSILON).sqrt()
        if self.plain:
            scaled = torch.arange(x.shape[-1], device=x.device) < x.shape[-1] - self.plain
            shift, scale = torch.where(scaled, shift, 0.0), torch.where(scaled, scale, 1.0)
        if self.mode == "difference":
            steps = x[:, 1:] - x[:, :-1]
            return torch.where(scaled, steps, x[:, 1:]) if self.plain else steps, torch.cat(
                [shift, scale], -1
            )
        return (x - shift) / scale, torch.cat([shift, scale], -1)

    def _units(self, units: Tensor) -> tuple[Tensor, Tensor]:
        shift, scale = units.chunk(2, -1)
        return shift[..., self.targets], scale[..., self.targets]

    def wanted(self, y: Tensor, units: Tensor) -> Tensor:
        """What the model should say so that y (B, horizon, targets) is forecast."""
        shift, scale = self._units(units)
        if self.mode == "difference":
            return y - torch.cat([shift, y[:, :-1]], 1)
        return (y - shift) / scale

    def restored(self, said: Tensor, units: Tensor) -> Tensor:
        """The forecast (B, horizon, targets) from what the model says."""
        shift, scale = self._units(units)
        return said.cumsum(1) + shift if self.mode == "difference" else said * scale + shift
