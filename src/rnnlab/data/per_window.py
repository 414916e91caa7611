"""`PerWindow`: a scale for each window, applied to the model's input and undone in its forecast.

Each scale is reversible: `restored(wanted(y, units), units) == y`. It removes a drifting level or spread from every
window; with one scale from the training part, later windows would lie outside the range that the model has seen.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

Mode = Literal["window_last", "window_mean", "window_standard", "difference", "seasonal_difference"]
MODES: tuple[Mode, ...] = get_args(Mode)
DIFFERENCES = ("difference", "seasonal_difference")
EPSILON = 1e-5  # added to a window's variance, of a series of variance 1 (Kim et al. 2022)


class PerWindow:
    """The scale `mode` for windows x (B, window, inputs); the last `plain` inputs are not scaled.

    * window_last: minus the window's last value (NLinear, Zeng et al. 2023)
    * window_mean: minus the window's mean
    * window_standard: minus its mean, divided by its standard deviation (RevIN without weights, Kim et al. 2022)
    * difference: each value minus the one before, so that a window is one step shorter; forecasts are summed up
    * seasonal_difference: each value minus the one `season` steps before, so that a window is one season shorter; a
      forecast is added to the value one season before it, or to the repeated last season of the window
      (Box and Jenkins 1970)
    """

    back = 0
    """The model's input is this number of steps shorter than the window."""

    def __init__(
        self, mode: Mode, targets: Tensor, plain: int = 0, season: int | None = None, horizon: int = 1
    ) -> None:
        self.mode, self.targets, self.plain = mode, targets, plain
        self.season, self.horizon = season or 0, horizon
        self.back = {"difference": 1, "seasonal_difference": self.season}.get(mode, 0)

    def seen(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The model's input (B, window - back, inputs) for x, and the units: shift and scale (B, 1, 2 * inputs).

        For a seasonal difference the units are (B, horizon, 2 * inputs): each step ahead has its own shift.
        """
        last = x[:, -1:]
        if self.mode == "seasonal_difference":
            season = x.shape[1] - self.season + torch.arange(self.horizon, device=x.device) % self.season
            last = x[:, season]
        shift, scale = last, torch.ones_like(last)
        if self.mode in ("window_mean", "window_standard"):
            shift = x.mean(1, keepdim=True)
        if self.mode == "window_standard":
            scale = ((x - shift).square().mean(1, keepdim=True) + EPSILON).sqrt()
        if self.plain:
            scaled = torch.arange(x.shape[-1], device=x.device) < x.shape[-1] - self.plain
            shift, scale = torch.where(scaled, shift, 0.0), torch.where(scaled, scale, 1.0)
        if self.back:
            steps = x[:, self.back :] - x[:, : -self.back]
            seen = torch.where(scaled, steps, x[:, self.back :]) if self.plain else steps
            return seen, torch.cat([shift, scale], -1)
        return (x - shift) / scale, torch.cat([shift, scale], -1)

    def _units(self, units: Tensor) -> tuple[Tensor, Tensor]:
        shift, scale = units.chunk(2, -1)
        return shift[..., self.targets], scale[..., self.targets]

    def head_target(self, y: Tensor, units: Tensor) -> Tensor:
        """The model's target for y (B, horizon, targets): the output with which the forecast is y."""
        shift, scale = self._units(units)
        if self.mode == "difference":
            return y - torch.cat([shift, y[:, :-1]], 1)
        return (y - shift) / scale

    def restored(self, said: Tensor, units: Tensor) -> Tensor:
        """The forecast (B, horizon, targets) from the model's output `said` of the same shape."""
        shift, scale = self._units(units)
        return said.cumsum(1) + shift if self.mode == "difference" else said * scale + shift
