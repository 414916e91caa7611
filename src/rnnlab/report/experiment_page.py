"""The report of an experiment as one self-contained HTML page, with links to the pages of its runs."""

import math
from collections import Counter
from collections.abc import Sequence
from html import escape

from rnnlab.report import parameters
from rnnlab.report.curves import board_curves
from rnnlab.report.entry import Entry
from rnnlab.report.failures import reasons
from rnnlab.report.leaderboard import Leaderboard
from rnnlab.report.numbers import between, cell, number
from rnnlab.report.parameters import Link
from rnnlab.report.search import section
from rnnlab.report.style import page as whole_page
from rnnlab.runs.trials import Journal

ROWS, RUNS = 1000, 5000  # the most lines of the two tables
SHOWN, ON_A_PHONE = 50, 20  # lines of a folded table; the style sheet repeats these numbers
PRINTED = 60  # with more runs, their table is left out on paper
PARAMETERS = 8  # the most parameters that are plotted
INTERVALS = (
    "An interval is Student's t of the typical run over seeds (of a backtest over its origins), taken on the logarithm "
    "of a loss or an error and on the logit of an accuracy; a single run has none."
)

STYLE = """
body { max-width: 1400px } th, td { padding: .28rem .55rem }
div.panels { grid-template-columns: repeat(auto-fit, minmax(min(100%, 340px), 1fr)) }
.desk { display: block } .phone { display: none }
.curves { display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; align-items: center }
.curves > div:last-child { flex: 1 1 230px }
ul.legend { list-style: none; padding: 0; margin: 0; font-size: .87rem; line-height: 1.9 }
ul.legend li { overflow-wrap: anywhere; padding-left: 26px; text-indent: -26px }
ul.legend i { display: inline-block; width: 18px;
  border-width: 3px 0 0; border-style: solid; margin-right: 8px; vertical-align: middle }
table.sorted th { cursor: pointer } table.sorted th:hover { color: var(--blue) }
th[aria-sort=ascending]::after { content: " \\2191" } th[aria-sort=descending]::after { content: " \\2193" }
td.what, th.what { text-align: left; min-width: 10rem } tr.line td { border-top: 1px solid var(--line) }
div.reason { margin: 0 0 1rem } div.reason ul { margin: .3rem 0; padding-left: 1.2rem; font-size: .9rem }
.table:not(:has(input.all:checked)) tbody tr:nth-child(n+51 of :not([hidden])) { display: none }
.table label { color: var(--blue); cursor: pointer; font-size: .9rem; margin-left: .8rem; white-space: nowrap }
.table label.few { display: none } .table label input { margin: 0 .4rem 0 0; vertical-align: -1px }
input[type=search] { font: inherit; width: min(100%, 22rem); padding: .35rem .7rem; margin: 0 0 .6rem;
  color: var(--ink); background: var(--card); border: 1px solid var(--line); border-radius: 6px }
.wide svg { max-width: none }
@media (max-width: 640px) { .desk { display: none } .phone { display: block }
  td.what, th.what { white-space: normal; min-width: 8rem; max-width: 44vw; position: sticky; left: 0;
    background: var(--paper); overflow-wrap: break-word; padding-right: .4rem }
  .table:not(:has(input.all:checked)) tbody tr:nth-child(n+21 of :not([hidden])) { display: none }
  .table table { font-size: 13px } .table label, .table label.few { display: block; margin: 0 0 .5rem } }
@media print { input[type=search], .table label, .many { display: none }
  table { font-size: 9px } th, td { padding: .15rem .35rem }
  td.what { white-space: normal } .desk { display: block } .phone { display: none } .wide svg { max-width: 100% }
  div.panels { grid-template-columns: 1fr 1fr } .curves, .panels > div { break-inside: avoid }
  ul.legend { columns: 2; line-height: 1.5 } }
"""

SCRIPT = """
const value = (row, i) => { const text = row.cells[i].textContent, n = parseFloat(text.replace(/,/g, ''));
  return isNaN(n) ? text : n; };
document.querySelectorAll('table.sorted').forEach(table => {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, i) => head.onclick = () => {
    const up = head.getAttribute('aria-sort') !== 'ascending', rows = [...body.rows];
    heads.forEach(h => h.removeAttribute('aria-sort'));
    head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
    const order = (a, b) => { const [x, y] = [value(a, i), value(b, i)];
      if (x === '' || y === '') return (x === '') - (y === '');
      return (up ? 1 : -1) * (typeof x === typeof y ? (x < y ? -1 : x > y ? 1 : 0) : typeof x === 'number' ? -1 : 1); };
    body.append(...rows.sort(order));
  });
});
document.querySelectorAll('input[type=search]').forEach(box => box.oninput = () => {
  const words = box.value.toLowerCase().split(/\\s+/);
  for (const row of document.getElementById(box.dataset.of).tBodies[0].rows)
    row.hidden = !words.every(word => row.textContent.toLowerCase().includes(word));
});
if (innerWidth < 640) document.querySelectorAll('details.folds').forEach(one => one.open = false);
"""


def page(
    name: str, board: Leaderboard, link: Link = lambda entry: None, journal: Journal | None = None
) -> str:
    """The HTML of an experiment's leaderboard, curves, parameters and runs. `link` gives the address of a run's page;
    `journal` is the journal of a search.
    """
    statuses = Counter(e.record.get("status", "?") for e in board.others)
    scored = Counter(str(e.record.get("status")) for row in board.rows for e in row.entries)
    counted = Counter({"finished": 0})
    counted.update(scored + statuses)
    counts = ", ".join(f"{n:,} {status}" for status, n in counted.items())
    apart = ", each data set or target by itself" if board.groups > 1 else ""
    order = f"ordered by the {board.head}, {'least' if board.mode == 'min' else 'greatest'} first{apart}"
    order = order if board.compares else "in no order: they do not compare"
    parts = [f"<h1>{escape(name)}</h1><p class=lead>{escape(counts)}; {escape(order)}</p>"]
    if board.rows:
        parts += [f"<p><b>{escape(note)}</b></p>" for note in board.notes]
        parts += ["<h2>Leaderboard</h2>", _table(board, link)]
        if any(len(row.entries) > 1 for row in board.rows):
            parts.append(f"<p class=note>{INTERVALS}</p>")
        parts += ["<h2>Learning curves</h2>", board_curves(board)]
        swept = list(dict.fromkeys(k for row in board.rows for k in row.parameters))[:PARAMETERS]
        if board.groups > 1:  # a median over several data sets has no meaning
            swept = [k for k in swept if _alone(board, k)]
        if swept and len(board.rows) > 1 and _compared(board):
            parts += ["<h2>Parameters</h2>", parameters.panels(board, swept, link)]
            if board.groups == 1 and (together := parameters.parallel(board, swept)):
                parts.append(together)
    parts.append(section(journal, board.metric, board.mode) if journal is not None else "")
    parts.append(_reasons(board, link))
    parts += ["<section class=many>" if scored.total() + len(board.others) > PRINTED else "<section>",
              "<h2>Runs</h2>", _runs(board, link), "</section>"]  # fmt: skip
    return whole_page(name, "".join(parts), STYLE, SCRIPT)


def _compared(board: Leaderboard) -> bool:
    """Whether all rows have the same metric and the same kind of data."""
    return (
        board.compares
        and not {key for row in board.rows for key in row.parameters} & {"data", "model"}
        and all(math.isfinite(row.mean) for row in board.rows)
    )


def _alone(board: Leaderboard, key: str) -> bool:
    """Whether rows with the same value of a parameter were all scored on the same targets."""
    groups: dict[str, set[int]] = {}
    for row in board.rows:
        groups.setdefault(repr(row.parameters.get(key)), set()).add(row.group)
    return all(len(found) == 1 for found in groups.values())


def _table(board: Leaderboard, link: Link) -> str:
    columns = [c for c in board.columns() if not c.endswith("/rmse")]  # the root of the mse column
    beside = board.beside()
    heads = ["", "configuration", board.head, "std", "95% interval", "n", *beside, *columns, "steps/s"]
    lines: list[str] = []
    for i, row in enumerate(board.rows[:ROWS]):
        scores = row.scores()
        best = board.rank_entries(row.entries)[0]
        cells = [number(row.mean), number(row.std), between(row),
                 row.count, *(escape(cell(values[i])) for values in beside.values()),
                 *(number(scores.get(c)) for c in columns), f"{row.speed:,.0f}"]  # fmt: skip
        begins = "line " if lines and row.group != board.rows[i - 1].group else ""
        style = begins + ("first" if row.rank == 1 else "")
        lines.append(_line([str(row.rank or ""), _linked(row.label, link(best)), *cells], style))
    below = [
        _line(["", escape(name), "", "", "", "", *(number(scores.get(c)) for c in columns), ""],
              "aside line" if i == 0 else "aside")
        for i, (name, scores) in enumerate(board.references)
    ]  # fmt: skip
    if len(board.rows) > ROWS:
        below.insert(
            0, _line(["", f"and {len(board.rows) - ROWS:,} more", *[""] * (len(heads) - 2)], "aside")
        )
    return _sorted("rows", heads, lines, below)


def _runs(board: Leaderboard, link: Link) -> str:
    """The table of all runs, including those without a result."""
    named: list[tuple[str, str, Entry]] = []
    origins = {folder: origin for row in board.rows for folder, origin in row.origins.items()}
    labels = {e.folder: f"{row.label} origin={origins[e.folder]}" if row.origins else row.label
              for row in board.rows for e in row.entries}  # fmt: skip
    for group in dict.fromkeys(row.group for row in board.rows):  # numbered within each group
        its = board.rank_entries([e for row in board.rows if row.group == group for e in row.entries])
        apart = not board.compares
        named += [("" if apart or entry.folder in origins else str(i), labels[entry.folder], entry)
                  for i, entry in enumerate(its, 1)]  # fmt: skip
    named += [("", board.labels.get(entry.folder, entry.folder.name), entry) for entry in board.others]
    heads = ["", "run", "seed", board.head, "at step", "seconds", "status"]
    lines = []
    for place, label, entry in named[:RUNS]:
        record = entry.record
        best = record.get("results", {}).get("best", {})
        seconds = record.get("seconds")
        cells = [place, _linked(label, link(entry)), escape(entry.seed), number(board.value(entry)),
                 f"{best['step']:,}" if "step" in best else "", f"{seconds:,.2f}" if seconds else "",
                 escape(str(record.get("status", "?")))]  # fmt: skip
        lines.append(_line(cells))
    said = f"<p class=note>The first {RUNS:,} of {len(named):,}.</p>" if len(named) > RUNS else ""
    return _sorted("runs", heads, lines, []) + said


def _reasons(board: Leaderboard, link: Link) -> str:
    """Why runs have no result: each reason once, with its runs, folded where they are many."""
    parts = []
    for reason in reasons(board):
        lines = []
        for label, entries in reason.configurations.items():
            seeds = ", ".join(_linked(entry.seed or "run", link(entry)) for entry in entries)
            lines.append(f"<li>{escape(label)}, seed{'s' * (len(entries) > 1)} {seeds}</li>")
        count, which = len(reason.configurations), "".join(lines)
        listed = f"<ul>{which}</ul>"
        if count > 4:
            listed = f"<details><summary>{count:,} configurations</summary>{listed}</details>"
        said = f"<b>{escape(reason.counted)}</b>{': ' if reason.why else ''}{escape(reason.why)}"
        parts.append(f"<div class=reason>{said}{listed}</div>")
    return "<h2>Without a result</h2>" + "".join(parts) if parts else ""


def _linked(text: str, to: str | None) -> str:
    return f'<a href="{escape(to)}">{escape(text)}</a>' if to else escape(text)


def _line(cells: Sequence[str], kind: str = "") -> str:
    first, what, *rest = cells
    name = f' class="{kind}"' if kind else ""
    numbers = "".join(f"<td>{c}</td>" for c in rest)
    return f"<tr{name}><td>{first}</td><td class=what>{what}</td>{numbers}</tr>"


def _sorted(name: str, heads: Sequence[str], lines: Sequence[str], below: Sequence[str]) -> str:
    """A table that is sorted by a click on a column's head. A long table can be searched, and is folded. The lines
    `below` always stay at the end.
    """
    box = f'<input type=search data-of={name} placeholder="search" aria-label="search these {name}">'
    few = "" if len(lines) > SHOWN else " class=few"
    every = f"<label{few}><input type=checkbox class=all>show all {len(lines):,}</label>"
    titles = "".join(f"<th{' class=what' if i == 1 else ''}>{escape(h)}</th>" for i, h in enumerate(heads))
    return (
        f"<div class=table>{box if len(lines) > 12 else ''}{every if len(lines) > ON_A_PHONE else ''}"
        f"<div class=wide><table class=sorted id={name}><thead><tr>{titles}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody><tfoot>{''.join(below)}</tfoot></table></div></div>"
    )
