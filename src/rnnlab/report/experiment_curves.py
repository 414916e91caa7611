"""The learning curves of an experiment's best rows: the mean over seeds, with a band."""

from html import escape
from typing import NamedTuple

import numpy as np

from rnnlab.report.leaderboard import Leaderboard, Row
from rnnlab.report.svg import COLOURS, Plot, plot
from rnnlab.report.units import loss_units_of
from rnnlab.runs.curves import shared
from rnnlab.runs.run import Run, legible, silently

SIZES = {"desk": (760, 400), "phone": (358, 300)}  # the page shows the one that fits


class Curve(NamedTuple):
    """A metric of a row's runs, over the steps that all of them have: (n,) and (runs, n)."""

    row: Row
    steps: np.ndarray
    values: np.ndarray
    colour: str


def curve(row: Row, metric: str, colour: str = "") -> Curve:
    """Without the steps at which a run's value is not finite."""
    read = legible(
        row.entries, lambda entry: Run(entry.folder).metrics, silently
    )  # the run's own page says so
    series = [metrics[metric] for _, metrics in read if metric in metrics]
    steps, values = shared(series) if series else (np.array([], dtype=int), np.empty((0, 0)))
    sound = np.isfinite(values).all(0)
    return Curve(row, steps[sound], values[:, sound], colour)


def curves(board: Leaderboard) -> str:
    """Pictures, for wide and for narrow screens, with their legend."""
    drawn = [
        curve(row, board.metric, colour) for row, colour in zip(board.rows, COLOURS, strict=False)
    ]  # as many as there are colours
    drawn = [one for one in drawn if len(one.steps)]
    if not drawn:
        return "<p>Nothing was validated.</p>"
    levels = {} if board.mixed else levels_of(board)
    pictures = [
        f'<div class="{name}">{_picture(drawn, board.metric, size, levels)}</div>'
        for name, size in SIZES.items()
    ]
    names = "".join(
        f"<li><i class=c{COLOURS.index(one.colour)}></i>{escape(one.row.label)}</li>" for one in drawn
    )
    more = len(board.rows) - len(COLOURS)
    said = [f"The best {len(COLOURS)} of {len(board.rows)} configurations."] if more > 0 else []
    if any(len(one.values) > 1 for one in drawn):
        said.append("A line is the mean over seeds, its band the middle 80% of them.")
    note = f"<p class=note>{' '.join(said)}</p>" if said else ""
    return f"<div class=curves>{''.join(pictures)}<div><ul class=legend>{names}</ul>{note}</div></div>"


def levels_of(board: Leaderboard) -> dict[str, float]:
    """Baselines and floor in the units of the board's metric."""
    metric, factor = board.metric.removeprefix("metric/"), 1.0
    if board.metric == "loss/val":
        units, factor = loss_units_of(Run(board.rows[0].entries[0].folder))
        metric = units or ""
    wanted = f"val/{metric}"
    return {name: scores[wanted] / factor for name, scores in board.references if wanted in scores}


def _picture(drawn: list[Curve], metric: str, size: tuple[int, int], levels: dict[str, float]) -> Plot:
    """From the least of all runs to the greatest mean; a band may leave at the top."""
    picture = plot(
        [int(s) for one in drawn for s in (one.steps[0], one.steps[-1])],
        [float(v) for one in drawn for v in (one.values.min(), one.values.mean(0).max())],
        size, "optimizer step", metric, log_x=False, log_ratio=3.0, levels=levels,
    )  # fmt: skip
    top = max(picture.y.values)
    for one in drawn:
        steps, mean = one.steps.tolist(), one.values.mean(0)
        low, high = np.minimum(np.quantile(one.values, [0.1, 0.9], axis=0), top)
        if len(one.values) > 1:
            picture.band(steps, low.tolist(), high.tolist(), one.colour)
        if len(steps) == 1:
            picture.dot(steps[0], float(mean[0]), one.colour, one.row.label)
        picture.line(list(zip(steps, mean.tolist(), strict=True)), one.colour)
    return picture
