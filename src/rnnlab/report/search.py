"""The report of a search: the best value so far, how far trials ran before they were pruned, which keys mattered."""

from collections import Counter
from collections.abc import Sequence
from html import escape

from rich.table import Table

from rnnlab.errors import counted
from rnnlab.report.numbers import number
from rnnlab.report.svg import COLOURS, plot
from rnnlab.runs.trials import Journal, pareto_front

PANEL = (440, 280)
FAINT = "var(--soft)"


def section(journal: Journal, metric: str, mode: str) -> str:
    """The HTML section; "" where no trial has ended with a value."""
    ended = [trial for trial in journal.trials if trial.get("value") is not None]
    if not ended:
        return ""
    counts = Counter(trial.get("state", "under way") for trial in journal.trials)
    said = ", ".join(f"{n:,} {state}" for state, n in counts.items())
    front = pareto_front(journal.trials, mode)
    panels = [_history(ended, metric, mode), _lengths(ended), _pareto(journal.trials, front)]
    of_front = (
        " Over two objectives the blue dots are the Pareto front, the grey ones all others." if front else ""
    )
    parts = [f"<h2>Search</h2><p>{counted(len(journal.trials), 'trial')}: {escape(said)}</p>",
             f"<div class=panels>{''.join(f'<div>{panel}</div>' for panel in panels if panel)}</div>",
             "<p class=note>A blue dot is a trial that was trained to its end, a grey one a trial that was pruned, at "
             f"its best value until then; the line is the best of the complete ones so far.{of_front}</p>"]  # fmt: skip
    if front:
        parts.append(_front_table(front))
    if journal.importance:
        parts.append(_importance(journal.importance))
    return "".join(parts)


def _history(ended: list[dict], metric: str, mode: str) -> str:
    values = sorted(trial["value"] for trial in ended)
    most = int(0.8 * (len(values) - 1))  # the axis leaves out the worst fifth, which may be far away
    low, high = (values[0], values[most]) if mode == "min" else (values[-1 - most], values[-1])
    picture = plot([trial["number"] for trial in ended], [low, high], PANEL, "trial", f"best {metric}",
                   log_x=False, log_ratio=4.0)  # fmt: skip
    for state, colour in (("pruned", FAINT), ("complete", COLOURS[0])):
        for trial in (t for t in ended if t["state"] == state):
            params = ", ".join(f"{k}={_short(v)}" for k, v in trial["params"].items())
            how = f"{state} at step {trial['steps']:,}"
            title = f"trial {trial['number']}, {params}: {number(trial['value'])}, {how}"
            picture.mark(trial["number"], trial["value"], colour, title)
    line: list[tuple[int, float]] = []
    for trial in (t for t in ended if t["state"] == "complete"):
        best = line[-1][1] if line else trial["value"]
        line.append((trial["number"], best))
        line.append(
            (trial["number"], min(best, trial["value"]) if mode == "min" else max(best, trial["value"]))
        )
    if len(line) > 1:
        picture.line([(x, picture.y.within(y)) for x, y in line], COLOURS[1], 2.0)
    return str(picture)


def _lengths(ended: list[dict]) -> str:
    """A plot of how many trials reached a step; it falls at the rungs."""
    reached = sorted(trial["steps"] for trial in ended)
    if reached[0] == reached[-1]:
        return ""
    stair: list[tuple[int, int]] = [(0, len(reached))]
    for step in sorted(set(reached)):
        before, after = (sum(r >= step for r in reached), sum(r > step for r in reached))
        stair += [(step, before), (step, after)]
    picture = plot([0, reached[-1]], [0, len(reached)], PANEL, "optimizer step", "trials that reached it",
                   log_x=False, log_ratio=1e9)  # fmt: skip
    picture.line(stair, COLOURS[0])
    return str(picture)


def front_rows(front: Sequence[dict]) -> tuple[list[str], list[list[str]]]:
    """Column heads and rows of the Pareto front: the objectives, and the values of the space's keys."""
    objectives = list(front[0]["values"])
    keys = [key for key in front[0]["params"] if len({str(trial["params"].get(key)) for trial in front}) > 1]
    rows = [[str(trial["number"]), *(number(trial["values"][name]) for name in objectives),
             " ".join(f"{key.rpartition('.')[2]}={_short(trial['params'].get(key))}" for key in keys)]
            for trial in front]  # fmt: skip
    return ["trial", *objectives, ""], rows


def pareto_table(front: Sequence[dict], limit: int = 20) -> Table:
    """The Pareto front as a table for the terminal."""
    heads, rows = front_rows(front)
    page = Table(box=None, header_style="bold", padding=(0, 2, 0, 0), pad_edge=False, title="Pareto front",
                 title_justify="left", title_style="bold")  # fmt: skip
    for head in heads:
        page.add_column(head, justify="right" if head else "left", no_wrap=bool(head))
    for row in rows[:limit]:
        page.add_row(*row)
    if len(rows) > limit:
        page.add_row("", f"... and {len(rows) - limit} more", style="dim")
    return page


def _front_table(front: Sequence[dict]) -> str:
    heads, rows = front_rows(front)
    lines = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return (f"<h3>Pareto front</h3><table><thead><tr>{''.join(f'<th>{escape(h)}</th>' for h in heads)}</tr></thead>"
            f"<tbody>{lines}</tbody></table><p class=note>No other trial is better in one objective without being "
            "worse in another: the blue dots above, where it is drawn over the first two.</p>")  # fmt: skip


def _pareto(trials: Sequence[dict], front: Sequence[dict]) -> str:
    """A plot of trials over their first two objectives, with the front; "" where there is one objective."""
    if not front:
        return ""
    y, x = list(front[0]["values"])[:2]
    scored = [trial for trial in trials if {x, y} <= trial.get("values", {}).keys()]
    ys = sorted(trial["values"][y] for trial in scored)
    picture = plot([trial["values"][x] for trial in scored], [ys[0], ys[-1]], PANEL, x, y, log_ratio=4.0)
    for trial in scored:
        title = f"trial {trial['number']}: {y} {number(trial['values'][y])}, {x} {number(trial['values'][x])}"
        picture.mark(trial["values"][x], trial["values"][y], COLOURS[0] if trial in front else FAINT, title)
    if len(front[0]["values"]) == 2:
        picture.line([(trial["values"][x], trial["values"][y]) for trial in front], COLOURS[1], 2.0)
    return str(picture)


def _importance(shares: dict[str, float]) -> str:
    most = max(max(shares.values()), 1e-9)
    rows = "".join(
        f'<tr><td>{escape(key)}</td><td>{share:.0%}</td><td style="text-align: left"><svg width=160 height=10>'
        f'<rect width="{160 * max(share, 0) / most:.0f}" height="10" fill="{COLOURS[0]}"/></svg></td></tr>'
        for key, share in sorted(shares.items(), key=lambda one: -one[1])
    )
    return ("<table><thead><tr><th>key</th><th>share</th><th></th></tr></thead><tbody>" + rows + "</tbody></table>"
            "<p class=note>How much of what tells good trials from others lies in each key (PED-ANOVA, Watanabe, "
            "Bansal and Hutter 2023).</p>")  # fmt: skip


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value).rpartition("=")[2]
