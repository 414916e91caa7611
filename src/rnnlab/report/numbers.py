"""Formats numbers for tables and pages."""

from rnnlab.report.row import Row


def number(value: float | None) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.2e}"


def cell(one: tuple[str, float] | None) -> str:
    """A cell of `Leaderboard.beside`."""
    return f"{one[0]} {number(one[1])}".strip() if one else ""


def between(row: Row) -> str:
    low, high = row.interval
    return f"{number(low)} to {number(high)}" if low == low else ""
