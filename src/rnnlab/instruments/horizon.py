"""`Horizon`: a forecaster's error by the number of free-running steps."""

import numpy as np
import torch
from matplotlib.figure import Figure

from rnnlab.data import baselines
from rnnlab.data.module import SequenceData
from rnnlab.data.windows import Windowed
from rnnlab.figures.canvas import GREEN, ORANGE, PART, headline, panels, quiet
from rnnlab.figures.forecast import LEGEND, panel
from rnnlab.instruments.instrument import Instrument
from rnnlab.instruments.probe import Probe
from rnnlab.tasks.forecaster import Forecaster
from rnnlab.tasks.rollout import by_window, fed_back, free_run
from rnnlab.tasks.task import Task

STEPS, STARTS = 64, 32  # the length of the free runs, and the number of rows from which they start


class Horizon(Instrument):
    """Truth, forecasts from true windows and free-running forecast; and the error of free runs by steps ahead, with its
    baseline.

    Both panels are of the held-out part, in the units of the data. `free_run_rmse` is over all steps ahead. Only a
    model that forecasts all of its inputs can run free; for others it measures nothing.
    """

    name, title = "horizon", "free-running forecast"

    def look(self, task: Task, seen: Probe, data: SequenceData) -> dict[str, float]:
        if not isinstance(task, Forecaster) or not isinstance(data, Windowed):
            return {}
        if any(i not in task.spec["target_index"] for i in range(data.inputs)):
            return {}
        first, end = data.forecast_rows(data.held_out())
        steps = min(max(STEPS, 2 * data.horizon), (end - first) // 2)
        if steps < 2:
            return {}
        starts = np.linspace(first, end - steps, STARTS).astype(int)
        starts = np.unique(starts)
        self.example = free_run(task, data, int(starts[0]), steps)
        truth, forecast, held = free_runs(task, data, starts, steps)
        self.baseline_name = self.example.baseline_name
        self.errors = {
            name: np.sqrt(np.square(values - truth).mean((0, 2)))
            for name, values in (("free-running", forecast), ("held", held))
        }
        rmse = float(np.sqrt(np.square(self.errors["free-running"]).mean()))
        self.remember(self.step, rmse)
        return {"free_run_rmse": rmse}

    def draw(self, task: Task, data: SequenceData) -> Figure:
        assert isinstance(task, Forecaster) and isinstance(data, Windowed)  # `look` has measured it
        figure, left, right = panels(10, 4, 2.1, 1, narrow=self.narrow)
        steps = len(self.example.forecast)
        whole = max(1, steps // data.horizon) * data.horizon
        with torch.inference_mode():
            ahead = by_window(task, data, self.example.row, whole)
        name = "one step ahead" if data.horizon == 1 else f"{data.horizon} steps ahead"
        panel(left, data, self.example, back=min(data.window, steps), windowed=(name, ahead))
        left.set_title(
            " " if self.narrow else f"{PART[data.held_out()]} part", loc="left", pad=LEGEND, fontsize=10.5
        )
        at = np.arange(1, steps + 1)
        right.plot(at, self.errors["held"], color=GREEN, lw=1.2, ls=(0, (5, 2)), label=self.baseline_name)
        right.plot(at, self.errors["free-running"], color=ORANGE, lw=1.8, label="free-running")
        quiet(right, "steps ahead", "root mean square error")
        right.set_ylim(0, None)
        right.legend(frameon=False, fontsize=8.5, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncol=2,
                     borderaxespad=0.1)  # fmt: skip
        right.set_title(" ", pad=LEGEND)
        score = self.history[-1][1]
        headline(figure, f"Running free for {steps} steps: rmse {score:.3g}", self.when)
        return figure


def free_runs(
    task: Forecaster, data: Windowed, starts: np.ndarray, steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`free_run` from many rows in one batch: truth, forecast, baseline, each (starts, steps, targets) in raw units."""
    at = torch.from_numpy(starts)[:, None] + torch.arange(-data.window, 0)
    windows = data.series[at, : data.inputs].to(task.scale)
    units = data.units(torch.from_numpy(starts) - data.window) if data.frame.groups else ()
    forecast = task.unscaled(fed_back(task, windows, steps), *units).cpu().double().numpy()
    targets = data.frame.values[:, data.target_columns]
    truth = targets[starts[:, None] + np.arange(steps)]
    if data.season:
        predict = baselines.seasonal(targets, data.window, steps, data.season, data.frame.first_row)
    else:
        predict = baselines.persistence(targets, data.window)
    return truth, forecast, np.broadcast_to(predict(starts - data.window), truth.shape)
