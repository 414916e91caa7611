"""Free-running forecasts, in which the model reads its own output, with a baseline that knows as much and the truth."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rnnlab.data import baselines
from rnnlab.data.calendar import continued
from rnnlab.data.windows import Windowed
from rnnlab.errors import UserError, counted
from rnnlab.tasks.forecaster import Forecaster


class FreeRun(NamedTuple):
    """A forecast of `steps` steps, beginning with row `row` of the data; all arrays are (steps, targets) in raw units.

    `truth` is shorter where the data ends earlier; `times` then continue at the data's usual step. `quantiles`
    (at most `horizon` steps, targets, levels) exist for a model with a distribution, and only for its first forecast:
    the later ones read that forecast as if it were certain.
    """

    row: int
    times: np.ndarray
    forecast: np.ndarray
    baseline: np.ndarray
    baseline_name: str
    truth: np.ndarray
    levels: tuple[float, ...] = ()
    quantiles: np.ndarray | None = None

    def errors(self) -> dict[str, dict[str, float]]:
        """{forecast or baseline: {mse, mae}} over the steps with known truth; {} where there are none."""
        known = len(self.truth)
        if not known:
            return {}
        found = {}
        for name, values in (("forecast", self.forecast), (self.baseline_name, self.baseline)):
            error = values[:known] - self.truth
            found[name] = {"mse": float(np.square(error).mean()), "mae": float(np.abs(error).mean())}
        return found


def free_run(task: Forecaster, data: Windowed, row: int, steps: int) -> FreeRun:
    """Forecasts rows `row` to `row + steps - 1` from the window before them, feeding forecasts back.

    The baseline repeats the season before `row`, or the last value before it where there is no season. Of several
    series, the one with row `row - 1` is forecast. Raises UserError where no whole window of it lies before `row`, and
    for a model that needs inputs whose future is not known.
    """
    group, window = data.frame.series_of(row - 1), data.window
    if not group.start + window <= row <= group.stop:
        raise UserError(
            f"a forecast from row {row - group.start} is not possible: it can start from row {window} (the model reads "
            f"{counted(window, 'row')} before it) to {group.stop - group.start} (the end of the data)"
        )
    seen = data.series[row - window : row, : data.inputs].to(task.scale)
    if (unknown := seen.isnan().any(0)).any():
        name = data.frame.inputs[int(unknown.nonzero()[0])]
        raise UserError(
            f"the forecast needs later values of {name}; the file may end with rows that have them and no targets"
        )
    units = data.units(torch.tensor([row - window])) if data.frame.groups else ()
    ahead = fed_back(task, seen[None], steps, data.known_ahead(row, steps))
    forecast = task.unscaled(ahead, *units)[0].cpu().double().numpy()
    levels: tuple[float, ...] = ()
    quantiles = None
    if task.distribution is not None:
        levels, quantiles = (
            task.distribution.levels,
            raw_quantiles(task, data, torch.tensor([row - window]))[0, :steps],
        )
    targets = data.frame.values[group.start : group.stop, data.target_columns]
    at = row - group.start
    if data.season:
        name, predict = "seasonal", baselines.seasonal(targets[:at], window, steps, data.season)
    else:
        name, predict = "persistence", baselines.persistence(targets[:at], window)
    held = np.broadcast_to(predict(np.array([at - window]))[0], forecast.shape)
    return FreeRun(
        row, times(data, row, steps), forecast, held, name, targets[at : at + steps], levels, quantiles
    )


@torch.no_grad()
def fed_back(task: Forecaster, window: Tensor, steps: int, known: Tensor | None = None) -> Tensor:
    """Forecasts `steps` steps by feeding forecasts back; window (B, window, inputs) -> (B, steps, targets), scaled.

    `known` (steps, inputs) holds the scaled values of inputs that are known ahead, NaN elsewhere. Raises UserError
    where the future of an input is neither forecast nor known.
    """
    index, inputs = task.spec["target_index"], range(task.spec["inputs"])
    fed_by = [index.index(i) if i in index else 0 for i in inputs]
    fed = torch.tensor([i in index for i in inputs], device=window.device)
    forecasts, done = [], 0
    while done < steps:
        y = task(window)
        forecasts.append(y)
        if (done := done + task.horizon) < steps:
            told = torch.full_like(y[0, :, :1], torch.nan).expand(-1, len(fed))
            told = told if known is None else known[done - task.horizon : done].to(y)
            unknown = ~fed & told.isnan().any(0)
            if unknown.any():
                names = task.spec["input_names"]
                missing = ", ".join(n for n, u in zip(names, unknown, strict=True) if u)
                raise UserError(
                    f"a free-running forecast needs the future of {missing}, which the model does not forecast; "
                    f"it can go {counted(done, 'step')} ahead, or train it with these columns among data.target"
                )
            ahead = torch.where(fed, forecasts[-1][..., fed_by], told)
            window = torch.cat([window, ahead], dim=1)[:, -window.shape[1] :]
    return torch.cat(forecasts, dim=1)[:, :steps]


def farthest(task: Forecaster, data: Windowed, row: int, steps: int) -> tuple[int, list[str]]:
    """How far a free run from `row` can go, at most `steps`, and the names of the inputs that it would need further on:
    forecasts are fed back by whole horizons, with the inputs of those rows that are known ahead.
    """
    told = data.known_ahead(row, (-(-steps // data.horizon) - 1) * data.horizon)
    missing = told.isnan()
    missing[:, task.spec["target_index"]] = False  # these are forecast
    known = int((~missing.any(1)).cumprod(0).sum())  # rows before the first that is not known
    names = [name for name, gaps in zip(task.spec["input_names"], missing.any(0), strict=True) if gaps]
    return min(steps, (known // data.horizon + 1) * data.horizon), names


def times(data: Windowed, row: int, steps: int) -> np.ndarray:
    """The times of `steps` rows from `row` on, continued by the calendar after the end of the data."""
    group = data.frame.series_of(row - 1)
    known, offsets = data.frame.times[group.start : group.stop], data.frame.offsets_of(group)
    return continued(known, max(0, row + steps - group.stop), offsets)[row - group.start :][:steps]


@torch.inference_mode()
def raw_quantiles(task: Forecaster, data: Windowed, starts: torch.Tensor) -> np.ndarray:
    """The quantiles (B, horizon, targets, levels) of windows that start at `starts`, in the units of the data."""
    x = data.series[starts[:, None] + torch.arange(data.window), : data.inputs].to(task.scale)
    units = data.units(starts) if data.frame.groups else ()
    each = [task.unscaled(q, *units).cpu().double() for q in task.quantiles(x).unbind(-1)]
    return torch.stack(each, -1).numpy()


def interval_by_window(task: Forecaster, data: Windowed, row: int, steps: int) -> np.ndarray | None:
    """The outermost quantiles (steps, targets, 2) of the forecasts of `by_window`; None without a distribution."""
    if task.distribution is None:
        return None
    starts = torch.arange(row - data.window, row - data.window + steps, data.horizon)
    found = raw_quantiles(task, data, starts)[..., [0, -1]]
    return found.reshape(-1, *found.shape[2:])[:steps]


@torch.inference_mode()
def by_window(task: Forecaster, data: Windowed, row: int, steps: int) -> np.ndarray:
    """Forecasts (steps, targets) of the rows from `row` on, `horizon` rows at a time, each from the true window before
    them, in the units of the data.
    """
    starts = torch.arange(row - data.window, row - data.window + steps, data.horizon)
    offsets = torch.arange(data.window)
    x = data.series[starts[:, None] + offsets, : data.inputs].to(task.scale)
    units = data.units(starts) if data.frame.groups else ()
    return task.unscaled(task(x), *units).flatten(0, 1)[:steps].cpu().double().numpy()
