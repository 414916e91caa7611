"""`rnnlab compare`: whether one choice is better than another, run by run.

rnnlab compare outputs/x model.cell                     every two values of a swept key
rnnlab compare outputs/x cell=gru cell=lstm,layers=2    two groups of runs
rnnlab compare outputs/x outputs/y                      two experiments

Runs are paired by their seed and by the other settings that both sides have. The intervals hold simultaneously, and
the p-values are corrected by Holm's method, so many comparisons don't raise the risk of a chance finding.
"""

import argparse
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnlab.cli.arguments import Arguments
from rnnlab.cli.report import place, write_tables
from rnnlab.errors import UserError, counted, nearest
from rnnlab.runs.files import write_json

if TYPE_CHECKING:
    from rnnlab.report import comparison
    from rnnlab.report.leaderboard import Leaderboard


SHOWN = 4  # the most lines about scores without a pair


def is_experiment(word: str) -> bool:
    """Whether a word names a folder to compare. A folder without runs may have the name of a KEY, such as "data"."""
    folder = Path(word)
    return folder.is_dir() and (os.sep in word or any(folder.glob("*/run.json")))


def main(argv: list[str]) -> None:
    parser = Arguments(
        prog="rnnlab compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="+", metavar="FOLDER|KEY|KEY=VALUE",
                        help="experiments, and the key or the groups of runs to compare")  # fmt: skip
    parser.add_argument(
        "--metric",
        metavar="val/NAME|test/NAME",
        default="",
        help="default: the metric that runs are ranked by",
    )
    parser.add_argument("--json", metavar="FILE", help="write the differences with all digits")
    parser.add_argument("--markdown", metavar="FILE", help="write the table as Markdown")
    parser.add_argument("--latex", metavar="FILE", help="write the table as LaTeX (booktabs)")
    parser.add_argument("--figure", metavar="FILE", help="draw the differences: .svg, .pdf or .png")
    asked = parser.parse_intermixed_args(argv)
    folders, words = named(asked.what)

    from rnnlab.report import comparison, leaderboard
    from rnnlab.runs.run import runs
    from rnnlab.sweeps.results import console

    found_runs = [run for folder in folders for run in runs(folder)]
    board = leaderboard.of_runs(found_runs, folders_apart=len(folders) > 1)
    if not board.rows:
        raise UserError(f"{folders[0]}: no finished run with a result there")
    found = comparison.compare(board, *sides_of(board, folders, words), asked.metric)
    show(found, left_out=len(board.others))
    if asked.json:
        write_json(place(Path(asked.json)), as_json(found))
    write_tables(asked, found.heads(), found.lines(), [d.decided for d in found.differences], found.caption())
    if asked.figure:
        from rnnlab.figures.canvas import check_format
        from rnnlab.report import forest

        check_format(Path(asked.figure))
        forest.of_comparison(found, place(Path(asked.figure)))
    for file in filter(None, (asked.json, asked.markdown, asked.latex, asked.figure)):
        console.print(f"written  {file}", soft_wrap=True)


def named(what: Sequence[str]) -> tuple[list[Path], list[str]]:
    """The folders and the other words of a command. Raises UserError where no folder, or one that does not exist, is
    named.
    """
    folders = [Path(word) for word in what if is_experiment(word)]
    words = [word for word in what if not is_experiment(word)]
    paths = [word for word in words if os.sep in word and "=" not in word]
    if not folders or paths:
        near = Path((paths or words)[0])
        if near.is_dir():
            raise UserError(f"{near}: no finished run with a result there")
        beside = [p.name for p in near.parent.iterdir() if p.is_dir()] if near.parent.is_dir() else []
        raise UserError(f"{near}: no such folder.{nearest(near.name, beside) if beside else ''}")
    return folders, words


def sides_of(
    board: "Leaderboard", folders: Sequence[Path], words: Sequence[str]
) -> "tuple[list[comparison.Side], list[str]]":
    """What is compared, and the keys in which the sides differ. Raises UserError for words that name no two sides."""
    from rnnlab.report import comparison

    if len(folders) > 1:
        if words:
            raise UserError(
                f"{words[0]}: several folders are compared as they are; a KEY compares the runs of one folder"
            )
        for folder in folders:
            if not any(entry.folder.parent == folder for row in board.rows for entry in row.entries):
                raise UserError(f"{folder}: no finished run with a result there")
        return comparison.by_folder(board, {str(folder): str(folder) for folder in folders})
    if words and all("=" in word for word in words):
        return comparison.by_conditions(board, words)
    if len(words) == 1:
        try:
            return comparison.by_key(board, words[0])
        except UserError:
            if not Path(words[0]).is_dir():
                raise
            raise UserError(
                f"{words[0]}: no finished run with a result there, and no KEY in which these runs differ"
            ) from None
    keys = dict.fromkeys(key for row in board.rows for key in row.parameters)
    swept = ", ".join(keys) or "nothing but the seed"
    raise UserError(f"give one KEY, or two or more KEY=VALUE; these runs differ in {swept}")


def show(found: "comparison.Comparison", left_out: int) -> None:
    """Prints the comparison; `left_out` is the number of runs without a result."""
    from rich.table import Table

    from rnnlab.sweeps.results import console
    from rnnlab.terminal.screen import one_line

    console.print(found.caption(), soft_wrap=True)
    if found.apart:
        console.print(f"Each side has values of its own of {', '.join(found.apart)}.", soft_wrap=True)
    if left_out:
        console.print(
            f"{counted(left_out, 'run')} without a result {'is' if left_out == 1 else 'are'} left out."
        )
    unpaired = found.left_out()
    for said in unpaired[:SHOWN]:
        console.print(said, soft_wrap=True)
    if len(unpaired) > SHOWN:
        console.print(f"and {counted(len(unpaired) - SHOWN, 'more such line')}")
    heads, lines = found.heads(), [[one_line(cell) for cell in line] for line in found.lines()]
    below = []  # names and verdicts, where a terminal is too narrow for them
    if sum(max(map(len, column)) + 2 for column in zip(heads, *lines, strict=True)) > console.width:
        below = [f"{i}  {line[0]} against {line[1]}: {line[-1]}" for i, line in enumerate(lines, 1)]
        heads, lines = ["", *heads[2:-1]], [[str(i), *line[2:-1]] for i, line in enumerate(lines, 1)]
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0), pad_edge=False)
    for head in heads:
        table.add_column(head, justify="left" if head in ("first", "second", "") else "right")
    for line, difference in zip(lines, found.differences, strict=True):
        table.add_row(*line, style="bold" if difference.decided else "")
    console.print(table)
    for said in below:
        console.print(said, soft_wrap=True)


def as_json(found: "comparison.Comparison") -> dict[str, Any]:
    """Not-a-number is null: JSON has none."""
    rows = []
    for d in found.differences:
        low, high = d.interval
        row = {"first": d.first, "second": d.second, "pairs": d.test.n, "first_wins": d.wins, "effect": d.effect,
               "unpaired": list(d.alone), "low": low, "high": high, "p_first_better": d.better, "p_holm": d.p,
               "verdict": d.verdict}  # fmt: skip
        rows.append({k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()})
    about = {"metric": found.metric, "effect": found.effect, "paired_by": found.unit}
    return about | {"settings": found.settings, "differences": rows}
