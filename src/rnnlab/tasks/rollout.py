"""A forecast that runs on by itself, beside a baseline that knew as much and the truth where it is known."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rnnlab.data import baselines
from rnnlab.data.calendar import continued
from rnnlab.data.windows import Windowed
from rnnlab.errors import UserError
from rnnlab.tasks.forecaster import Forecaster


class FreeRun(NamedTuple):
    """`steps` steps from row `row` of the data on, all in raw units, as (steps, targets).

    `truth` is shorter where the data ends earlier, and then `times` goes on at the data's usual pace. `quantiles`
    (at most `horizon` steps, targets, levels) are those of a model that gives a distribution: only of its first
    forecast, for those that feed on it do not know how uncertain it was.
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
        """{forecast or baseline: {mse, mae}} over the steps whose truth is known; {} where none is."""
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

    The baseline is the season before `row` over and over, or the value before it where there is no season. Of several
    series it is the one that the row before belongs to. Raises UserError where no whole window of it lies before `row`,
    and for a model that cannot feed itself.
    """
    group, window = data.frame.series_of(row - 1), data.window
    if not group.start + window <= row <= group.stop:
        raise UserError(
            f"a forecast can start after the first {window} rows, the model's window, and at the latest "
            f"after the last of the {group.stop - group.start}; row {row - group.start} is not between"
        )
    seen = data.series[row - window : row, : data.inputs].to(task.scale)
    if (unknown := seen.isnan().any(0)).any():
        name = data.frame.inputs[int(unknown.nonzero()[0])]
        raise UserError(
            f"the forecast needs {name} further on than the data knows it; rows with it and without targets may "
            "follow the last of the file"
        )
    units = data.units(torch.tensor([row - window])) if data.frame.groups else ()
    ahead = fed_back(task, seen[None], steps, data.known_ahead(row, steps))
    forecast = task.unscaled(ahead, *units)[0].double().cpu().numpy()
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
    where nothing stands for the future of an input that is no target.
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
                    f"it can go {done} steps ahead, or train it with these columns among data.target"
                )
            ahead = torch.where(fed, forecasts[-1][..., fed_by], told)
            window = torch.cat([window, ahead], dim=1)[:, -window.shape[1] :]
    return torch.cat(forecasts, dim=1)[:, :steps]


def farthest(task: Forecaster, data: Windowed, row: int, steps: int) -> int:
    """As many of `steps` steps as a free run from `row` can go: to its horizon where an input's future is not known."""
    told, fed = data.known_ahead(row, max(0, steps - data.horizon)), task.spec["target_index"]
    stuck = any(i not in fed and bool(told[:, i].isnan().any()) for i in range(data.inputs))
    return data.horizon if stuck else steps


def times(data: Windowed, row: int, steps: int) -> np.ndarray:
    """The times of rows `row` on, continued behind the data on the calendar."""
    group = data.frame.series_of(row - 1)
    known, offsets = data.frame.times[group.start : group.stop], data.frame.offsets_of(group)
    return continued(known, max(0, row + steps - group.stop), offsets)[row - group.start :][:steps]


@torch.inference_mode()
def raw_quantiles(task: Forecaster, data: Windowed, starts: torch.Tensor) -> np.ndarray:
    """The quantiles (B, horizon, targets, levels) of windows that start at `starts`, in the units of the data."""
    x = data.series[starts[:, None] + torch.arange(data.window), : data.inputs].to(task.scale)
    units = data.units(starts) if data.frame.groups else ()
    each = [task.unscaled(q, *units).double().cpu() for q in task.quantiles(x).unbind(-1)]
    return torch.stack(each, -1).numpy()


def interval_by_window(task: Forecaster, data: Windowed, row: int, steps: int) -> np.ndarray | None:
    """The outermost quantiles (steps, targets, 2) beside `by_window`; None of a model without a distribution."""
    if task.distribution is None:
        return None
    starts = torch.arange(row - data.window, row - data.window + steps, data.horizon)
    found = raw_quantiles(task, data, starts)[..., [0, -1]]
    return found.reshape(-1, *found.shape[2:])[:steps]


@torch.inference_mode()
def by_window(task: Forecaster, data: Windowed, row: int, steps: int) -> np.ndarray:
    """Forecasts (steps, targets) of rows `row` on, `horizon` at a time, each from the true window before."""
    starts = torch.arange(row - data.window, row - data.window + steps, data.horizon)
    offsets = torch.arange(data.window)
    x = data.series[starts[:, None] + offsets, : data.inputs].to(task.scale)
    units = data.units(starts) if data.frame.groups else ()
    return task.unscaled(task(x), *units).flatten(0, 1)[:steps].double().cpu().numpy()
