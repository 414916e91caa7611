"""An unrolled recurrence as a page that steps through time."""

import json
from html import escape
from typing import Any

import numpy as np

from rnnlab.inspection.look import page
from rnnlab.inspection.unroll import Unrolled

COLUMN, ROW, CELLS = 92, 96, 24  # pixels between steps and between layers; units that a node shows
EQUATIONS = {
    "elman": "h\N{SUBSCRIPT ZERO} = 0,   h = f(W_ih x + b_ih + W_hh h' + b_hh)",
    "gru": "r, z = sigmoid(...),   n = tanh(W_in x + b_in + r (W_hn h' + b_hn)),   h = (1 - z) n + z h'",
    "lstm": "i, f, o = sigmoid(...),   g = tanh(...),   c = f c' + i g,   h = o tanh(c)",
}
STYLE = """
.graph { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; background: var(--card) }
.graph svg { max-width: none; display: block } .graph g.step { cursor: pointer }
.graph .box { fill: var(--paper); stroke: var(--soft) } .graph g.now .box { stroke: var(--orange); stroke-width: 2.5 }
.graph .arrow { stroke: var(--soft); stroke-width: 1.4; marker-end: url(#tip) } .graph g.later { opacity: .28 }
.graph text { text-anchor: middle; fill: var(--ink) } .graph text.small { fill: var(--soft); font-size: 11px }
.bar { display: flex; gap: .6rem; align-items: center; margin: .8rem 0; flex-wrap: wrap }
.bar input { flex: 1; min-width: 8rem }
button { font: inherit; padding: .3rem .9rem; border-radius: 6px; border: 1px solid var(--line);
  background: var(--card); color: var(--ink); cursor: pointer }
td.strip { padding: .2rem .3rem; white-space: nowrap }
td.strip i { display: inline-block; width: 13px; height: 18px; border: 1px solid var(--line); margin-right: 1px;
  vertical-align: middle }
td.numbers { font-family: ui-monospace, monospace; font-size: 12.5px } tr.new td { font-weight: 600 }
#quantities td, th.left { text-align: left }
"""
SCRIPT = """
const data = JSON.parse(document.getElementById('data').textContent), steps = data.steps;
const colour = v => `rgba(${v < 0 ? '47,95,208' : '214,96,20'},${Math.min(1, Math.abs(v)).toFixed(3)})`;
const strip = vs => vs.slice(0, 16).map(v => `<i style="background:${colour(v)}" title="${v}"></i>`).join('');
const numbers = vs => vs.slice(0, 3).map(v => v.toFixed(5).padStart(9)).join(' ')
  .replace(/ /g, '\\u00a0') + (vs.length > 3 ? ' \\u2026' : '');
let now = 0;
function show(t) {
  now = Math.max(0, Math.min(steps.length - 1, t));
  document.querySelectorAll('g.step').forEach((g, i) => {
    g.classList.toggle('now', i === now);
    g.classList.toggle('later', i > now);
  });
  document.getElementById('slider').value = now;
  const step = steps[now];
  document.getElementById('where').textContent = `step ${now + 1} of ${steps.length}: the input is ${step.word}`;
  document.getElementById('quantities').innerHTML = step.lines.map(l => `<tr class="${l.kind}"><td></td>` +
    `<td class="strip">${strip(l.model)}</td><td class="numbers">${numbers(l.hand)}</td>` +
    `<td class="numbers">${numbers(l.model)}</td><td>${l.off.toExponential(0)}</td></tr>`).join('');
  document.querySelectorAll('#quantities tr').forEach((tr, i) => tr.firstChild.textContent = step.lines[i].formula);
  const box = document.querySelectorAll('g.step')[now].getBoundingClientRect();
  const frame = document.querySelector('.graph');
  const edge = frame.getBoundingClientRect();
  if (box.left < edge.left || box.right > edge.right) frame.scrollLeft += box.left - edge.left - 40;
}
document.getElementById('slider').oninput = e => show(+e.target.value);
document.getElementById('back').onclick = () => show(now - 1);
document.getElementById('on').onclick = () => show(now + 1);
document.querySelectorAll('g.step').forEach((g, i) => g.onclick = () => show(i));
document.onkeydown = e => {
  if (e.target.id === 'slider') return;
  if (e.key === 'ArrowRight') show(now + 1);
  if (e.key === 'ArrowLeft') show(now - 1);
};
show(0);
"""


def unroll_page(unrolled: Unrolled) -> str:
    """The computational graph over time, and at each step every quantity by hand and by the model."""
    example = unrolled.example
    worst = unrolled.largest_difference
    words = [_word(unrolled, t) for t in range(len(unrolled.steps))]
    body = [
        "<h1>A recurrence, step by step</h1>",
        f"<p class=lead>{escape(example.title)}</p>",
        "<p>The hidden state <b>h</b> is all that the network remembers. At each step the input and the old state "
        "are weighed and joined into the new state, with the same weights at every step: "
        f"{escape(example.drawn)}. Blue is below 0, orange above.</p>",
        f"<p><code>{escape(EQUATIONS[example.cell])}</code></p>",
        f"<div class=graph>{_graph(unrolled, words)}</div>",
        '<div class=bar><button id=back aria-label="one step back">&larr;</button>'
        f'<input type=range id=slider min=0 max={len(words) - 1} value=0 aria-label="step">'
        '<button id=on aria-label="one step on">&rarr;</button><b id=where></b></div>',
        "<div class=wide><table><thead><tr><th>quantity</th><th class=left>as colours</th><th class=left>by hand</th>"
        "<th class=left>by the model</th><th class=left>off by</th></tr></thead>"
        "<tbody id=quantities></tbody></table></div>",
        f"<p class=note>Largest difference over all steps: {worst:.1e}. By hand in float64, the model in float32 "
        "(about 7 digits).</p>",
        "<h2>Parameters</h2>",
        _parameters(unrolled),
        f'<script type="application/json" id="data">{_data(unrolled, words)}</script>',
    ]
    return page(f"unrolled: {example.title}", "".join(body), STYLE, SCRIPT)


def _word(unrolled: Unrolled, t: int) -> str:
    example = unrolled.example
    if example.words:
        return repr(example.words[t]) if len(example.words[t]) == 1 else example.words[t]
    return "[" + " ".join(f"{v:g}" for v in example.x[t]) + "]"


def _data(unrolled: Unrolled, words: list[str]) -> str:
    steps = [
        {"word": word, "lines": [_line(line) for line in lines]}
        for word, lines in zip(words, unrolled.steps, strict=True)
    ]
    # a script ends at the first </, whatever it stands in
    return json.dumps({"steps": steps}).replace("</", "<\\/")


def _line(line: Any) -> dict[str, Any]:
    return {
        "kind": line.kind,
        "formula": line.formula.strip(),
        "hand": [round(float(v), 7) for v in line.by_hand[:CELLS]],
        "model": [round(float(v), 7) for v in line.by_library[:CELLS]],
        "off": float(np.abs(line.by_hand - line.by_library).max()),
    }


def _graph(unrolled: Unrolled, words: list[str]) -> str:
    """Inputs at the bottom, a row of states for each layer, outputs on top, arrows from step to step."""
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
            inside.append(_node(x, y, state))
            arrows.append((x - COLUMN + 26, y, x - 28, y) if t else (x - 54, y, x - 28, y))
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


def _node(x: float, y: float, state: np.ndarray) -> str:
    """A box whose cells are the units, from the top left."""
    shown = state[:CELLS]
    across = int(np.ceil(np.sqrt(len(shown))))
    down = -(-len(shown) // across)
    w, h = 44 / across, 44 / down
    cells = []
    for i, value in enumerate(shown):
        colour = "47,95,208" if value < 0 else "214,96,20"
        left, up = x - 22 + (i % across) * w, y - 22 + (i // across) * h
        cells.append(
            f'<rect x="{left:.1f}" y="{up:.1f}" width="{w:.1f}" height="{h:.1f}" '
            f'fill="rgba({colour},{min(1.0, abs(float(value))):.3f})"><title>{float(value):.6f}</title></rect>'
        )
    return f'<rect x="{x - 25}" y="{y - 25}" width="50" height="50" rx="5" class="box"/>{"".join(cells)}'


def _parameters(unrolled: Unrolled) -> str:
    rows = [
        f"<tr><td>{escape(name)}</td><td>{' x '.join(map(str, value.shape))}</td><td>{value.size:,}</td></tr>"
        for name, value in unrolled.parameters.items()
    ]
    total = sum(value.size for value in unrolled.parameters.values())
    rows.append(f"<tr class=first><td>in all</td><td></td><td>{total:,}</td></tr>")
    heads = "<tr><th>parameter</th><th>shape</th><th>numbers</th></tr>"
    return f"<div class=wide><table><thead>{heads}</thead><tbody>{''.join(rows)}</tbody></table></div>"
