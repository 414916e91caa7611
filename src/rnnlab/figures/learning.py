"""The learning curve: training and validation by step, with baselines and floor as horizontal lines."""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from rnnlab.figures.canvas import BLUE, GREY, INK, ORANGE, PALE, Label, label_ends, quiet, whole
from rnnlab.runs.metrics import Curve, smoothed
from rnnlab.runs.run import Run

WORDS = {"nats": "nats per character", "cross_entropy": "cross-entropy, nats"}


class Learning(NamedTuple):
    """One metric over a training. Curves are (steps, values); `lines` are baselines {name: value}."""

    metric: str
    train: Curve | None
    val: Curve | None
    lines: dict[str, float]
    floor: float | None

    @property
    def floor_name(self) -> str:
        return "best possible" if self.metric == "accuracy" else "floor"


def learning(
    run: Run,
    metric: str,
    train_factor: float | None,
    baselines: dict[str, dict[str, float]],
    floor: dict[str, float],
) -> Learning:
    """Reads a metric's curves from metrics.csv; loss/train times `train_factor` is the metric (None: it is not)."""
    curves = run.metrics
    train = curves.get("loss/train") if train_factor is not None else None
    if train is not None and train_factor is not None:
        train = (train[0], train[1] * train_factor)
    lines = {name: scores[metric] for name, scores in baselines.items() if metric in scores}
    return Learning(metric, train, curves.get(f"metric/{metric}"), lines, floor.get(metric))


def drawable(values: Sequence[float] | np.ndarray, log: bool) -> np.ndarray:
    """Those of the values that an axis can show: finite ones, and on a log scale positive ones."""
    found = np.asarray(values, dtype=float)
    return found[np.isfinite(found) & ((found > 0) | (not log))]


def draw(axes: Axes, found: Learning, log: bool = True) -> None:
    """Draws the curves and lines; without training and validation only the lines.

    On a log scale, a line at 0 or more than a hundred times below all curves is only named at the bottom.
    """
    quiet(axes, "optimizer step", WORDS.get(found.metric, found.metric) + (", log scale" if log else ""))
    whole(axes.xaxis)
    labels: list[Label] = []
    shown: list[float] = []
    if found.train is not None:
        steps, values = smoothed(*found.train)
        axes.plot(*found.train, color=BLUE, alpha=0.18, linewidth=0.7)
        axes.plot(steps, values, color=BLUE, linewidth=1.5)
        labels += [Label(v, "training", BLUE) for v in drawable(values, log)[-1:]]
        shown += list(values)
    if found.val is not None:
        marker = "o" if len(found.val[0]) < 25 else ""
        axes.plot(*found.val, color=ORANGE, linewidth=1.8, marker=marker, markersize=3.5)
        labels += [Label(v, "validation", ORANGE) for v in drawable(found.val[1], log)[-1:]]
        shown += list(found.val[1])
    lowest = min((v for v in shown if v > 0), default=0.0) / 100 if log else float("-inf")
    lines: list[tuple[str, float, str, Any]] = [
        (name, value, GREY, (0, (5, 3))) for name, value in found.lines.items()
    ]
    if found.floor is not None:
        lines.append((found.floor_name, found.floor, INK, (0, (1, 1.5))))
    far_below = []
    for name, value, colour, style in lines:
        if value <= lowest:
            far_below.append((f"{name} {value:.2g} \N{DOWNWARDS ARROW}", colour))
            continue
        axes.axhline(value, color=colour, linewidth=1.1, linestyle=style, zorder=1.5)
        labels.append(Label(value, name, colour))
        shown.append(value)
    finite = drawable(shown, log)
    if not len(finite):
        return
    low, high = finite.min(), finite.max()
    if log:
        axes.set_yscale("log")
        plain_ticks(axes, finite)
    margin = 0.05 * (high - low) or 0.1
    axes.set_ylim((low / 1.15, high * 1.15) if log else (low - margin, high + margin))
    axes.margins(x=0.01)
    labels += [Label(axes.get_ylim()[0], name, colour) for name, colour in far_below]
    # limits and layout must be final before labels are placed
    cast(Figure, axes.get_figure(root=True)).draw_without_rendering()
    label_ends(axes, [label for label in labels if np.isfinite(label.y) and (label.y > 0 or not log)])


def plain_ticks(axes: Axes, values: np.ndarray) -> None:
    """Puts ticks such as 0.01, 0.02, 0.05 on a log axis, more of them for a smaller range."""
    decades = np.log10(values.max() / values.min())
    subs = (1.0,) if decades > 3 else (1.0, 2.0, 5.0) if decades > 0.8 else tuple(map(float, range(1, 10)))
    axes.yaxis.set_major_locator(LogLocator(subs=subs, numticks=20))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="y", which="minor", left=False)
    axes.grid(axis="y", which="minor", color=PALE, linewidth=0)
