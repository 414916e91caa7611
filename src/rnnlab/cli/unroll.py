"""Computes a small recurrence step by step, by hand and with the library."""

from typing import Any

from rnnlab.cli.arguments import Arguments
from rnnlab.terminal.screen import say

EXAMPLES = ("notebook", "small", "numpy")


def main(argv: list[str]) -> int | None:
    parser = Arguments(prog="rnnlab unroll", description=__doc__)
    parser.add_argument(
        "--example",
        metavar="|".join(EXAMPLES),
        help="notebook (the default): 5 inputs, 2 units; small: 1 input, 1 unit; numpy: 4 inputs, 3 units, 2 outputs",
    )
    parser.add_argument(
        "--digits", type=int, help="digits after the decimal point (default: 7, or 6 if 7 don't fit)"
    )
    parser.add_argument("run", nargs="?", metavar="RUN", help="a run's folder, instead of an example")
    parser.add_argument("--input", metavar="TEXT", help="input for RUN: a text, or the numbers of a series")
    parser.add_argument("--html", metavar="FILE", help="write a page that steps through time")
    parser.add_trust()
    arguments = parser.parse_args(argv)

    from rnnlab.errors import UserError
    from rnnlab.runs.run import Run
    from rnnlab.terminal.console import Console  # torch is imported below: not for --help
    from rnnlab.unroll.lesson import show
    from rnnlab.unroll.unroll import unroll

    if arguments.digits is not None and not 1 <= arguments.digits <= 12:
        raise UserError(f"--digits={arguments.digits}: not a number from 1 to 12")
    if arguments.run is None and arguments.input is not None:
        raise UserError(
            "--input: an example has its own; a run's folder is needed: rnnlab unroll RUN --input ..."
        )
    if arguments.run is not None and arguments.example is not None:
        raise UserError(f"--example {arguments.example}: an example, or a run's folder, one at a time")
    run = None if arguments.run is None else Run.open(arguments.run)
    if run is not None and arguments.input is None:
        raise UserError(
            'rnnlab unroll RUN needs what to read: --input "text", or --input "0.1 0.2 0.3" of a series'
        )
    if run is not None:
        from rnnlab.unroll.run import unroll_run

        shown = unroll_run(run, arguments.input, arguments.trust)
    else:
        shown = unroll(arguments.example or "notebook")
    if arguments.html:
        write_page(arguments.html, shown)
    else:
        show(shown, Console(), arguments.digits or (4 if arguments.run else None))
    return None


def write_page(file: str, shown: Any) -> None:
    """Raises UserError if the file's folder does not exist."""
    from pathlib import Path

    from rnnlab.errors import UserError
    from rnnlab.runs.files import write_whole
    from rnnlab.unroll.page import unroll_page

    path = Path(file)
    if not path.parent.is_dir():
        raise UserError(f"--html {file}: there is no folder {path.parent}")
    write_whole(path, unroll_page(shown).encode("utf-8", "surrogatepass"))
    say(f"written  {file}")
