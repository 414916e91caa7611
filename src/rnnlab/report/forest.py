"""A forest plot: configurations, or differences between them, with intervals; for a paper (SVG, PDF or PNG)."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rnnlab.figures.canvas import BLUE, GREY, INK, PALE, PLAIN, alike, canvas, save
from rnnlab.report.comparison import Comparison
from rnnlab.report.leaderboard import Leaderboard
from rnnlab.report.statistics import LOG, scale_of
from rnnlab.terminal.screen import one_line

MOST = 60  # the most lines of a figure


class Line(NamedTuple):
    name: str
    points: Sequence[float]  # one per run
    centre: float
    interval: tuple[float, float]  # NaN for none


def of_board(board: Leaderboard, file: Path) -> None:
    lines = []
    for row in board.rows[:MOST]:
        values = row.values
        scale = scale_of(values, row.more_is_better)
        lines.append(
            Line(row.label, values.tolist(), scale.back(float(scale.to(values).mean())), row.interval)
        )
    levels = {n: s[f"val/{board.primary}"] for n, s in board.references if f"val/{board.primary}" in s}
    own = board.metric == f"metric/{board.primary}"
    every = np.concatenate([row.values for row in board.rows[:MOST]])
    log = scale_of(every, board.mode == "max") is LOG
    draw(lines, board.head + _left_out(board.rows), file, levels if own else {}, log=log)


def of_comparison(found: Comparison, file: Path) -> None:
    lines = [Line(f"{d.first} / {d.second}", (), d.effect, d.interval) for d in found.differences[:MOST]]
    log = found.differences[0].scale is LOG
    what = found.metric.replace("metric/", "val/")
    title = f"{found.effect} of {what}, first to second{_left_out(found.differences)}"
    draw(lines, title, file, {"": 1.0 if log else 0.0}, log=log)


def _left_out(lines: Sequence[object]) -> str:
    return f" (the first {MOST} of {len(lines):,})" if len(lines) > MOST else ""


def draw(lines: Sequence[Line], title: str, file: Path, levels: dict[str, float], log: bool) -> None:
    with alike():
        figure = canvas(6.5, 0.9 + 0.3 * len(lines))
        axes = figure.add_subplot()
        # a logarithmic axis has no place for a floor of 0
        for i, (value, name) in enumerate(sorted((v, n) for n, v in levels.items() if v > 0 or not log)):
            axes.axvline(value, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)))
            axes.annotate(one_line(name), (value, 1), xytext=(0, 1 + 9 * (i % 2)), textcoords="offset points",
                          xycoords=("data", "axes fraction"), fontsize=8, color=GREY,
                          ha="center", va="bottom", **PLAIN)  # fmt: skip
        for at, line in enumerate(lines):
            axes.scatter(line.points, [at] * len(line.points), s=9, color=GREY, alpha=0.6, linewidths=0)
            if line.interval[0] == line.interval[0]:
                axes.plot(line.interval, [at, at], color=BLUE, linewidth=1.6, solid_capstyle="butt")
            axes.scatter([line.centre], [at], s=26, color=BLUE, zorder=3)
        axes.set_yticks(
            range(len(lines)), [one_line(line.name) for line in lines], fontsize=9, color=INK, **PLAIN
        )
        axes.set_ylim(len(lines) - 0.4, -0.6)
        if log:
            axes.set_xscale("log")
        axes.set_xlabel(one_line(title), fontsize=9.5, color=INK, **PLAIN)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.grid(axis="x", color=PALE, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
        save(figure, file)
