"""The style of our figures: one palette, quiet axes, lines labelled where they end."""

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from textwrap import wrap
from typing import Any, NamedTuple

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from rnnlab.figures.axis import apart
from rnnlab.terminal.screen import one_line

# of Okabe and Ito, told apart also by those who see red and green alike
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
INK, GREY, PALE = "#222222", "#7A7A7A", "#DDDDDD"

PART = {"train": "training", "val": "validation", "test": "test", "all": "whole"}  # as in "the ... part"

# figures look alike wherever they are drawn: nothing of a user's own matplotlibrc or theme, such as text.usetex
alike = partial(style.context, "default")

H_PAD = 0.08  # inches between a picture's edge and what is in it
PLAIN: dict[str, Any] = {"parse_math": False}  # $ stands for itself in the name of a column or an experiment
WIDE = ("Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei",
        "PingFang SC", "Hiragino Sans GB", "Arial Unicode MS", "Microsoft YaHei", "SimHei", "Droid Sans Fallback",
        "Noto Emoji", "Segoe UI Emoji", "Apple Symbols", "Symbola")  # fmt: skip
LINE_PT = 11.0  # least distance between two labels, in points


class Label(NamedTuple):
    """A line's name, to be written beside the axes at height `y`."""

    y: float
    text: str
    colour: str


def canvas(width: float, height: float) -> Figure:
    """An empty figure, in inches, of matplotlib's object API: no window, nothing global."""
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=H_PAD, wspace=0.04)
    figure = Figure(figsize=(width, height), dpi=120, facecolor="white", layout=layout)
    FigureCanvasAgg(figure)
    return figure


NARROW = (
    4.4  # inches of a figure that is shown some 340 pixels wide: its smallest text is 9 pixels high there
)


def panels(width: float, height: float, *ratios: float, narrow: bool = False) -> tuple[Any, ...]:
    """A figure and its axes: side by side, as wide to each other as `ratios`; below each other where it is narrow."""
    if narrow:
        figure = canvas(NARROW, 0.8 + 2.4 * len(ratios))
        return figure, *np.atleast_1d(figure.subplots(len(ratios), 1))
    figure = canvas(width, height)
    return figure, *np.atleast_1d(figure.subplots(1, len(ratios), width_ratios=ratios))


def quiet(axes: Axes, x: str, y: str) -> None:
    """Axes without a frame, with a pale grid and their names."""
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(side == "bottom")
    axes.spines["bottom"].set_color(GREY)
    axes.grid(axis="y", which="major", color=PALE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", color=GREY, labelcolor=INK, labelsize=9, left=False)
    axes.set_xlabel(one_line(x), fontsize=9.5, color=INK, **PLAIN)
    axes.set_ylabel(one_line(y), fontsize=9.5, color=INK, **PLAIN)
    axes.set_title("", loc="left", fontsize=10.5, color=INK)


def whole(axis: Axis) -> None:
    """Ticks at whole numbers, for an axis of steps or units."""
    axis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))


def headline(figure: Figure, message: str, beside: str = "") -> None:
    """The message of a picture at its top left, and in plainer letters behind it what it stands beside."""
    if figure.get_figwidth() < 6:
        lines = "\n".join(wrap(one_line(message), 44))
        figure.suptitle(lines, x=0.03, ha="left", fontsize=10.5, color=INK, fontweight="bold", **PLAIN)
        figure.supxlabel(
            "\n".join(wrap(one_line(beside), 56)), x=0.03, ha="left", fontsize=8.5, color=GREY, **PLAIN
        )
        return
    title = figure.suptitle(
        one_line(message), x=0.012, ha="left", fontsize=12.5, color=INK, fontweight="bold", **PLAIN
    )
    top = 1 - H_PAD / figure.get_figheight()  # where the layout will put it, which need not be done for that
    corner = figure.transFigure.inverted().transform(title.get_window_extent().p1)
    text = figure.text(
        corner[0] + 0.015,
        top,
        one_line(beside),
        va="top",
        **PLAIN,
        fontsize=10.5,
        color=GREY,
        in_layout=False,
    )
    edges = figure.transFigure.inverted().transform(text.get_window_extent())[:, 0]
    if edges[1] > 0.99:  # smaller rather than cut
        text.set_fontsize(10.5 * (0.985 - edges[0]) / (edges[1] - edges[0]))


def label_ends(axes: Axes, labels: Sequence[Label]) -> None:
    """Writes the labels at the right of the axes, each as near to its height as the others let it be.

    To be called when limits and scale of the axes stand.
    """
    height = axes.get_window_extent().height * 72 / axes.figure.dpi
    to_points = axes.transData
    bottom = axes.get_window_extent().y0
    wanted = sorted(
        ((to_points.transform((0, label.y))[1] - bottom) * 72 / axes.figure.dpi, label) for label in labels
    )
    for at, (_, label) in zip(apart([y for y, _ in wanted], LINE_PT), wanted, strict=True):
        axes.annotate(
            one_line(label.text),
            **PLAIN,
            xy=(1.0, at / height),
            xycoords="axes fraction",
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=label.colour,
        )


@cache
def wide_fonts() -> list[str]:
    """Fonts of this machine with Chinese, Japanese, Korean, and emoji; matplotlib brings none."""
    there = {font.name for font in fontManager.ttflist}
    return [name for name in WIDE if name in there]


@alike()
def save(figure: Figure, path: Path) -> Path:
    """Writes a PNG, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for text in figure.findobj(Text):
        if not text.get_text().isascii():  # matplotlib takes each sign from the first font that has it
            text.set_fontfamily(["DejaVu Sans", *wide_fonts()])
    figure.savefig(path, format="png")
    return path
