"""Pictures of forecasts: truth, forecast, the free-running forecast and a baseline, in the units of the data."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from rnnlab.data.windows import Windowed
from rnnlab.inspection.canvas import BLUE, GREEN, GREY, INK, ORANGE, canvas, headline, quiet
from rnnlab.inspection.free_run import FreeRun, by_window, free_run
from rnnlab.inspection.learning import Learning
from rnnlab.inspection.learning import draw as draw_learning
from rnnlab.tasks.forecaster import Forecaster

SHOWN = 120  # steps of a part that are drawn, at least, where it has so many


def finished(task: Forecaster, data: Windowed, split: Any, title: str, curve: Learning) -> Figure:
    """A finished run: how it forecasts the beginning of a part, and how it learned."""
    first, behind = data.rows(split)
    row = first + data.window
    steps = min(max(SHOWN, 5 * data.horizon), behind - row)
    free = free_run(task, data, row, steps)
    windowed = by_window(task, data, row, steps // data.horizon * data.horizon)
    figure = canvas(10, 4)
    left, right = figure.subplots(1, 2, width_ratios=[2.1, 1])
    part = {"train": "training", "val": "validation", "test": "test"}[split]
    ahead = "one step ahead" if data.horizon == 1 else f"{data.horizon} steps ahead"
    panel(left, data, free, f"{steps} steps of the {part} part", back=data.window, windowed=(ahead, windowed))
    draw_learning(right, curve, "learning")
    headline(figure, title)
    return figure


def running_on(data: Windowed, free: FreeRun, title: str) -> Figure:
    """A free-running forecast with what went before it, for each target."""
    names = data.frame.targets
    figure = canvas(10, 4 if len(names) == 1 else 1.2 + 2.4 * len(names))
    back = min(free.row, max(data.window, len(free.forecast) // 2))
    for i, axes in enumerate(np.atleast_1d(figure.subplots(len(names), 1, sharex=True))):
        panel(axes, data, free, "", back=back, target=i)
        if i < len(names) - 1:
            axes.set_xlabel("")
    headline(figure, title)
    return figure


def panel(
    axes: Axes,
    data: Windowed,
    free: FreeRun,
    title: str,
    *,
    back: int,
    target: int = 0,
    windowed: tuple[str, np.ndarray] | None = None,
) -> None:
    """One target, from `back` rows before the forecast begins; `windowed` is a name and values (n, targets)."""
    known = slice(free.row - back, free.row + len(free.truth))
    times, truth = data.frame.times[known], data.frame.values[known, data.target_columns[target]]
    dated = np.issubdtype(times.dtype, np.datetime64)
    name = data.frame.targets[target]
    of_several = (
        f" (one of {len(data.frame.targets)} targets)" if windowed and len(data.frame.targets) > 1 else ""
    )
    quiet(axes, time_name(data), name + of_several, title)
    axes.plot(free.times, free.baseline[:, target], color=GREY, linewidth=1.1, linestyle=(0, (5, 2)),
              label=f"{free.baseline_name}, free-running")  # fmt: skip
    axes.plot(times, truth, color=INK, linewidth=0.8, marker="o", markersize=2.2 if len(times) < 250 else 0,
              alpha=0.75, label="truth")  # fmt: skip
    if windowed is not None:
        label, values = windowed
        axes.plot(
            free.times[: len(values)],
            values[:, target],
            color=BLUE,
            linewidth=1.6,
            label=f"forecast, {label}",
        )
    axes.plot(
        free.times, free.forecast[:, target], color=ORANGE, linewidth=1.6, label="forecast, free-running"
    )
    axes.axvline(free.times[0], color=GREEN, linewidth=1.0, linestyle=(0, (1, 1.5)))
    axes.margins(x=0.01)
    if dated:
        locator = AutoDateLocator(minticks=4, maxticks=8)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    handles, names = axes.get_legend_handles_labels()
    order = sorted(range(len(names)), key=lambda i: names[i] != "truth")
    if target == 0:
        axes.legend([handles[i] for i in order], [names[i] for i in order], loc="lower left", ncol=4, frameon=False,
                    bbox_to_anchor=(-0.01, 1.0), fontsize=8.5, handlelength=1.6, columnspacing=1.2,
                    borderaxespad=0.1)  # fmt: skip
        axes.set_title(title, loc="left", fontsize=10.5, color=INK, pad=20)


def time_name(data: Windowed) -> str:
    """What the data calls its times; "row" where it has none."""
    column = getattr(data, "time_column", "time")
    return column or "row"
