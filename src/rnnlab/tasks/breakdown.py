"""A forecaster's errors broken down: by step ahead, by target, by series, or by forecast origin."""

from typing import Any, Literal

import numpy as np
import torch

from rnnlab.data.frame import time_texts
from rnnlab.data.module import Split
from rnnlab.data.windows import Windowed
from rnnlab.errors import UserError, counted
from rnnlab.tasks.forecaster import Forecaster

By = Literal["step", "target", "series", "origin"]
BY: tuple[By, ...] = ("step", "target", "series")
CHUNK = 1024  # windows at a time

Table = dict[str, dict[str, dict[str, float]]]  # {row: {metric: {predictor: value}}}


@torch.inference_mode()
def breakdown(task: Forecaster, data: Windowed, split: Split, by: By, origins: int = 0) -> Table:
    """`mse` and `mae` of the model and of the baselines, broken down, in the units of the data.

    With by="origin", the part is cut in time order into `origins` stretches with the same number of windows, within
    one; a row is named by the time of the first value that is forecast in its stretch, in the series with the most
    windows. A series without windows has no row. Raises UserError for a part without windows or with fewer windows in
    its longest series than `origins`, and for by="series" with a single series.
    """
    starts = data.starts(split).numpy()
    stops = np.array([group.stop for group in data.frame.series])
    most = np.bincount(np.searchsorted(stops, starts, side="right"), minlength=1).max().item()
    if most < max(1, origins):
        few = f", too few for {counted(origins, 'origin')}" if origins else ""
        raise UserError(f"the part holds {counted(most, 'window')}{few}")
    targets = data.frame.values[:, data.target_columns]
    labels, of_window = _rows(data, starts, by, origins)
    sums: dict[str, dict[str, np.ndarray]] = {"mse": {}, "mae": {}}
    for at in range(0, len(starts), CHUNK):
        chunk = torch.from_numpy(starts[at : at + CHUNK])
        x = data.series[chunk[:, None] + torch.arange(data.window), : data.inputs].to(task.scale)
        units = data.units(chunk) if data.frame.groups else ()
        said = task.unscaled(task(x), *units).cpu().double().numpy()
        truth = targets[starts[at : at + CHUNK, None] + data.window + np.arange(data.horizon)]
        forecasts = {"the run": said} | {name: p(chunk.numpy()) for name, p in data.predictors.items()}
        for name, forecast in forecasts.items():
            error = np.broadcast_to(forecast, truth.shape) - truth
            for metric, size in (("mse", np.square(error)), ("mae", np.abs(error))):
                total = sums[metric].setdefault(name, np.zeros(len(labels)))
                if by == "step":
                    total += size.mean(2).sum(0)
                elif by == "target":
                    total += size.mean(1).sum(0)
                else:
                    total += np.bincount(of_window[at : at + CHUNK], size.mean((1, 2)), len(labels))
    counts = np.full(len(labels), len(starts))
    if by in ("series", "origin"):
        counts = np.bincount(of_window, minlength=len(labels))
    return {
        label: {
            metric: {name: float(total[i] / counts[i]) for name, total in found.items()}
            for metric, found in sums.items()
        }
        for i, label in enumerate(labels)
        if counts[i]
    }


def _rows(data: Windowed, starts: np.ndarray, by: By, origins: int) -> tuple[list[str], np.ndarray]:
    """The names of the rows, and the row of each window (zeros by step and by target: a window is in every row)."""
    nowhere: Any = np.zeros(len(starts), int)
    if by == "step":
        return [str(step + 1) for step in range(data.horizon)], nowhere
    if by == "target":
        return data.frame.targets, nowhere
    stops = np.array([group.stop for group in data.frame.series])
    series = np.searchsorted(stops, starts, side="right")
    if by == "series":
        if not data.frame.groups:
            raise UserError("--by series: this data is one series; data.id_column tells several apart")
        return [group.name for group in data.frame.groups], series
    of_window = np.empty(len(starts), int)
    for i in np.unique(series):  # each series is cut by itself, so that an origin means the same time in all
        its = np.flatnonzero(series == i)
        of_window[its] = np.arange(len(its)) * origins // len(its)
    longest = series == np.bincount(series).argmax()  # it has windows at all origins
    firsts = np.array([starts[longest & (of_window == i)].min() for i in range(origins)]) + data.window
    offsets = None if data.frame.offsets is None else data.frame.offsets[firsts]
    return time_texts(data.frame.times[firsts], offsets), of_window


def spread(table: Table) -> Table:
    """A table with a row "mean" and, from two rows on, a row "std": the sample standard deviation over the rows."""
    found: Table = {}
    for word, of in (("mean", np.mean), ("std", lambda values: np.std(values, ddof=1))):
        if word == "std" and len(table) < 2:
            continue
        rows = list(table.values())
        found[word] = {
            metric: {name: float(of([row[metric][name] for row in rows])) for name in rows[0][metric]}
            for metric in ("mse", "mae")
        }
    return found
