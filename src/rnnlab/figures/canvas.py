"""The style of all figures: one palette, plain axes, labels at the ends of lines."""

import io
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from textwrap import wrap
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context, style
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from rnnlab.errors import UserError
from rnnlab.figures.axis import apart
from rnnlab.terminal.screen import one_line

# from the palette of Okabe and Ito: these differ also for people with red-green colour blindness
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
INK, GREY, PALE = "#222222", "#7A7A7A", "#DDDDDD"

PART = {"train": "training", "val": "validation", "test": "test", "all": "whole"}  # for "the ... part"

# a context in which a user's own matplotlibrc or theme (such as text.usetex) has no effect on figures
alike = partial(style.context, "default")

H_PAD = 0.08  # inches between a figure's edge and its content
PLAIN: dict[str, Any] = {"parse_math": False}  # a $ in the name of a column or an experiment is shown as $
WIDE = ("Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei",
        "PingFang SC", "Hiragino Sans GB", "Arial Unicode MS", "Microsoft YaHei", "SimHei", "Droid Sans Fallback",
        "Noto Emoji", "Segoe UI Emoji", "Apple Symbols", "Symbola")  # fmt: skip
LEAST_PT = 7.0  # the smallest letters of a headline
LINE_PT = 11.0  # least distance between two labels, in points
FORMATS = (".svg", ".pdf", ".png")
# text remains text in SVG, and PDF contains whole fonts; no date, so that the same figure gives the same file
STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "rnnlab", "pdf.fonttype": 42}
DATELESS = {".svg": {"Date": None}, ".pdf": {"CreationDate": None, "ModDate": None}}


class Label(NamedTuple):
    """A line's name, which is written beside the axes at height `y` (in data units)."""

    y: float
    text: str
    colour: str


def canvas(width: float, height: float) -> Figure:
    """An empty figure (size in inches) from matplotlib's object API: it opens no window and changes no global state."""
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=H_PAD, wspace=0.04)
    figure = Figure(figsize=(width, height), dpi=120, facecolor="white", layout=layout)
    FigureCanvasAgg(figure)
    return figure


# inches of a figure that is shown some 340 pixels wide: its smallest text is 9 pixels high there
NARROW = 4.4


def panels(width: float, height: float, *ratios: float, narrow: bool = False) -> tuple[Any, ...]:
    """A figure and its axes: side by side with widths in the given `ratios`, or below each other if `narrow`."""
    if narrow:
        figure = canvas(NARROW, 0.8 + 2.4 * len(ratios))
        return figure, *np.atleast_1d(figure.subplots(len(ratios), 1))
    figure = canvas(width, height)
    return figure, *np.atleast_1d(figure.subplots(1, len(ratios), width_ratios=ratios))


def quiet(axes: Axes, x: str, y: str) -> None:
    """Gives axes their style, without a frame and with a pale grid, and their labels `x` and `y`."""
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
    """Puts ticks at whole numbers, for an axis of steps or units."""
    axis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))


def headline(figure: Figure, message: str, beside: str = "") -> None:
    """Writes a figure's message at its top left, and after it, less prominent, the text `beside`."""
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
    keep_inside(figure, title, 0.75 if beside else 0.985)
    top = 1 - H_PAD / figure.get_figheight()  # the layout will put it there; no need to run the layout now
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
    keep_inside(figure, text)


def keep_inside(figure: Figure, text: Text, right: float = 0.985) -> None:
    """Makes a text's letters smaller so that it ends left of `right` (a share of the figure's width). Where they would
    be smaller than `LEAST_PT`, its middle is left out.
    """
    edges = figure.transFigure.inverted().transform(text.get_window_extent())[:, 0]
    if edges[1] <= max(right, edges[0]):  # it fits, or is empty
        return
    size = text.get_fontsize() * max(0.0, right - edges[0]) / (edges[1] - edges[0])
    text.set_fontsize(max(size, LEAST_PT))
    if size < LEAST_PT:
        words = text.get_text()
        half = max(0, int(len(words) * size / LEAST_PT) // 2 - 1)
        text.set_text(f"{words[:half]}…{words[len(words) - half :]}")


def label_ends(axes: Axes, labels: Sequence[Label]) -> None:
    """Writes the labels at the right of the axes, each as near to its height as possible without overlaps.

    Call it when limits and scale of the axes are final.
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
    """Fonts on this machine with Chinese, Japanese and Korean characters and emoji; matplotlib contains none."""
    there = {font.name for font in fontManager.ttflist}
    return [name for name in WIDE if name in there]


def readable(figure: Figure) -> Figure:
    """The figure, with fonts that have the characters of its texts."""
    for text in figure.findobj(Text):
        if not text.get_text().isascii():  # matplotlib takes each character from the first font that has it
            text.set_fontfamily(["DejaVu Sans", *wide_fonts()])
    return figure


@alike()
def png(figure: Figure) -> bytes:
    """A figure as PNG."""
    picture = io.BytesIO()
    readable(figure).savefig(picture, format="png")
    return picture.getvalue()


def check_format(file: Path) -> None:
    """Raises UserError for a file whose name ends with no format of a figure."""
    if file.suffix.lower() not in FORMATS:
        raise UserError(f"{file}: a figure is written as {', '.join(FORMATS)}")


@alike()
def save(figure: Figure, path: Path) -> Path:
    """Writes a figure in the format that its name ends with, a PNG if it ends with none, and makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ending = path.suffix.lower()
    kind = ending[1:] if ending in FORMATS else "png"
    with rc_context(STYLE):
        readable(figure).savefig(path, format=kind, metadata=DATELESS.get(ending))
    return path
