"""The scores of a run as a table: columns are the metrics of each part, lines are best, last, baselines and floor."""

import os
import re
import sys

from rich.console import Group
from rich.table import Table
from rich.text import Text

from rnnlab.runs.record import Results, Scored
from rnnlab.runs.run import Run
from rnnlab.terminal.console import Console
from rnnlab.terminal.screen import one_line

# files and pipes have no width, but tables need one
sized = (sys.stdout is not None and sys.stdout.isatty()) or os.environ.get("COLUMNS", "").isdigit()
console = Console(width=None if sized else 110)

PARTS = {"train": "training", "val": "validation", "test": "test"}
Row = tuple[str, dict[str, dict[str, float]], str]  # title, {part: {metric: value}}, style


def results_table(run: Run) -> Table | Group:
    metrics, rows = score_rows(run.results)
    measured = {part for _, scores, style in rows if style != "dim" for part in scores if scores[part]}
    return score_table({title: part for part, title in PARTS.items() if part in measured}, metrics, rows)


def score_rows(results: Results) -> tuple[list[str], list[Row]]:
    """The metrics in a run's results, and the rows of their table: best, last, baselines, floor."""
    best, last = results.get("best"), results.get("last")
    if is_plain(results):
        return plain_rows(results)
    scored = {"train": results.get("train", {}), "test": results.get("test", {})}
    scores = {part: {k: v for k, v in found.items() if k != "loss"} for part, found in scored.items()}
    rows: list[Row] = []
    if best and "value" not in best:
        rows.append((f"last, step {best['step']:,}", scores | {"val": metrics_of(best)}, "bold"))
        last = None
    elif best:
        rows.append((f"best, step {best['step']:,}", scores | {"val": metrics_of(best)}, "bold"))
    else:  # no step was taken
        rows.append(("untrained", scores, "bold"))
    if last:
        rows.append((f"last, step {last['step']:,}", {"val": metrics_of(last)}, ""))
    baselines, floor = results.get("baselines", {}), results.get("floor", {})
    for name in dict.fromkeys(name for found in baselines.values() for name in found):
        rows.append((name, {part: found.get(name, {}) for part, found in baselines.items()}, "dim"))
    if any(floor.values()):
        rows.append(("floor", floor, "dim"))
    return list((best and metrics_of(best)) or scores["train"] or scores["test"]), rows


def is_plain(results: Results) -> bool:
    """Whether the results come from a user-defined module, which may use any names of metrics."""
    measured = results.get("best", {}).get("metrics", {}) | results.get("last", {}).get("metrics", {})
    ours = results.get("train", {}) | results.get("test", {})
    return not any(name.startswith("metric/") for name in measured) and (bool(measured) or len(ours) < 2)


def plain_rows(results: Results) -> tuple[list[str], list[Row]]:
    best, last = results.get("best", {}), results.get("last", {})
    rows: list[Row] = []
    first = "best" if "value" in best else "last"  # nothing was validated: these are the last weights
    for word, at, more in ((first, best, results.get("test", {})), ("last", last, {})):
        if at:
            scores = by_part(at.get("metrics", {}), "val")
            for part, found in by_part(more, "test").items():
                scores[part] = scores.get(part, {}) | found
            rows.append((f"{word}, step {at['step']:,}", scores, "bold" if at is best else ""))
    names = [name for _, scores, _ in rows for found in scores.values() for name in found]
    return list(dict.fromkeys(names)), rows


def by_part(metrics: dict[str, float], otherwise: str) -> dict[str, dict[str, float]]:
    """{part: metrics} by the part in a metric's name: loss/val, val_loss and val/loss are the validation loss. Other
    metrics belong to the part `otherwise`.
    """
    found: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        words = re.split(r"[/_]", name)
        part = next((word for word in (words[0], words[-1]) if word in PARTS), None)
        if part is not None and len(words) > 1:
            name = name[len(part) + 1 :] if words[0] == part else name[: -len(part) - 1]
        found.setdefault(part or otherwise, {})[name] = value
    return found


def score_table(parts: dict[str, str], metrics: list[str], rows: list[Row]) -> Table | Group:
    """A table with a column for each metric of each of `parts` (title: key), and a line for each row.

    In a narrow terminal it becomes several tables, one below the other, so that no number is cut.
    """
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("", no_wrap=True)
    measured = {
        (part, metric)
        for _, scores, _ in rows
        for part, found in scores.items()
        for metric, value in found.items()
        if value is not None
    }
    columns = [
        (title, part, metric)
        for title, part in parts.items()
        for metric in metrics
        if (part, metric) in measured
    ]
    before = ""
    for title, _, metric in columns:
        heading = f"{title if title != before else ''}\n{one_line(metric)}"
        table.add_column(Text(heading), justify="right", no_wrap=True)
        before = title
    for title, scores, style in rows:
        cells = [number(scores.get(part, {}).get(metric)) for _, part, metric in columns]
        if not any(cells):  # such as baselines that have other metrics
            continue
        table.add_row(title, *cells, style=style)
    width = console.measure(table, options=console.options.update(max_width=1000)).maximum
    if width > console.width and len(parts) > 1:
        return Group(*(score_table({title: part}, metrics, rows) for title, part in parts.items()))
    if width > console.width and len(columns) > 1:
        named, half = [metric for *_, metric in columns], len(columns) // 2
        return Group(*(score_table(parts, some, rows) for some in (named[:-half], named[-half:])))
    return table


def metrics_of(at: Scored) -> dict[str, float]:
    metrics = at["metrics"]
    named = {k.removeprefix("metric/"): v for k, v in metrics.items() if k.startswith("metric/")}
    return named or metrics


def number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.3e}"
