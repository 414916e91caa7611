"""Tables for a paper: Markdown, and LaTeX with booktabs."""

import re
from collections.abc import Sequence

from rnnlab.report.leaderboard import Leaderboard
from rnnlab.report.numbers import between, cell, number
from rnnlab.terminal.screen import one_line

SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
           **{c: f"\\{c}" for c in "&%$#_{}"}}  # fmt: skip


def rows(board: Leaderboard) -> tuple[list[str], list[list[str]], list[bool]]:
    """Column heads and lines of a leaderboard, and which lines are the best of their group."""
    scores = [c for c in board.columns() if not c.endswith("/rmse")]
    beside = board.beside()
    heads = ["configuration", board.head, "95% interval", "n", *scores, *beside]
    lines, best = [], []
    for i, row in enumerate(board.rows):
        own = row.scores()
        spread = f" ± {number(row.std)}" if row.std == row.std else ""
        lines.append([row.label, number(row.mean) + spread, between(row), row.count,
                      *(number(own.get(c)) for c in scores), *(cell(v[i]) for v in beside.values())])  # fmt: skip
        best.append(row.rank == 1)
    for name, found in board.references:
        lines.append([name, "", "", "", *(number(found.get(c)) for c in scores), *[""] * len(beside)])
        best.append(False)
    return heads, lines, best


def markdown(
    heads: Sequence[str], lines: Sequence[Sequence[str]], best: Sequence[bool] = (), note: str = ""
) -> str:
    def line(cells: Sequence[str], strong: bool = False) -> str:
        shown = list(map(in_table, cells))
        return "| " + " | ".join(f"**{c}**" if strong and c else c for c in shown) + " |"

    marks = [*best, *[False] * (len(lines) - len(best))]
    rule = "| --- |" + " ---: |" * (len(heads) - 1)
    body = [line(cells, strong) for cells, strong in zip(lines, marks, strict=True)]
    return "\n".join([line(heads), rule, *body, *(["", one_line(note)] if note else [])]) + "\n"


def in_table(text: object) -> str:
    """A text as one cell of a Markdown table, in which no character ends the cell or changes the font."""
    return re.sub(r"[\\|*`<]", r"\\\g<0>", one_line(text))


def latex(
    heads: Sequence[str], lines: Sequence[Sequence[str]], best: Sequence[bool] = (), note: str = ""
) -> str:
    r"""A LaTeX tabular, for `\usepackage{booktabs}`."""

    def line(cells: Sequence[str], strong: bool = False) -> str:
        shown = ["".join(SPECIAL.get(c, c) for c in one_line(one)).replace("±", r"$\pm$") for one in cells]
        return " & ".join(rf"\textbf{{{c}}}" if strong and c else c for c in shown) + r" \\"

    marks = [*best, *[False] * (len(lines) - len(best))]
    body = [line(cells, strong) for cells, strong in zip(lines, marks, strict=True)]
    comment = [f"% {one_line(note)}"] if note else []
    return "\n".join([*comment, rf"\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}", r"\toprule", line(heads),
                      r"\midrule", *body, r"\bottomrule", r"\end{tabular}"]) + "\n"  # fmt: skip
