"""The report of an experiment as one page of HTML that needs nothing else."""

from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from rnnlab.ledger.run import Run
from rnnlab.sweeps.leaderboard import Leaderboard, Row, number
from rnnlab.sweeps.svg import COLOURS, Axis, plot, shade, svg, word

CURVES = 6  # rows whose learning curves are drawn
ROWS = 100  # of the table

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1e23; max-width: 1160px; margin: 2.5rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; margin-bottom: 0 } h2 { font-size: 1.1rem; margin-top: 2.4rem }
p.lead { color: #5b6470; margin-top: .3rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13.5px }
th, td { text-align: right; padding: .25rem .6rem; white-space: nowrap } th { border-bottom: 1px solid #c9ced6 }
td.what, th.what { text-align: left } tr.first td { font-weight: 600 } tr.reference td { color: #7a828e }
tr.reference.first-reference td { border-top: 1px solid #e3e6eb }
div.wide { overflow-x: auto } div.panels { display: flex; flex-wrap: wrap; gap: 1rem }
svg text { font: 12px system-ui, sans-serif; fill: #3b424c } svg .tick { fill: #6a727e; font-size: 11px;
paint-order: stroke; stroke: #fff; stroke-width: 3px }
svg .title { font-weight: 600 } svg .grid { stroke: #edeff2 } svg .axis { stroke: #9aa2ad }
svg .level { stroke: #8a929d; stroke-dasharray: 5 4 }
ul.legend { list-style: none; padding: 0; columns: 2; font-size: 13px } ul.legend i { display: inline-block;
width: 14px; height: 3px; margin-right: .5rem; vertical-align: middle } code { font-size: 13px }
"""


def page(name: str, board: Leaderboard) -> str:
    """The HTML of an experiment's leaderboard, curves and parameters."""
    statuses = Counter(e.record.get("status", "?") for e in board.others)
    finished = sum(len(row.entries) for row in board.rows)
    counts = ", ".join([f"{finished:,} finished", *(f"{n:,} {status}" for status, n in statuses.items())])
    parts = [f"<h1>{escape(name)}</h1><p class=lead>{counts}; ordered by the best {escape(board.metric)}, "
             f"{'least' if board.mode == 'min' else 'most'} first</p>"]  # fmt: skip
    if board.rows:
        parts += ["<h2>Leaderboard</h2>", _table(board), "<h2>Learning curves</h2>", _curves(board)]
        parameters = list(dict.fromkeys(k for row in board.rows for k in row.parameters))
        if parameters and len(board.rows) > 1:
            parts += ["<h2>Parameters</h2>", _panels(board, parameters), "<h2>All together</h2>",
                      _parallel(board, parameters)]  # fmt: skip
    if board.others:
        parts += ["<h2>Without a result</h2>", _others(board)]
    return (f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(name)}</title>"
            f"<style>{STYLE}</style><body>{''.join(parts)}</body></html>\n")  # fmt: skip


def _table(board: Leaderboard) -> str:
    columns = [c for c in board.columns() if not c.endswith("/rmse")]  # the root of another one
    heads = [f"best {board.metric}", "std", "95% interval", "n", *columns, "steps/s"]
    lines = [
        "<tr><th></th><th class=what>runs</th>" + "".join(f"<th>{escape(h)}</th>" for h in heads) + "</tr>"
    ]
    for rank, row in enumerate(board.rows[:ROWS], 1):
        low, high = row.interval
        scores = row.scores()
        cells = [number(row.mean), number(row.std), f"{number(low)} to {number(high)}" if low == low else "",
                 str(len(row.entries)), *(number(scores.get(c)) for c in columns), f"{row.speed:,.0f}"]  # fmt: skip
        start = (
            f"<tr{' class=first' if rank == 1 else ''}><td>{rank}</td><td class=what>{escape(row.label)}</td>"
        )
        lines.append(start + "".join(f"<td>{c}</td>" for c in cells) + "</tr>")
    if len(board.rows) > ROWS:
        lines.append(
            f"<tr class=reference><td></td><td class=what>and {len(board.rows) - ROWS:,} more</td></tr>"
        )
    for i, (name, scores) in enumerate(board.references):
        cells = ["", "", "", "", *(number(scores.get(c)) for c in columns), ""]
        kind = "reference first-reference" if i == 0 else "reference"
        lines.append(f'<tr class="{kind}"><td></td><td class=what>{escape(name)}</td>'
                     + "".join(f"<td>{c}</td>" for c in cells) + "</tr>")  # fmt: skip
    return f"<div class=wide><table>{''.join(lines)}</table></div>"


def curve(row: Row, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """A metric over the steps that all of a row's runs have: (steps (n,), values (runs, n))."""
    found = [Run(entry.folder).metrics.get(metric) for entry in row.entries]
    series = [dict(zip(s[0].tolist(), s[1].tolist(), strict=True)) for s in found if s is not None]
    if not series:
        return np.zeros(0), np.zeros((0, 0))
    shared = sorted(set.intersection(*(set(s) for s in series)))
    return np.array(shared), np.array([[s[step] for step in shared] for s in series])


def _curves(board: Leaderboard) -> str:
    drawn = [(row, *curve(row, board.metric)) for row in board.rows[:CURVES]]
    drawn = [(row, steps, values) for row, steps, values in drawn if len(steps)]
    if not drawn:
        return "<p>Nothing was validated.</p>"
    picture = plot(
        [int(s) for _, steps, _ in drawn for s in (steps[0], steps[-1])],
        [float(v) for _, _, values in drawn for v in (values.min(0).min(), values.mean(0).max())],
        1040, 400, "optimizer steps", board.metric, log_ratio=3.0,
    )  # fmt: skip
    if picture.x.log:
        picture.x = Axis(picture.x.values, picture.x.start, picture.x.end)
    top = max(picture.y.values)
    legend = []
    for (row, steps, values), colour in zip(drawn, COLOURS, strict=False):
        low, high = np.minimum(np.quantile(values, [0.1, 0.9], axis=0), top)
        if len(values) > 1:
            picture.band(steps.tolist(), low.tolist(), high.tolist(), colour)
        picture.line(list(zip(steps.tolist(), values.mean(0).tolist(), strict=True)), colour)
        legend.append(f"<li><i style='background:{colour}'></i>{escape(row.label)}</li>")
    metric = f"val/{board.metric.removeprefix('metric/').replace('loss/val', 'mse')}"
    for name, scores in board.references:
        if metric in scores and (board.metric.startswith("metric/") or name == "floor"):
            picture.level(scores[metric], name)
    note = "mean over seeds; the bands hold eight of ten" if any(len(v) > 1 for _, _, v in drawn) else ""
    return f"{picture}<ul class=legend>{''.join(legend)}</ul><p class=lead>{note}</p>"


def _panels(board: Leaderboard, parameters: Sequence[str]) -> str:
    """The best value over each parameter; a dot is a run."""
    panels = []
    for key in parameters:
        rows = [row for row in board.rows if key in row.parameters]
        values = [v for row in rows for v in row.values]
        picture = plot(
            [row.parameters[key] for row in rows], _core(values), 330, 260, key, f"best {board.metric}",
            marked=True, log_ratio=4.0,
        )  # fmt: skip
        means: dict[Any, list[float]] = {}
        for row in rows:
            at = row.parameters[key]
            means.setdefault(word(at) if picture.x.words else at, []).extend(row.values.tolist())
            for i, entry in enumerate(row.entries):
                shift = ((i * 7919) % 11 - 5) * 1.1  # so that seeds do not hide each other
                value = min(max(entry.value, min(picture.y.values)), max(picture.y.values))
                picture.dot(
                    at,
                    value,
                    COLOURS[0],
                    f"{row.label}, seed {entry.seed}: {number(entry.value)}",
                    shift=shift,
                )
        order = list(means) if picture.x.words else sorted(means)
        middle = [(at, float(np.median(means[at]))) for at in order]
        if not picture.x.words:
            picture.line(middle, COLOURS[2], 2.0)
        for at, value in middle:
            picture.dot(at, value, COLOURS[2], f"median at {word(at)}: {number(value)}", 4.5)
        panels.append(str(picture))
    return f"<div class=panels>{''.join(panels)}</div><p class=lead>blue: runs; red: their median</p>"


def _core(values: Sequence[float]) -> list[float]:
    """The values without the worst few, which would squeeze all others into a line."""
    array = np.sort(np.array(values))
    return [float(array[0]), float(np.quantile(array, 0.95) if len(array) > 20 else array[-1])]


def _parallel(board: Leaderboard, parameters: Sequence[str]) -> str:
    """Parallel coordinates: a line is a row, blue where it is good."""
    names = [*parameters, f"best {board.metric}"]
    width, height = 1040, 340
    rows = [row for row in board.rows if all(k in row.parameters for k in parameters)]
    columns = [[row.parameters[k] for row in rows] for k in parameters] + [[row.mean for row in rows]]
    if len(rows) < 2:
        return ""
    last = len(parameters)
    axes = [
        Axis.over(_core(c) if i == last else c, height - 30, 50, marked=i < last)
        for i, c in enumerate(columns)
    ]
    places = np.linspace(90, width - 90, len(names))
    parts = []
    for i in reversed(range(len(rows))):
        points = []
        for x, axis, column in zip(places, axes, columns, strict=True):
            value = column[i]
            if not axis.words:
                value = min(max(value, axis.values[0]), axis.values[1])
            points.append(f"{x:.1f},{axis.at(value):.1f}")
        colour, title = shade(i / max(1, len(rows) - 1)), f"{rows[i].label}: {number(rows[i].mean)}"
        parts.append(
            f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="1.8" '
            f'opacity="0.8"><title>{escape(title)}</title></polyline>'
        )
    for x, axis, name in zip(places, axes, names, strict=True):
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="50" y2="{height - 30}" class="axis"/>')
        parts.append(f'<text x="{x:.1f}" y="30" text-anchor="middle" class="title">{escape(name)}</text>')
        for tick in axis.ticks():
            parts.append(f'<text x="{x - 7:.1f}" y="{axis.at(tick) - 3:.1f}" text-anchor="end" class="tick">'
                         f"{escape(word(tick))}</text>")  # fmt: skip
    return svg(width, height, parts)


def _others(board: Leaderboard) -> str:
    lines = []
    for entry in board.others[:ROWS]:
        why = str(entry.record.get("why") or "").partition("\n")[0]
        cells = [entry.folder.name, str(entry.record.get("status", "")), why]
        lines.append("<tr>" + "".join(f"<td class=what>{escape(c)}</td>" for c in cells) + "</tr>")
    return f"<div class=wide><table>{''.join(lines)}</table></div>"
