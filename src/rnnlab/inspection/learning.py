"""The learning curve: training and validation by step, with baselines and floor as lines across."""

from typing import NamedTuple, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from rnnlab.inspection.canvas import BLUE, GREY, INK, ORANGE, PALE, Label, label_ends, quiet
from rnnlab.ledger.run import Run

Curve = tuple[np.ndarray, np.ndarray]

WORDS = {"nats": "nats per character", "cross_entropy": "cross-entropy, nats"}
POINTS = 120  # of the smoothed training curve


class Learning(NamedTuple):
    """One metric over a training. Curves are (steps, values); the lines across are of the validation part."""

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
    """Reads a metric's curves from metrics.csv; `train_factor` turns loss/train into it (None: it cannot)."""
    curves = run.metrics
    train = curves.get("loss/train") if train_factor is not None else None
    if train is not None and train_factor is not None:
        train = (train[0], train[1] * train_factor)
    lines = {name: scores[metric] for name, scores in baselines.items() if metric in scores}
    return Learning(metric, train, curves.get(f"metric/{metric}"), lines, floor.get(metric))


def draw(axes: Axes, found: Learning, log: bool = True) -> None:
    """Draws the curves; without training and validation there are the lines alone."""
    quiet(axes, "optimizer step", WORDS.get(found.metric, found.metric) + (", log scale" if log else ""))
    labels, shown = [], []
    if found.train is not None:
        steps, values = smoothed(*found.train)
        axes.plot(*found.train, color=BLUE, alpha=0.18, linewidth=0.7)
        axes.plot(steps, values, color=BLUE, linewidth=1.5)
        labels.append(Label(values[-1], "training", BLUE))
        shown += list(values)
    if found.val is not None:
        axes.plot(
            *found.val,
            color=ORANGE,
            linewidth=1.8,
            marker="o" if len(found.val[0]) < 25 else "",
            markersize=3.5,
        )
        labels.append(Label(found.val[1][-1], "validation", ORANGE))
        shown += list(found.val[1])
    for name, value in found.lines.items():
        axes.axhline(value, color=GREY, linewidth=1.0, linestyle=(0, (5, 3)), zorder=1.5)
        labels.append(Label(value, name, GREY))
        shown.append(value)
    if found.floor is not None and (found.floor > 0 or not log):
        axes.axhline(found.floor, color=INK, linewidth=1.2, linestyle=(0, (1, 1.5)), zorder=1.5)
        labels.append(Label(found.floor, found.floor_name, INK))
        shown.append(found.floor)
    finite = np.array([v for v in shown if np.isfinite(v) and (v > 0 or not log)])
    if log and len(finite):
        axes.set_yscale("log")
        plain_ticks(axes, finite)
    if len(finite):
        low, high = finite.min(), finite.max()
        margin = 0.05 * (high - low) or 0.1
        axes.set_ylim((low / 1.15, high * 1.15) if log else (low - margin, high + margin))
    axes.margins(x=0.01)
    # limits and layout must stand before labels are placed
    cast(Figure, axes.get_figure(root=True)).draw_without_rendering()
    label_ends(axes, [label for label in labels if np.isfinite(label.y) and (label.y > 0 or not log)])


def plain_ticks(axes: Axes, values: np.ndarray) -> None:
    """Ticks such as 0.01, 0.02, 0.05 on a log axis, as many as its range needs."""
    decades = np.log10(values.max() / values.min())
    subs = (1.0,) if decades > 3 else (1.0, 2.0, 5.0) if decades > 0.8 else tuple(map(float, range(1, 10)))
    axes.yaxis.set_major_locator(LogLocator(subs=subs, numticks=20))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="y", which="minor", left=False)
    axes.grid(axis="y", which="minor", color=PALE, linewidth=0)


def smoothed(steps: np.ndarray, values: np.ndarray) -> Curve:
    """Means of values over stretches of equal length, at the last step of each; as they are where few."""
    if len(steps) < 2 * POINTS:
        return steps, values
    ends = np.linspace(0, len(steps), POINTS + 1).astype(int)
    return steps[ends[1:] - 1], np.add.reduceat(values, ends[:-1]) / np.diff(ends)
