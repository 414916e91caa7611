"""Figures of forecasts: truth, forecast, free-running forecast and a baseline, in the units of the data."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from rnnlab.data.module import Split
from rnnlab.data.windows import Windowed
from rnnlab.figures.canvas import (
    BLUE,
    GREEN,
    INK,
    NARROW,
    ORANGE,
    PALE,
    PART,
    alike,
    canvas,
    headline,
    quiet,
    whole,
)
from rnnlab.figures.learning import Learning
from rnnlab.figures.learning import draw as draw_learning
from rnnlab.tasks.forecaster import Forecaster
from rnnlab.tasks.rollout import FreeRun, by_window, farthest, free_run, interval_by_window

SHOWN = 120  # the most steps of a part that are drawn, or ten horizons if that is more
PANELS = 8  # the most targets that are drawn
LEGEND = 20.0  # points between axes and title, for the legend


def finished(
    task: Forecaster, data: Windowed, split: Split, title: tuple[str, str], curve: Learning
) -> Figure:
    """The figure of a finished run: forecasts of the beginning of a part, and the learning curve."""
    row, end = data.forecast_rows(split)
    first = data.rows(split)[0]
    steps = min(max(SHOWN, 10 * data.horizon), end - row)
    covered = steps // data.horizon * data.horizon
    ahead = "one step ahead" if data.horizon == 1 else f"{data.horizon} steps ahead"
    free = free_run(task, data, row, farthest(task, data, row, steps)[0])
    figure = canvas(10, 4)
    left, right = figure.subplots(1, 2, width_ratios=[2.1, 1])
    # with split="windows", a part comes from the whole series
    where = "series" if end - first == len(data.frame.values) else f"{PART[split]} part"
    if data.frame.groups:
        where += f" of {data.frame.groups[0].name}"
    windowed = (ahead, by_window(task, data, row, covered))
    panel(
        left,
        data,
        free,
        back=min(data.window, steps // 2),
        windowed=windowed,
        interval=interval_by_window(task, data, row, covered),
    )
    left.set_title(f"the first {steps} steps of the {where}", loc="left", pad=LEGEND, fontsize=10.5)
    draw_learning(right, curve)
    right.set_title("learning, beside baselines (dashed)", loc="left", pad=LEGEND, fontsize=10.5)
    headline(figure, *title)
    return figure


@alike()
def running_on(data: Windowed, free: FreeRun, title: tuple[str, str]) -> Figure:
    """The figure of a free-running forecast and the values before it, with a panel for each of the first targets."""
    names = data.frame.targets[:PANELS]
    figure = canvas(10, 4 if len(names) == 1 else 1.2 + 2.4 * len(names))
    back = min(free.row - data.frame.series_of(free.row - 1).start, max(data.window, len(free.forecast) // 2))
    for i, axes in enumerate(np.atleast_1d(figure.subplots(len(names), 1, sharex=True))):
        panel(axes, data, free, back=back, target=i)
        if i < len(names) - 1:
            axes.set_xlabel("")
    count = len(data.frame.targets)
    if count > PANELS:
        left = figure.axes[0]
        left.set_title(f"the first {PANELS} of {count:,} targets", loc="left", pad=LEGEND, fontsize=10.5)
    else:
        figure.axes[0].set_title(" ", pad=LEGEND / 2)
    headline(figure, *title)
    return figure


def panel(
    axes: Axes,
    data: Windowed,
    free: FreeRun,
    *,
    back: int,
    target: int = 0,
    windowed: tuple[str, np.ndarray] | None = None,
    interval: np.ndarray | None = None,
) -> None:
    """Draws one target, from `back` rows before the free run.

    `windowed`: the name and the values (n, targets) of forecasts from true windows, from the same row on; `interval`
    (n, targets, 2): their outermost quantiles.
    """
    known = slice(
        free.row - back, max(free.row + len(free.truth), free.row + len(windowed[1]) if windowed else 0)
    )
    times, truth = data.frame.times[known], data.frame.values[known, data.target_columns[target]]
    name, several = data.frame.targets[target], len(data.frame.targets)
    if windowed and several > 1:
        name += f" (one of {several} targets)"
    utc = " (UTC)" if data.frame.offsets is not None else ""  # times with offsets are drawn in UTC
    quiet(axes, time_name(data) + utc, name)
    first_seen = data.frame.times[free.row - min(back, data.window)]
    axes.axvspan(
        first_seen, free.times[0], color=PALE, alpha=0.45, linewidth=0, label="window it starts from"
    )
    dots = "o" if len(times) < 250 else ""
    axes.plot(times, truth, color=INK, linewidth=0.8, marker=dots, markersize=2.2, alpha=0.75, label="truth")
    dashed = (0, (5, 2))
    axes.plot(free.times, free.baseline[:, target], color=GREEN, lw=1.1, ls=dashed, label=free.baseline_name)
    if windowed is not None:
        label, values = windowed
        at = data.frame.times[free.row : free.row + len(values)]
        axes.plot(at, values[:, target], color=BLUE, linewidth=1.6, label=label)
        if interval is not None:
            low, high = interval[:, target].T
            name_of = f"quantiles {free.levels[0]:g} to {free.levels[-1]:g}"
            axes.fill_between(at, low, high, color=BLUE, alpha=0.2, linewidth=0, label=name_of)
    elif free.quantiles is not None:
        low, high = free.quantiles[:, target, [0, -1]].T
        name_of = f"quantiles {free.levels[0]:g} to {free.levels[-1]:g}"
        axes.fill_between(
            free.times[: len(low)], low, high, color=ORANGE, alpha=0.25, linewidth=0, label=name_of
        )
    axes.plot(free.times, free.forecast[:, target], color=ORANGE, linewidth=1.6, label="free-running")
    axes.margins(x=0.01)
    if np.issubdtype(times.dtype, np.datetime64):
        locator = AutoDateLocator(minticks=4, maxticks=8)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    elif np.issubdtype(times.dtype, np.integer):
        whole(axes.xaxis)
    if target == 0:
        legend(axes)


def legend(axes: Axes) -> None:
    """Puts the legend above the axes, where no line is; the window, which is drawn first, comes last in it."""
    handles, names = axes.get_legend_handles_labels()
    across = len(names) if axes.figure.get_figwidth() > NARROW else 3  # type: ignore[union-attr]
    box = axes.legend([*handles[1:], handles[0]], [*names[1:], names[0]], loc="lower left", ncol=across,
                      bbox_to_anchor=(0.0, 1.0), frameon=False, fontsize=8.5, handlelength=1.5,
                      columnspacing=1.1, borderaxespad=0.1, borderpad=0.2)  # fmt: skip
    box.set_in_layout(False)  # it is so wide that the layout would make the axes narrower


def time_name(data: Windowed) -> str:
    """The data's name for its times; "row" if it has none."""
    return getattr(data, "time_column", "time") or "row"
