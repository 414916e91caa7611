"""Plots the effect of swept parameters on the best value: of each alone, and of all together."""

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import numpy as np

from rnnlab.figures.axis import Axis, cut, word
from rnnlab.figures.axis import width as width_of
from rnnlab.report.entry import Entry
from rnnlab.report.leaderboard import Leaderboard
from rnnlab.report.numbers import number
from rnnlab.report.row import Row
from rnnlab.report.svg import COLOURS, beyond, plot, svg

PANEL = (340, 260)
DOTS = 400  # the most dots in a panel; of more runs an even selection is drawn
SHIFTS = 11  # horizontal positions of dots with the same value, so that seeds do not hide each other

Link = Callable[[Entry], str | None]


def panels(board: Leaderboard, parameters: Sequence[str], link: Link) -> str:
    """Plots of the best value over each parameter; a dot is a run, and links to its page."""
    drawn = "".join(f"<div>{_panel(board, key, link)}</div>" for key in parameters)
    return (f"<div class=panels>{drawn}</div><p class=note>A blue dot is a run, an orange one the median of all "
            "runs with that value; a triangle lies outside of the axis.</p>")  # fmt: skip


def _panel(board: Leaderboard, key: str, link: Link) -> str:
    rows = [row for row in board.rows if key in row.parameters]
    found = [(row, entry) for row in rows for entry in row.entries]
    shown = _core([board.value(entry) for _, entry in found], board.mode)
    picture = plot(
        [row.parameters[key] for row in rows], shown, PANEL, key, board.head, marked=True, log_ratio=4.0
    )
    at_value: dict[Any, list[float]] = {}
    every = -(-len(found) // DOTS)
    for i, (row, entry) in enumerate(found):
        at = row.parameters[key]
        beside = at_value.setdefault(word(at) if picture.x.words else at, [])
        beside.append(board.value(entry))
        if i % every == 0:
            shift = (len(beside) * 4 % SHIFTS - SHIFTS // 2) * 1.3
            title = f"{row.label}, seed {entry.seed}: {number(board.value(entry))}"
            picture.mark(at, board.value(entry), COLOURS[0], title, shift=shift, link=link(entry))
    order = list(at_value) if picture.x.words else sorted(at_value)
    if max(map(len, at_value.values()), default=0) < 2:  # each median would hide the one run that it is
        order = []
    medians = [(at, float(np.median(at_value[at]))) for at in order]
    inside = [(at, picture.y.within(value)) for at, value in medians]
    if not picture.x.words:
        picture.line(inside, COLOURS[1], 2.0)
    for at, value in medians:
        picture.mark(at, value, COLOURS[1], f"median at {word(at)}: {number(value)}", radius=4.5)
    return str(picture)


def _core(values: Sequence[float], mode: str) -> list[float]:
    """The smallest and the largest value, without the few worst, which would compress all others."""
    array = np.array(values)
    low, high = (0.0, 0.95) if mode == "min" else (0.05, 1.0)
    return [float(end) for end in np.quantile(array, [low, high] if len(array) > 20 else [0.0, 1.0])]


def parallel(board: Leaderboard, parameters: Sequence[str]) -> str:
    """Parallel coordinates: a line is a row; better rows are bolder, and the best is drawn last."""
    rows = [row for row in board.rows if all(k in row.parameters for k in parameters)]
    if len(rows) < 2:
        return ""
    height, width = 330, max(420, min(1040, 215 * (len(parameters) + 1)))
    columns = [[row.parameters[k] for row in rows] for k in parameters] + [[row.mean for row in rows]]
    axes = [Axis.over(c, height - 24, 56, marked=True) for c in columns[:-1]]
    axes.append(Axis.over(_core(columns[-1], board.mode), height - 24, 56, log_ratio=4.0))
    places = [float(x) for x in np.linspace(95, width - 70, len(axes))]
    words = [max(width_of(word(tick)) for tick in axis.ticks()) for axis in axes]
    parts = [
        _path(row, i / (len(rows) - 1), [(x, axis, column[i], room)
              for x, axis, column, room in zip(places, axes, columns, words, strict=True)])
        for i, row in reversed(list(enumerate(rows)))
    ]  # fmt: skip
    names = [_short(key, parameters) for key in parameters] + [board.head]
    for x, axis, name in zip(places, axes, names, strict=True):
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="50" y2="{height - 18}" class="axis"/>'
                     f'<text x="{x:.1f}" y="26" text-anchor="middle" class="title">{escape(name)}</text>')  # fmt: skip
        for tick in axis.ticks():  # curves stop before the labels and continue after them
            y, room = axis.at(tick), width_of(word(tick))
            parts.append(f'<rect x="{x - 12 - room:.1f}" y="{y - 7:.1f}" width="{room + 8:.1f}" height="14" '
                         f'class="paper"/><text x="{x - 8:.1f}" y="{y + 4:.1f}" text-anchor="end" class="tick">'
                         f"{escape(cut(word(tick)))}</text>")  # fmt: skip
    drawn = f"<div class=wide>{svg(width, height, parts)}</div>"
    note = "the bolder, the better its mean over seeds; a triangle lies outside of the axis."
    return (f"<details class=folds open><summary>All together</summary>{drawn}"
            f"<p class=note>A line is a configuration: {note}</p></details>")  # fmt: skip


def _path(row: Row, place: float, stops: list[tuple[float, Axis, Any, float]]) -> str:
    """A row's line, horizontal next to labels; `place` is 0 for the best row and 1 for the worst."""
    points: list[tuple[float, float]] = []
    for x, axis, value, room in stops:
        y = axis.at(value if axis.words else axis.within(value))
        points += [(x - 14 - room, y), (x, y)] if points else [(x, y)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    near, far, part = ("near", "middle", 2 * place) if place < 0.5 else ("middle", "far", 2 * place - 1)
    colour = f"color-mix(in oklab, var(--{far}) {100 * part:.0f}%, var(--{near}))"
    title = escape(f"{row.label}: {number(row.mean)}")
    x, axis, value, _ = stops[-1]
    out = axis.within(value) != value
    mark = (
        beyond(x, points[-1][1], value > axis.within(value), colour, f"{row.label}: {number(value)}")
        if out
        else ""
    )
    return (f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{2.8 - 1.8 * place:.1f}">'
            f"<title>{title}</title></polyline>{mark}")  # fmt: skip


def _short(key: str, among: Sequence[str]) -> str:
    """The last word of a key, if no other key ends with it; else the whole key."""
    last = key.rpartition(".")[2]
    return last if sum(k.rpartition(".")[2] == last for k in among) == 1 else key
