"""Draws the computational graph of an unrolled recurrence as SVG: boxes of states, connected over time."""

from collections.abc import Iterable
from html import escape

import numpy as np

from rnnlab.unroll.unroll import Line, Unrolled

COLUMN, ROW = 92, 96  # pixels between steps and between layers
CELLS = 36  # the most units that a box shows


def largest(lines: Iterable[Line]) -> float:
    """The largest absolute value, which has the full colour."""
    return max([1e-12, *(float(np.abs(line.by_library).max()) for line in lines)])


def graph(unrolled: Unrolled, words: list[str]) -> str:
    """The SVG: inputs at the bottom, a row of states for each layer, outputs on top, arrows from step to step."""
    full = largest(line for lines in unrolled.steps for line in lines if line.kind == "new")
    layers = sum(line.kind == "new" for line in unrolled.steps[0])
    has_output = any(line.kind == "output" for line in unrolled.steps[0])
    top = 62 if has_output else 24
    height = top + layers * ROW + 44
    middle = [top + (layers - 1 - layer) * ROW + 26 for layer in range(layers)]
    parts = [
        '<defs><marker id="tip" viewBox="0 0 6 6" refX="5.5" refY="3" markerWidth="6" markerHeight="6" '
        'orient="auto"><path d="M0,0 L6,3 L0,6 z" fill="currentColor"/></marker></defs>'
    ]
    for t, (word, lines) in enumerate(zip(words, unrolled.steps, strict=True)):
        x, at = 60 + t * COLUMN, t + 1
        inside = [
            f'<text x="{x}" y="{height - 10}">{escape(word if len(word) < 12 else word[:10] + "...")}</text>'
        ]
        arrows = [(x, height - 26, x, middle[0] + 28)]
        states = [line.by_library for line in lines if line.kind == "new"]
        for layer, (y, state) in enumerate(zip(middle, states, strict=True)):
            inside.append(_node(x, y, state, full))
            arrows.append((x - COLUMN + 26, y, x - 28, y) if t else (x - 50, y, x - 28, y))
            if not t:
                inside.append(f'<text x="{x - 46}" y="{y - 8}" class="small">h0</text>')
            if layer + 1 < layers:
                arrows.append((x, y - 26, x, middle[layer + 1] + 28))
        if has_output:
            arrows.append((x, middle[-1] - 26, x, 26))
            inside.append(f'<text x="{x}" y="18">y{at}</text>')
        drawn = "".join(f'<line x1="{a}" y1="{b}" x2="{c}" y2="{d}" class="arrow"/>' for a, b, c, d in arrows)
        inside.append(f'<text x="{x}" y="{middle[0] + 40}" class="small" dx="20">h{at}</text>')
        parts.append(f'<g class="step">{drawn}{"".join(inside)}</g>')
    width = 60 + len(words) * COLUMN
    return f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">{"".join(parts)}</svg>'


def _node(x: float, y: float, state: np.ndarray, full: float) -> str:
    """A box with one square for each unit, from the top left."""
    shown = state[:CELLS]
    across = int(np.ceil(np.sqrt(len(shown))))
    down = -(-len(shown) // across)
    w, h = 44 / across, 44 / down
    cells = []
    for i, value in enumerate(shown):
        colour = "blue" if value < 0 else "orange"
        left, up = x - 22 + (i % across) * w, y - 22 + (i // across) * h
        cells.append(
            f'<rect x="{left:.1f}" y="{up:.1f}" width="{w:.1f}" height="{h:.1f}" '
            f'fill="var(--{colour})" fill-opacity="{abs(float(value)) / full:.3f}">'
            f"<title>{float(value):.6f}</title></rect>"
        )
    return f'<rect x="{x - 25}" y="{y - 25}" width="50" height="50" rx="5" class="box"/>{"".join(cells)}'
