"""`rnnlab report`: one run as a page, or the leaderboard of all runs of an experiment."""

import argparse
import csv
import io
import math
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from rnnlab.cli.arguments import Arguments
from rnnlab.errors import UserError, counted, nearest, warn
from rnnlab.runs.files import write_json, write_whole

if TYPE_CHECKING:
    from rnnlab.report.leaderboard import Leaderboard
    from rnnlab.runs.run import Run


def main(argv: list[str]) -> None:
    asked = _parser().parse_args(argv)
    if asked.rows < 1:
        raise UserError(f"--rows {asked.rows}: must be at least 1")
    folder = Path(asked.experiment)
    if (folder / "run.json").is_file():
        return of_run(folder, asked)

    from rnnlab.report import leaderboard
    from rnnlab.report.search import pareto_table
    from rnnlab.report.table import table
    from rnnlab.runs.trials import JOURNAL, pareto_front, read_journal
    from rnnlab.sweeps.sweep import console

    board = leaderboard.of_runs(_runs_of(folder))
    for note in board.notes:
        console.print(note, soft_wrap=True)
    if board.rows:
        console.print(table(board, asked.rows, console.width))
    if front := pareto_front(read_journal(folder / JOURNAL).trials, board.mode):
        console.print()
        console.print(pareto_table(front, asked.rows))
        console.print()
    _show_without_result(board, limit=max(1, asked.rows // 4))
    _write_files(asked, folder, board)


def _parser() -> Arguments:
    parser = Arguments(
        prog="rnnlab report",
        description="Writes one run as a page (RUN/report.html, or --html FILE). For an experiment it shows the "
        "leaderboard: runs that differ only by their seed are one row; rows are ordered by the best value of the "
        "monitored metric; baselines and the floor (the lowest error that any model can reach) are below.",
    )
    parser.add_argument(
        "experiment", metavar="FOLDER", help="a run's folder, or an experiment's such as outputs/sine"
    )
    parser.add_argument("--csv", metavar="FILE", help="write the leaderboard as CSV")
    parser.add_argument("--json", metavar="FILE", help="write the leaderboard with every run's value")
    parser.add_argument(
        "--html", metavar="FILE", help="write a page with curves and parameters, and the page of each run"
    )
    parser.add_argument("--markdown", metavar="FILE", help="write the table as Markdown")
    parser.add_argument("--latex", metavar="FILE", help="write the table as LaTeX (booktabs)")
    parser.add_argument("--figure", metavar="FILE", help="draw the rows with intervals: .svg, .pdf or .png")
    parser.add_argument("--rows", type=int, default=20, help="how many rows to show (default: 20)")
    return parser


def _runs_of(folder: Path) -> "list[Run]":
    """The runs of an experiment; warns of damaged ones. Raises UserError where there is none."""
    from rnnlab.runs.run import runs

    damaged: list[str] = []
    found = runs(folder, damaged.append)
    if damaged and not found:
        raise UserError(f"{folder}: no run there can be read; {damaged[0]}")
    if not found:
        beside = [p.name for p in folder.parent.iterdir() if p.is_dir()] if folder.parent.is_dir() else []
        raise UserError(f"{folder}: no runs there.{nearest(folder.name, beside) if beside else ''}")
    for line in damaged:
        warn(line)
    return found


def _show_without_result(board: "Leaderboard", limit: int) -> None:
    """Prints why runs have no result: at most `limit` reasons, and of each as many configurations."""
    from rnnlab.report.failures import reasons
    from rnnlab.sweeps.sweep import console

    pruned = [entry for entry in board.others if entry.record.get("status") == "pruned"]
    found = reasons(board, [entry for entry in board.others if entry.record.get("status") != "pruned"])
    for reason in found[:limit]:
        console.print(f"{reason.counted}: {reason.why}".rstrip(": "), soft_wrap=True)
        for label, entries in [*reason.configurations.items()][:limit]:
            seeds = ", ".join(entry.seed for entry in entries)
            console.print(
                f"  {label}  seed{'s' * (len(entries) > 1)} {seeds}  {entries[0].folder}", soft_wrap=True
            )
        if (more := len(reason.configurations) - limit) > 0:
            console.print(f"  ... and {counted(more, 'more configuration')}")
    if more := sum(len(reason.entries) for reason in found[limit:]):
        console.print(f"... and {more:,} more without a result")
    if pruned:
        steps = [entry.record.get("results", {}).get("steps", 0) for entry in pruned]
        last = f"s {min(steps):,} to {max(steps):,}" if min(steps) < max(steps) else f" {max(steps):,}"
        console.print(f"pruned   {counted(len(pruned), 'run')} of a search, at step{last}")


def _write_files(asked: argparse.Namespace, folder: Path, board: "Leaderboard") -> None:
    """Writes the files that the command asks for, and names them."""
    from rnnlab.sweeps.sweep import console

    if asked.csv:
        _write(Path(asked.csv), as_csv(board.records()))
    if asked.json:
        write_json(place(Path(asked.json)), as_json(board))
    if asked.markdown or asked.latex:
        from rnnlab.report.typeset import rows

        write_tables(asked, *rows(board), " ".join(board.notes))
    if asked.figure:
        from rnnlab.figures.canvas import check_format
        from rnnlab.report import forest

        check_format(Path(asked.figure))
        if not board.rows:
            raise UserError(f"--figure: {folder} has no finished run with a result")
        forest.of_board(board, place(Path(asked.figure)))
    if asked.html:
        write_pages(folder, Path(asked.html), board)
    for file in filter(None, (asked.csv, asked.json, asked.markdown, asked.latex, asked.figure, asked.html)):
        console.print(f"written  {file}", soft_wrap=True)


def of_run(folder: Path, asked: argparse.Namespace) -> None:
    """Writes the page of one run. Raises UserError for an option that only an experiment has."""
    for option in ("csv", "json", "markdown", "latex", "figure"):
        if getattr(asked, option):
            raise UserError(
                f"--{option}: {folder} is one run; its metrics.csv and run.json are in its folder"
            )

    from rnnlab.report.run_page import run_page
    from rnnlab.runs.run import Run
    from rnnlab.sweeps.sweep import console

    file = Path(asked.html) if asked.html else folder / "report.html"
    _write(file, run_page(Run.open(folder)).encode("utf-8", "surrogatepass"))
    console.print(f"written  {file}", soft_wrap=True)


def write_pages(folder: Path, file: Path, board: Any) -> None:
    """Writes the experiment's page, and each run's page as report.html in the run's folder, with links to these.

    A run whose folder cannot be written (on a read-only disk, say) gets no link. Neither does a damaged one, which is
    reported.
    """
    from rnnlab.report import experiment_page as page
    from rnnlab.report.run_page import run_page
    from rnnlab.runs.run import Run, legible
    from rnnlab.runs.trials import JOURNAL, read_journal

    start = place(file).resolve().parent
    links = {}
    entries = [*(e for row in board.rows for e in row.entries), *board.others]
    for entry, made in legible(entries, lambda entry: run_page(Run(entry.folder))):
        own = entry.folder / "report.html"
        with suppress(OSError):
            write_whole(own, made.encode("utf-8", "surrogatepass"))
            links[entry.folder] = quote(Path(os.path.relpath(own.resolve(), start)).as_posix())
    journal = read_journal(folder / JOURNAL)
    _write(file, page.page(folder.name, board, lambda entry: links.get(entry.folder), journal).encode())


def write_tables(
    asked: argparse.Namespace, heads: list[str], lines: list[list[str]], best: list[bool], note: str
) -> None:
    """Writes the files of --markdown and --latex."""
    from rnnlab.report import typeset

    for file, set_ in ((asked.markdown, typeset.markdown), (asked.latex, typeset.latex)):
        if file:
            _write(Path(file), set_(heads, lines, best, note).encode())


def place(path: Path) -> Path:
    if not path.parent.is_dir():
        raise UserError(f"{path}: there is no folder {path.parent}")
    return path


def _write(path: Path, content: bytes) -> None:
    write_whole(place(path), content)


def as_csv(records: list[dict[str, Any]]) -> bytes:
    names = list(dict.fromkeys(key for record in records for key in record))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: "" if v is None or v != v else v for k, v in r.items()} for r in records)
    return text.getvalue().encode()


def as_json(board: Any) -> dict[str, Any]:
    """Not-a-number is null: JSON has none."""
    rows = [
        {"parameters": row.parameters, "runs": {e.folder.name: _finite(board.value(e)) for e in row.entries}}
        for row in board.rows
    ]
    records = [{k: _finite(v) if isinstance(v, float) else v for k, v in r.items()} for r in board.records()]
    return {
        "metric": board.metric,
        "mode": board.mode,
        "rows": [record | row for record, row in zip(records, rows, strict=False)],
        "references": records[len(rows) :],
        "others": {e.folder.name: e.record.get("status") for e in board.others},
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
