"""Shows an unrolled recurrence in the terminal."""

import numpy as np
from rich import box
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rnnlab.cells import Elman
from rnnlab.terminal.console import Console
from rnnlab.terminal.screen import one_line
from rnnlab.unroll.unroll import Unrolled, subscript

STYLES = {
    "input": "cyan",
    "state": "magenta",
    "gate": "blue",
    "sum": "",
    "new": "bold green",
    "output": "yellow",
}
ROLES = {
    "W_ih": ("input", "weighs the inputs"),
    "b_ih": ("input", "is added to that"),
    "W_hh": ("state", "weighs the old state"),
    "b_hh": ("state", "is added to that"),
    "W_hy": ("output", "weighs the new state"),
    "b_y": ("output", "is added to that"),
}
IS = "The hidden state h is all that the layer remembers: one number for each unit"
FEW = 6  # rows with at most so many numbers are printed in full, of longer rows only the first numbers
LEAST = 3  # the fewest digits, in a narrow terminal
GAP = "   "  # between columns
MATRIX = 40  # parameters with at most so many numbers are printed


def show(unrolled: Unrolled, console: Console, digits: int | None = None) -> None:
    """Prints the equation, the parameters, every step and the largest difference, in at most 100 columns.

    `digits` is the number of digits after the point; None: 7, or 6 for three units or more.
    """
    example = unrolled.example
    digits = (7 if example.hidden < 3 else 6) if digits is None else digits
    console.print()
    console.print(Text.assemble("A recurrent layer, step by step: ", (one_line(example.title), "bold")))
    if example.cell is Elman and example.bounded:  # its nonlinearity is tanh
        console.print(Padding(_equation(bool(example.outputs)), (1, 0, 1, 4)))
    width = min(console.width, 100)
    between = ", between -1 and 1" if example.bounded else ""
    same = f"The same weights serve at every step: {example.drawn}."
    console.print(f"{IS}{between}. {example.cell.how} {same}", width=width)
    console.print(_parameters(unrolled, width))
    console.print(_gates(unrolled))
    console.print(_steps(unrolled, digits, width))
    worst = f"Largest difference: {unrolled.largest_difference:.1e}."
    console.print(
        Text.assemble((worst, "bold"), " By hand in float64, the library in float32 (about 7 digits).")
    )
    if example.note:
        console.print(Text(example.note, "italic"))
    console.print()


def _equation(with_head: bool) -> Text:
    equation = Text.assemble(
        ("hₜ", STYLES["new"]),
        " = tanh( ",
        ("W_ih xₜ + b_ih", STYLES["input"]),
        "  +  ",
        ("W_hh hₜ₋₁ + b_hh", STYLES["state"]),
        " )",
    )
    if with_head:
        equation.append("        ").append("yₜ = W_hy hₜ + b_y", STYLES["output"])
    return equation


def _gates(unrolled: Unrolled) -> Text:
    """The purpose of each gate, once, because the table has no room for it."""
    lines = [line.formula.rpartition(", ")[2] for line in unrolled.steps[0] if line.kind == "gate"]
    said = dict.fromkeys(
        line.split(": ", line.count(": ") - 1)[-1].replace(subscript(1), "") for line in lines
    )
    return Text("".join(f"{line}\n" for line in said), STYLES["gate"])


def _parameters(unrolled: Unrolled, width: int) -> Table:
    count = sum(value.size for value in unrolled.parameters.values())
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_footer=True)
    table.add_column("parameter", footer="all")
    table.add_column("shape")
    table.add_column("numbers", justify="right", footer=f"{count:,}")
    roomy = width >= 90
    if roomy:
        table.add_column("what it does")
    if width >= 70:
        table.add_column("values")
    for name, value in unrolled.parameters.items():
        kind, role = _role(name)
        shape = " x ".join(map(str, value.shape))
        rows = "\n".join(_vector(row, 4) for row in np.atleast_2d(value)) if value.size <= MATRIX else "..."
        about = [role] if roomy else []
        values = [Text(rows)] if width >= 70 else []
        table.add_row(Text(name, STYLES[kind]), shape, f"{value.size:,}", *about, *values)
    return table


def _steps(unrolled: Unrolled, digits: int, width: int) -> Text:
    """For each step its input, and rows with a formula and its two values, as many of their numbers as fit."""
    widest = max(len(_short(line.formula)) for step in unrolled.steps for line in step)
    room = (width - widest - 3 * len(GAP) - len("off by")) // 2
    sizes = {len(line.by_hand) for step in unrolled.steps for line in step}
    while digits > LEAST and not all(n * (digits + 4) < room for n in sizes if n <= FEW):
        digits -= 1  # fewer digits are better than fewer numbers
    lines = [line for step in unrolled.steps for line in step]
    hand = max(len(_vector(line.by_hand, digits, room)) for line in lines)
    library = max(hand, len("by the library"))
    head = f"{'':{widest}}{GAP}{'by hand':{hand}}{GAP}{'by the library':{library}}{GAP}off by"
    page = Text(head + "\n", "bold")
    for t, (x, lines) in enumerate(zip(unrolled.example.x, unrolled.steps, strict=True), start=1):
        given = f"[{' '.join(f'{value:g}' for value in x)}]"
        if unrolled.example.words:
            given = repr(unrolled.example.words[t - 1])
        page.append(f"\nt = {t}: x{subscript(t)} = {given}\n", "bold")
        for line in lines:
            difference = np.abs(line.by_hand - line.by_library).max()
            row = f"{_short(line.formula):{widest}}{GAP}{_vector(line.by_hand, digits, room):{hand}}{GAP}"
            page.append(row + f"{_vector(line.by_library, digits, room):{library}}", STYLES[line.kind])
            page.append(GAP + (f"{difference:6.0e}" if difference else f"{0:6}") + "\n", "dim")
        if unrolled.said and unrolled.said[t - 1]:
            page.append(f"{unrolled.said[t - 1]}\n", STYLES["output"])
    return page


def _short(formula: str) -> str:
    """A formula without the purpose of its gate."""
    return formula.partition(": how")[0]


def _vector(values: np.ndarray, digits: int, room: int = 100) -> str:
    """Numbers, as many as fit, of equal width, so that the rows of a matrix are aligned."""
    each = digits + 4
    if len(values) <= FEW and len(values) * each < room:
        return f"[{' '.join(f'{value:{each - 1}.{digits}f}' for value in values)}]"
    fit = max(1, min(FEW - 3, (room - len("[ ...]") + 1) // each))
    return f"[{' '.join(f'{value:{each - 1}.{digits}f}' for value in values[:fit])} ...]"


def _role(name: str) -> tuple[str, str]:
    """(kind, role) of a parameter, by its short name in an example or its name in a trained model."""
    if name in ROLES:
        return ROLES[name]
    short = {"weight_ih": "W_ih", "bias_ih": "b_ih", "weight_hh": "W_hh", "bias_hh": "b_hh"}
    last = name.rpartition(".")[2]
    if name.startswith("head."):
        return ROLES["W_hy" if last == "weight" else "b_y"]
    return ROLES[short[last]] if last in short else ("sum", "")
