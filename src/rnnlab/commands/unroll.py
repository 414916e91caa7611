"""`rnnlab unroll`: a small recurrence, step by step, by hand and by the library."""

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

    from rnnlab.inspection.lesson import show
    from rnnlab.inspection.unroll import unroll

    show(unroll(arguments.example), Console(highlight=False), arguments.digits)
    return None
