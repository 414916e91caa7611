"""Writes an unrolled recurrence as an HTML page that steps through time."""

import json
from html import escape
from typing import Any

import numpy as np

from rnnlab.errors import UserError
from rnnlab.report.style import page
from rnnlab.unroll.graph import graph, largest
from rnnlab.unroll.lesson import IS
from rnnlab.unroll.unroll import Line, Unrolled

CELLS = 24  # the most values of a quantity in the page
READ = (
    "Read the picture from left to right. A box is the output of the recurrence at a step; each of its squares is one "
    "unit, blue below 0 and orange above, in full colour at the largest value that any unit reaches. The arrow between "
    "two boxes is the state: all that the network still knows of earlier inputs. In most cells the output is the state "
    "or one of several. The inputs come from below, and on top is the output of the network."
)
BESIDES = " (The cell has more than one state; all go along the same arrows.)"
STYLE = """
.graph { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; background: var(--card) }
.graph svg { max-width: none; display: block } .graph g.step { cursor: pointer }
.graph .box { fill: var(--paper); stroke: var(--soft) } .graph g.now .box { stroke: var(--ink); stroke-width: 2.5 }
.graph .arrow { stroke: var(--soft); stroke-width: 1.4; marker-end: url(#tip) } .graph g.later { opacity: .28 }
.graph text { text-anchor: middle; fill: var(--ink) } .graph text.small { fill: var(--soft); font-size: 11px }
.bar { display: flex; gap: .6rem; align-items: center; margin: .8rem 0 .2rem }
.bar input { flex: 1; min-width: 6rem; accent-color: var(--blue) }
button { font: inherit; padding: .3rem .9rem; border-radius: 6px; border: 1px solid var(--line);
  background: var(--card); color: var(--ink); cursor: pointer }
#said { color: var(--soft) } p.where { margin: 0 0 1rem; min-height: 1.5em }
td.strip { padding: .2rem .3rem; white-space: nowrap; line-height: 19px }
td.strip i { display: inline-block; width: 13px; height: 18px; border: 1px solid var(--line); margin-right: 1px;
  vertical-align: middle; print-color-adjust: exact }
td.numbers { font-family: ui-monospace, monospace; font-size: 12.5px } tr.new td { font-weight: 600 }
#quantities td, th.left { text-align: left } #quantities small { display: block; color: var(--soft); font-weight: 400 }
#quantities td, table.steps th { padding: .22rem .5rem }
#quantities td:first-child, table.steps th:first-child { padding-left: 0 }
@media (max-width: 640px) { #quantities td:first-child { white-space: normal; min-width: 8.5rem }
  td.strip { white-space: normal; min-width: 128px } }
@media print { .bar { display: none } td.numbers { font-size: 10px } .graph g.later { opacity: 1 }
  .graph svg { max-width: 100%; height: auto } }
"""
SCRIPT = """
const data = JSON.parse(document.getElementById('data').textContent), steps = data.steps;
const find = id => document.getElementById(id);
const strip = vs => vs.slice(0, 16).map(v => `<i title="${v}"></i>`).join('');
const colour = (v, full) =>
  `color-mix(in srgb, var(--${v < 0 ? 'blue' : 'orange'}) ${(100 * Math.abs(v) / full).toFixed(1)}%, transparent)`;
const numbers = vs => vs.slice(0, 3).map(v => v.toFixed(5).padStart(9)).join(' ')
  .replace(/ /g, '\u00a0') + (vs.length > 3 ? ' \u2026' : '');
let now = 0;
function show(t) {
  now = Math.max(0, Math.min(steps.length - 1, t));
  document.querySelectorAll('g.step').forEach((g, i) => {
    g.classList.toggle('now', i === now);
    g.classList.toggle('later', i > now);
  });
  find('slider').value = now;
  const step = steps[now];
  find('where').textContent = `step ${now + 1} of ${steps.length}: the input is ${step.word}`;
  find('said').textContent = step.said;
  find('quantities').innerHTML = step.lines.map(l => `<tr class="${l.kind}">` +
    `<td><span></span><small></small></td><td class="strip">${strip(l.model)}</td>` +
    `<td class="numbers">${numbers(l.hand)}</td><td class="numbers">${numbers(l.model)}</td>` +
    `<td>${l.off.toExponential(0)}</td></tr>`).join('');
  document.querySelectorAll('#quantities tr').forEach((tr, i) => {
    tr.querySelector('span').textContent = step.lines[i].formula;
    tr.querySelector('small').textContent = step.lines[i].about;
    tr.querySelectorAll('i').forEach((e, k) => e.style.background = colour(step.lines[i].model[k], data.full[i]));
  });
  const box = document.querySelectorAll('g.step')[now].getBoundingClientRect();
  const frame = document.querySelector('.graph');
  const edge = frame.getBoundingClientRect();
  if (box.left < edge.left || box.right > edge.right) frame.scrollLeft += box.left - edge.left - 40;
}
find('slider').oninput = e => show(+e.target.value);
find('back').onclick = () => show(now - 1);
find('on').onclick = () => show(now + 1);
document.querySelectorAll('g.step').forEach((g, i) => g.onclick = () => show(i));
document.onkeydown = e => {
  if (e.target.id === 'slider') return;
  if (e.key === 'ArrowRight') show(now + 1);
  if (e.key === 'ArrowLeft') show(now - 1);
};
show(0);
"""


def unroll_page(unrolled: Unrolled) -> str:
    """The HTML page: the computational graph over time, and for each step all quantities by hand and by the model.

    Raises UserError where a quantity is not finite.
    """
    for t, lines in enumerate(unrolled.steps, 1):
        for line in lines:
            if not (np.isfinite(line.by_hand).all() and np.isfinite(line.by_library).all()):
                what = line.formula.strip().partition(" = ")[0]
                raise UserError(
                    f"unroll: {what} is not finite at step {t}; the page is written of finite numbers only"
                )
    example = unrolled.example
    worst = unrolled.largest_difference
    words = [_word(unrolled, t) for t in range(len(unrolled.steps))]
    body = [
        "<h1>A recurrence, step by step</h1>",
        f"<p class=lead>{escape(example.title)}</p>",
        f"<p>{escape(IS)}. {escape(example.cell.how)} The same weights serve at every step: "
        f"{escape(example.drawn)}.</p>",
        f"<pre>{escape(example.cell.equations)}</pre>",
        "<p class=note>x is the input, h the state before a step, and h' the one after it.</p>",
        f"<p>{escape(READ)}{BESIDES * (example.cell.states > 1)}</p>",
        f"<div class=graph>{graph(unrolled, words)}</div>",
        '<div class=bar><button id=back aria-label="one step back">&larr;</button>'
        f'<input type=range id=slider min=0 max={len(words) - 1} value=0 aria-label="step">'
        '<button id=on aria-label="one step on">&rarr;</button></div>',
        "<p class=where><b id=where></b> <span id=said></span></p>",
        "<div class=wide><table class=steps><thead><tr><th>quantity</th><th class=left>as colours</th>"
        "<th class=left>by hand</th><th class=left>by the model</th><th class=left>off by</th></tr></thead>"
        "<tbody id=quantities></tbody></table></div>",
        f"<p class=note>Largest difference over all steps: {worst:.1e}. By hand in float64, the model in float32 "
        f"(about 7 digits). {escape(example.note)}</p>",
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
    said = unrolled.said or [""] * len(words)
    steps = [
        {"word": word, "said": meant, "lines": [_line(line) for line in lines]}
        for word, meant, lines in zip(words, said, unrolled.steps, strict=True)
    ]
    # the value with the full colour: 1 for a gate, for another quantity its largest absolute value over all steps
    full = [1.0 if of[0].kind == "gate" else largest(of) for of in zip(*unrolled.steps, strict=True)]
    # in HTML, </ ends a script and <!-- changes how it is read, even inside a JSON text
    return json.dumps({"steps": steps, "full": full}).replace("<", "\\u003c")


def _line(line: Line) -> dict[str, Any]:
    formula, _, about = line.formula.strip().partition(": how")
    return {
        "kind": line.kind,
        "formula": formula,
        "about": about and f"how{about}",
        "hand": [round(float(v), 7) for v in line.by_hand[:CELLS]],
        "model": [round(float(v), 7) for v in line.by_library[:CELLS]],
        "off": float(np.abs(line.by_hand - line.by_library).max()),
    }


def _parameters(unrolled: Unrolled) -> str:
    rows = [
        f"<tr><td>{escape(name)}</td><td>{' x '.join(map(str, value.shape))}</td><td>{value.size:,}</td></tr>"
        for name, value in unrolled.parameters.items()
    ]
    total = sum(value.size for value in unrolled.parameters.values())
    rows.append(f"<tr class=first><td>in all</td><td></td><td>{total:,}</td></tr>")
    heads = "<tr><th>parameter</th><th>shape</th><th>numbers</th></tr>"
    return f"<div class=wide><table><thead>{heads}</thead><tbody>{''.join(rows)}</tbody></table></div>"
