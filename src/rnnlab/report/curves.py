"""Plots learning curves: of one run, and of an experiment's best rows, as means over seeds with a band."""

import math
import re
from html import escape
from typing import Any, NamedTuple

import numpy as np

from rnnlab.report.comparability import unit
from rnnlab.report.leaderboard import Leaderboard
from rnnlab.report.numbers import number
from rnnlab.report.ranking import places
from rnnlab.report.row import Row
from rnnlab.report.svg import COLOURS, Plot, plot
from rnnlab.runs.metrics import DERIVED, shared, smoothed
from rnnlab.runs.run import Run, legible, silently

BLUE, ORANGE = "var(--blue)", "var(--orange)"
PANEL = (440, 280)
SIZES = {"desk": (760, 400), "phone": (358, 300)}  # pixels; the page shows the size that fits the screen


FEWEST = 3  # the fewest points of a curve; fewer are shown as numbers
DIVERGED = re.compile(r"the loss (?:is|has grown from \S+ to) (\S+) at step (\d+)")  # a training's message


def run_curves(run: Run) -> str:
    """HTML with plots of the losses, of each metric with its baselines and floor, and of the gradient norm. Values that
    were measured only once or twice, and a diverged loss, are shown as numbers.
    """
    found, results = run.metrics, run.results
    lines = results.get("baselines", {}).get("val", {}) | {"floor": results.get("floor", {}).get("val", {})}

    def levels(metric: str | None, factor: float = 1.0) -> dict[str, float]:
        return {name: scores[metric] / factor for name, scores in lines.items() if metric in scores}

    curves = {tag: curve for tag, (steps, values) in found.items()
              if len((curve := _finite(steps, values))[0]) >= FEWEST}  # fmt: skip
    why = DIVERGED.search(str(run.record.get("why", "")))
    lost = (int(why[2]), float(why[1])) if why else None
    panels = []
    loss = [(t, c) for t, c in (("loss/train", BLUE), ("loss/val", ORANGE)) if t in curves]
    same = next((tag for tag in curves if tag.startswith("metric/") and _equal(curves, tag, "loss/val")), "")
    if loss:
        level = levels(*loss_units_of(run))
        title = f"loss ({same.removeprefix('metric/')})" if same else "loss"
        panels.append(_panel(title, [(curves[tag], colour) for tag, colour in loss], level, lost=lost))
    for tag in curves:
        name = tag.removeprefix("metric/")
        if tag.startswith("metric/") and tag != same and name not in DERIVED:
            panels.append(_panel(name, [(curves[tag], ORANGE)], levels(name)))
    for tag in ("optim/grad_norm", "optim/lr"):
        if tag in curves and np.ptp(curves[tag][1]) > 0:
            name = tag.removeprefix("optim/").replace("_", " ")
            panels.append(_panel(name, [(curves[tag], BLUE)], {}, log=tag != "optim/lr"))
    named = [(word, c) for tag, word, c in (("loss/train", "training", "blue"), ("loss/val", "validation", "orange"))
             if tag in curves]  # fmt: skip
    key = "".join(f"<span><i class={colour}></i>{name}</span>" for name, colour in named)
    drawn = "".join(f"<div>{panel}</div>" for panel in panels)
    few = {t: found[t] for t in found if t.startswith(("loss/", "metric/")) and t not in curves}
    return (
        (f"<div class=panels>{drawn}</div>" if drawn else "")
        + (f"<p class=key>{key}</p>" if len(named) > 1 else "")
        + _numbers(few, lost)
    )


def _finite(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sound = np.isfinite(values)
    return steps[sound], values[sound]


def _equal(curves: dict[str, tuple[np.ndarray, np.ndarray]], one: str, other: str) -> bool:
    """Whether two curves are the same up to rounding, as the loss and the metric that it is."""
    if one not in curves or other not in curves:
        return False
    (steps, values), (at, beside) = curves[one], curves[other]
    return np.array_equal(steps, at) and np.allclose(values, beside, rtol=1e-5, atol=0)


def _numbers(few: dict[str, Any], lost: tuple[int, float] | None) -> str:
    """A line for each value of a metric with too few points for a curve, and for the loss that diverged."""
    lines = [(tag, int(step), number(float(value)) or str(value))
             for tag, (steps, values) in few.items() if tag.removeprefix("metric/") not in DERIVED
             for step, value in list(zip(steps, values, strict=True))[-FEWEST:]]  # fmt: skip
    if lost:
        lines.append(("loss/train, diverged", lost[0], number(lost[1]) or str(lost[1])))
    body = "".join(f"<tr><td>{escape(t)}</td><td>{s:,}</td><td>{escape(v)}</td></tr>" for t, s, v in lines)
    head = "<thead><tr><th></th><th>step</th><th>value</th></tr></thead>"
    return f"<div class=wide><table>{head}<tbody>{body}</tbody></table></div>" if body else ""


def _panel(
    title: str,
    curves: list[Any],
    levels: dict[str, float],
    log: bool = True,
    lost: tuple[int, float] | None = None,
) -> Plot:
    """A plot of curves over steps, with horizontal lines at `levels`; `lost`: step and value of a diverged loss."""
    shown = [(*smoothed(steps, values), colour) for (steps, values), colour in curves]
    values = np.concatenate([v for _, v, _ in shown])
    ends = [int(s) for steps, _, _ in shown for s in (steps[0], steps[-1])] + ([lost[0]] if lost else [])
    picture = plot(
        ends, [float(values.min()), float(values.max())],
        PANEL, "optimizer step", title, log_x=False, log_ratio=8.0 if log else math.inf, levels=levels,
    )  # fmt: skip
    for steps, curve, colour in shown:
        picture.line(list(zip(steps.tolist(), curve.tolist(), strict=True)), colour)
    if lost:
        picture.mark(
            lost[0], lost[1] if lost[1] == lost[1] else math.inf, BLUE, f"step {lost[0]:,}: {lost[1]:.4g}"
        )
    return picture


class RowCurve(NamedTuple):
    """A metric of a row's runs at the steps that all of them have: steps (n,) and values (runs, n)."""

    row: Row
    steps: np.ndarray
    values: np.ndarray
    colour: str


def row_curve(row: Row, metric: str, colour: str = "") -> RowCurve:
    """The curve of a metric, without steps at which a run's value is not finite."""
    # the run's own page reports a damaged file
    read = legible(row.entries, lambda entry: Run(entry.folder).metrics, silently)
    series = [metrics[metric] for _, metrics in read if metric in metrics]
    steps, values = shared(series) if series else (np.array([], dtype=int), np.empty((0, 0)))
    sound = np.isfinite(values).all(0)
    return RowCurve(row, steps[sound], values[:, sound], colour)


def board_curves(board: Leaderboard) -> str:
    """HTML with the plots for wide and for narrow screens, and their legend."""
    # the first rows of each group
    first = sorted(zip(places(board.rows), range(len(board.rows)), strict=True))[: len(COLOURS)]
    rows = [board.rows[i] for i in sorted(i for _, i in first)]
    drawn = [row_curve(row, board.metric, colour) for row, colour in zip(rows, COLOURS, strict=False)]
    drawn = [one for one in drawn if len(one.steps)]
    if not drawn:
        return "<p>Nothing was validated.</p>"
    levels = levels_of(board)
    plots = [f'<div class="{name}">{_plot(drawn, board, size, levels)}</div>' for name, size in SIZES.items()]
    names = "".join(
        f"<li><i class=c{COLOURS.index(one.colour)}></i>{escape(one.row.label)}</li>" for one in drawn
    )
    more = len(board.rows) - len(COLOURS)
    best = "The best " if board.groups == 1 and board.compares else ""
    said = [f"{best}{len(COLOURS)} of {len(board.rows)} configurations."] if more > 0 else []
    if any(len(one.values) > 1 for one in drawn):
        banded = told_apart(drawn)
        which = "" if len(banded) == sum(len(one.values) > 1 for one in drawn) else (
            ", drawn where it does not lie on another one")  # fmt: skip
        over = "seeds and origins" if any(row.origins for row in rows) else "seeds"
        said.append(f"A line is the mean over {over}, its band the middle 80% of them{which}.")
    if board.groups > 1:
        said.append(
            "They are the best of each data set or target, each to be seen beside its own baselines; the heights of "
            "different ones do not compare."
        )
    note = f"<p class=note>{' '.join(said)}</p>" if said else ""
    return f"<div class=curves>{''.join(plots)}<div><ul class=legend>{names}</ul>{note}</div></div>"


def middle(one: RowCurve) -> tuple[np.ndarray, np.ndarray]:
    """The 10% and 90% quantiles of a row's runs at each step."""
    low, high = np.quantile(one.values, [0.1, 0.9], axis=0)
    return low, high


def told_apart(drawn: list[RowCurve]) -> list[RowCurve]:
    """The curves whose bands are drawn, the best first. A band that is covered by half or more by another one, at half
    of the steps, is left out.
    """
    kept: list[RowCurve] = []
    for one in drawn:
        if len(one.values) > 1 and not any(_on(one, other) for other in kept):
            kept.append(one)
    return kept


def _on(one: RowCurve, other: RowCurve) -> bool:
    steps, ours, theirs = np.intersect1d(one.steps, other.steps, return_indices=True)
    if not len(steps):
        return False
    low, high = np.array(middle(one))[:, ours]
    least, most = np.array(middle(other))[:, theirs]
    shared_part = np.clip(np.minimum(high, most) - np.maximum(low, least), 0, None)
    return bool(np.median(shared_part / np.maximum(np.minimum(high - low, most - least), 1e-300)) >= 0.5)


def levels_of(board: Leaderboard) -> dict[str, float]:
    """{name: value} of baselines and floor, in the unit of the board's metric."""
    metric, factor = board.metric.removeprefix("metric/"), 1.0
    if board.metric == "loss/val":
        units, factor = loss_units_of(Run(board.rows[0].entries[0].folder))
        metric = units or ""
    wanted = f"val/{metric}"
    return {name: scores[wanted] / factor for name, scores in board.references if wanted in scores}


def _plot(drawn: list[RowCurve], board: Leaderboard, size: tuple[int, int], levels: dict[str, float]) -> Plot:
    """A plot whose axis reaches from the best of all runs to the worst mean; a band may leave it at the worse end."""
    means = [one.values.mean(0) for one in drawn]
    if board.mode == "min":
        ends = [(one.values.min(), mean.max()) for one, mean in zip(drawn, means, strict=True)]
    else:
        ends = [(mean.min(), one.values.max()) for one, mean in zip(drawn, means, strict=True)]
    picture = plot(
        [int(s) for one in drawn for s in (one.steps[0], one.steps[-1])],
        [float(v) for pair in ends for v in pair],
        size, "optimizer step", board.metric, log_x=False, log_ratio=3.0, levels=levels,
    )  # fmt: skip
    least, most = min(picture.y.values), max(picture.y.values)
    banded = told_apart(drawn)
    for one, mean in zip(drawn, means, strict=True):
        steps = one.steps.tolist()
        if any(one is other for other in banded):
            low, high = np.clip(middle(one), least, most)
            picture.band(steps, low.tolist(), high.tolist(), one.colour)
        if len(steps) == 1:
            picture.dot(steps[0], float(mean[0]), one.colour, one.row.label)
        picture.line(list(zip(steps, mean.tolist(), strict=True)), one.colour)
    return picture


def loss_units_of(run: Run) -> tuple[str | None, float]:
    """The metric that equals the loss up to a factor, and that factor (`Task.loss_units`)."""
    return unit(run.results.get("best", {}), run.config["model"].get("loss"))
