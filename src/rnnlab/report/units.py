"""The hidden units of a text model on its run's page, as in LSTMVis (Strobelt et al. 2018). The reader selects a span
of text; the page lists the units that are active throughout it, and other such spans, and colours the text by the state
of a unit.

All of it runs in the page. The data come from samples/units.json, whose size is limited when it is written.
"""

import base64
import binascii
import json
from html import escape
from typing import Any

from rnnlab.regular_files import read_file
from rnnlab.runs.run import Run

MOST = 400_000  # the most states in a page

STYLE = """
#passage { max-height: 24rem; overflow: auto; cursor: text; font-size: 13px; line-height: 1.6 }
#passage span.in { outline: 1px solid var(--orange) } #passage span.like { border-bottom: 2px solid var(--good) }
.units button { font: inherit; font-size: .85rem; color: var(--ink); background: var(--card); cursor: pointer;
  border: 1px solid var(--line); border-radius: 5px; padding: .1rem .5rem; margin: 0 .3rem .3rem 0 }
.units button.now { border-color: var(--orange) } .units label { margin-right: 1.2rem; white-space: nowrap }
.units input { font: inherit; color: var(--ink); background: var(--card); vertical-align: middle }
#like button { display: block; text-align: left; font-family: ui-monospace, monospace; white-space: pre-wrap }
"""

SCRIPT = """
const data = JSON.parse(document.getElementById('units').textContent);
const bytes = new Int8Array(Uint8Array.from(atob(data.states), c => c.charCodeAt(0)).buffer);
const U = data.units.length, T = data.text.length, at = (t, u) => bytes[t * U + u] / 127;
const passage = document.getElementById('passage'), unit = document.getElementById('unit');
const level = document.getElementById('level'), on = document.getElementById('on-units');
const like = document.getElementById('like'), said = document.getElementById('picked');
let chosen = -1, span = null;
const letters = data.text.map((text, t) => { const e = document.createElement('span');
  e.textContent = text; e.dataset.t = t; passage.append(e); return e; });
const colour = u => { chosen = u;
  letters.forEach((e, t) => { const v = u < 0 ? 0 : at(t, u);
    const tone = v > 0 ? '47,95,208' : '196,80,11', depth = (0.75 * Math.abs(v)).toFixed(2);
    e.style.backgroundColor = v === 0 ? '' : `rgba(${tone},${depth})`; });
  unit.value = u < 0 ? '' : data.units[u];
  on.querySelectorAll('button').forEach(b => b.classList.toggle('now', Number(b.dataset.u) === u)); };
const throughout = (a, b) => { const found = [];  // [unit, sign, mean], those on from a to b
  for (let u = 0; u < U; u++) { let low = 1, high = -1, sum = 0;
    for (let t = a; t <= b; t++) { const v = at(t, u); low = Math.min(low, v); high = Math.max(high, v); sum += v; }
    const mean = sum / (b - a + 1), limit = Number(level.value);
    if (low >= limit) found.push([u, 1, mean]); else if (high <= -limit) found.push([u, -1, mean]); }
  return found.sort((p, q) => Math.abs(q[2]) - Math.abs(p[2])); };
const others = (units, a, b) => {  // as long, three quarters of the units on throughout; the nearest states first
  const n = b - a + 1, need = Math.max(1, Math.ceil(0.75 * units.length)), limit = Number(level.value), found = [];
  const run = units.map(() => 0), sums = new Float64Array(U), wanted = new Float64Array(U);
  for (let u = 0; u < U; u++) for (let t = a; t <= b; t++) wanted[u] += at(t, u);
  for (let t = 0; t < T; t++) {
    units.forEach(([u, sign], i) => { run[i] = sign * at(t, u) >= limit ? run[i] + 1 : 0; });
    for (let u = 0; u < U; u++) sums[u] += at(t, u) - (t >= n ? at(t - n, u) : 0);
    const from = t - n + 1;
    if (from >= 0 && (t < a || from > b) && run.filter(r => r >= n).length >= need)
      found.push([from, t, sums.reduce((sum, v, u) => sum + Math.abs(v - wanted[u]), 0)]); }
  const kept = [];
  for (const one of found.sort((p, q) => p[2] - q[2]))
    if (kept.length < 12 && kept.every(([c, d]) => one[1] < c || one[0] > d)) kept.push(one);
  return kept; };
const words = (a, b) => data.text.slice(Math.max(0, a), b).join('');
const quoted = (a, b) => `${words(a - 16, a)}[${words(a, b + 1)}]${words(b + 1, b + 17)}`;
const button = (text, act) => { const e = document.createElement('button'); e.type = 'button';
  e.textContent = text.replace(/\\n/g, '\\u21b5'); e.onclick = act; return e; };
const pick = (a, b) => { span = [a, b]; const units = throughout(a, b), found = units.length ? others(units, a, b) : [];
  letters.forEach((e, t) => { e.classList.toggle('in', t >= a && t <= b);
    e.classList.toggle('like', found.some(([c, d]) => t >= c && t <= d)); });
  said.textContent = `${b - a + 1} character${b > a ? 's' : ''}, ${units.length} of ${U} units on throughout`;
  on.replaceChildren(...units.slice(0, 40).map(([u, sign, mean]) => { const e = button(
    `${data.units[u]}: ${mean.toFixed(2)}`, () => colour(u)); e.dataset.u = u; return e; }));
  like.replaceChildren(...found.map(([c, d]) => button(quoted(c, d), () =>
    letters[c].scrollIntoView({block: 'center'}))));
  if (units.length) colour(units[0][0]); };
const place = node => Number((node.nodeType === 3 ? node.parentNode : node).dataset?.t ?? NaN);
passage.onpointerup = () => { const s = getSelection(); if (!s.rangeCount || s.isCollapsed) return;
  const ends = [place(s.anchorNode), place(s.focusNode)].sort((x, y) => x - y); s.removeAllRanges();
  if (!ends.some(isNaN)) pick(...ends); };
level.oninput = () => { document.getElementById('level-said').textContent = level.value; if (span) pick(...span); };
unit.oninput = () => colour(data.units.indexOf(Number(unit.value === '' ? NaN : unit.value)));
window.units = {pick, colour};
"""


def recorded(run: Run) -> dict[str, Any] | None:
    """The content of samples/units.json; None where there is no such file, or it is invalid."""
    file = run.samples / "units.json"
    try:
        if not file.resolve().is_relative_to(run.folder.resolve()):
            return None
        found = json.loads(read_file(file))
        text, units = [str(one) for one in found["text"]], [int(u) for u in found["units"]]
        states = base64.b64decode(str(found["states"]), validate=True)
        if not 0 < len(text) * len(units) == len(states) <= MOST:
            return None
        about = {"part": str(found["part"]), "of": int(found["of"]), "scale": float(found["scale"])}
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError, binascii.Error):
        return None
    return about | {"text": text, "units": units, "states": base64.b64encode(states).decode()}


def section(found: dict[str, Any]) -> str:
    """The HTML section, which the script above fills."""
    shown, of = len(found["units"]), found["of"]
    which = f"the {shown} liveliest of {of} units" if shown < of else f"{of} units"
    content = json.dumps(found).replace("<", "\\u003c")
    part = escape(found["part"])
    return (
        f"<h2>Hidden units</h2><div class=units><p class=note>The beginning of the {part} part, read by "
        f"the best weights: {which} of the top layer. Pick a span of the text with the mouse: it shows the units that "
        "are on throughout it, and other spans like it. Blue is positive, orange negative, full at "
        f"{found['scale']:.3g}.</p><p><label>unit <input id=unit type=number min=0 max={of - 1} size=5></label>"
        "<label>on from <input id=level type=range min=0.05 max=0.95 step=0.05 value=0.3> "
        "<span id=level-said>0.3</span> of that</label></p><pre id=passage></pre><p><b id=picked></b></p>"
        "<div id=on-units></div><p class=note>Other spans as long in which three quarters of these units are on "
        "throughout, the nearest states first:</p>"
        f"<div id=like></div></div><script type=application/json id=units>{content}</script>"
    )
