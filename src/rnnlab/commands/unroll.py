"""A small recurrence, step by step, by hand and by the library."""

import argparse

EXAMPLES = ("notebook", "small", "numpy")


def main(argv: list[str]) -> int | None:
    parser = argparse.ArgumentParser(prog="rnnlab unroll", description=__doc__)
    parser.add_argument(
        "--example",
        default="notebook",
        metavar="|".join(EXAMPLES),
        help="notebook: 5 inputs, 2 units; small: 1 input, 1 unit; numpy: 4 inputs, 3 units, 2 outputs",
    )
    parser.add_argument(
        "--digits", type=int, help="digits after the point (default: 7, or 6 where 7 do not fit)"
    )
    arguments = parser.parse_args(argv)

    from rich.console import Console  # torch is imported below: not for --help

    from rnnlab.errors import UserError
    from rnnlab.inspection.lesson import show
    from rnnlab.inspection.unroll import unroll

    if arguments.digits is not None and not 1 <= arguments.digits <= 12:
        raise UserError(f"--digits={arguments.digits}: not a number from 1 to 12")
    show(unroll(arguments.example), Console(highlight=False), arguments.digits)
    return None
