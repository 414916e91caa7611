"""The leaderboard as a table for the terminal."""

from rich.table import Table

from rnnlab.report.leaderboard import Leaderboard
from rnnlab.report.numbers import between, cell, number

DISPENSABLE = ("std", "floor", "steps/s", "95% interval", "best baseline")  # dropped first, in this order
NARROW = 12  # characters to which names are folded before no score is shown beside them


def table(board: Leaderboard, limit: int = 20, width: int = 120) -> Table:
    """The best `limit` rows, then baselines and floor; where these differ between rows, they are columns. Rows with
    other data or targets follow after a line, with their own ranks.

    Only as many score columns are shown as fit into `width` characters; the loss's own metric comes first.
    """
    rows = board.rows[:limit]
    seeds = any(row.count != "1" for row in board.rows)
    several = len({e.record.get("engine", {}).get("name") for r in board.rows for e in r.entries}) > 1
    speeds = several or any("trainer.accelerator" in row.parameters for row in board.rows)
    left: dict[str, list[str]] = {board.head: [number(row.mean) for row in rows]}
    if seeds:
        left["std"] = [number(row.std) for row in rows]
        if width >= 100:
            left["95% interval"] = [between(row) for row in rows]
        left["n"] = [row.count for row in rows]
    right = {"steps/s": [f"{row.speed:,.0f}" for row in rows]} if speeds else {}
    beside = {head: [cell(one) for one in values[:limit]] for head, values in board.beside().items()}
    right = beside | right
    below = [(name, scores, [""] * len(left)) for name, scores in board.references]
    own = [row.scores() for row in rows]
    scores = {
        c: [number(s.get(c)) for s in [*own, *(found for _, found, _ in below)]]
        for c in board.columns()
        if not c.endswith("/rmse")  # the root of the mse column
    }

    def room() -> int:
        """The width that the columns leave for the rows' names."""
        return width - 4 - sum(2 + max(map(len, [head, *cells])) for head, cells in (left | right).items())

    longest = min(50, max((len(row.label) for row in rows), default=10))
    primary = (
        0 if beside else min((_width(c, scores[c]) for c in _by_worth(scores, board.primary)[:1]), default=0)
    )
    for head in DISPENSABLE:
        if room() < (longest if beside else min(longest, NARROW) + primary):
            left.pop(head, None)
            right.pop(head, None)
    taken = width - room()
    least = 0 if beside or room() < min(longest, NARROW) + primary else 1
    widest = min(longest, max(20, room() - (0 if beside else 12)))
    # a wider column than there is room for would leave no room at all for the names
    widest = max(1, min(widest, room() - least * primary))
    shown = _fitting(
        scores, board.primary, width - taken - max([widest, *(len(n) for n, _, _ in below)]), least
    )

    page = Table(box=None, header_style="bold", padding=(0, 2, 0, 0), pad_edge=False)
    page.add_column("", justify="right")
    page.add_column("runs" if seeds else "run", overflow="fold", min_width=widest)
    for head in [*left, *shown, *right]:
        page.add_column(head, justify="right", no_wrap=True)
    for i, row in enumerate(rows):
        cells = [column[i] for column in (left | {c: scores[c] for c in shown} | right).values()]
        page.add_row(str(row.rank or ""), row.label, *cells, style="bold" if row.rank == 1 else "")
        if i + 1 < len(rows) and rows[i + 1].group != row.group and any(r.rank for r in rows):
            page.add_row()
    if len(board.rows) > limit:
        page.add_row("", f"... and {len(board.rows) - limit} more", style="dim")
    for i, (name, found, blanks) in enumerate(below, len(rows)):
        if found.keys().isdisjoint(shown):
            continue
        page.add_row("", name, *blanks, *(scores[c][i] for c in shown), *[""] * len(right), style="dim")
    return page


def _by_worth(scores: dict[str, list[str]], primary: str) -> list[str]:
    return sorted(scores, key=lambda c: c.partition("/")[2] != primary)


def _width(head: str, cells: list[str]) -> int:
    return 2 + max(map(len, [head, *cells]))


def _fitting(scores: dict[str, list[str]], primary: str, room: int, least: int = 1) -> list[str]:
    """The score columns that fit into `room` characters, but at least `least` of them."""
    kept: list[str] = []
    for column in _by_worth(scores, primary):
        room -= _width(column, scores[column])
        if room < 0 and len(kept) >= least:
            break
        kept.append(column)
    return [column for column in scores if column in kept]
