"""How an unrolled recurrence is shown: a page for the terminal that teaches it."""

import numpy as np
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rnnlab.inspection.unroll import Unrolled, subscript

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
HOW = {
    "elman": "It starts at 0. At each step the input and the old state are weighed, added, and squeezed by tanh;\n"
    "the result is the new state.",
    "gru": "At each step gates between 0 and 1, computed from the input and the old state, decide how much of\n"
    "the old state the candidate sees and how much of it stays.",
    "lstm": "Behind it stands a memory c. At each step gates between 0 and 1, computed from the input and the\n"
    "old state, decide what is forgotten, what is written and what is shown.",
}
FEW = 6  # numbers in a row that are printed; of longer ones the first
MATRIX = 40  # numbers of a parameter that are printed


def show(unrolled: Unrolled, console: Console, digits: int | None = None) -> None:
    """Prints the equation, the parameters, every step and the largest difference, made for 100 columns.

    `digits` after the point; None: 7, or 6 where three units must stand side by side.
    """
    example = unrolled.example
    digits = (7 if example.hidden < 3 else 6) if digits is None else digits
    console.print()
    console.print(Text.assemble("A recurrent layer, step by step: ", (example.title, "bold")))
    if example.cell == "elman":
        console.print(Padding(_equation(bool(example.outputs)), (1, 0, 1, 4)))
    console.print(
        "The hidden state h is all that the layer remembers: one number for each unit, between -1 and 1.\n"
        + HOW.get(example.cell, HOW["elman"])
        + f" The same weights serve at every step:\n{example.drawn}."
    )
    console.print(_parameters(unrolled))
    console.print(_steps(unrolled, digits))
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


def _parameters(unrolled: Unrolled) -> Table:
    count = sum(value.size for value in unrolled.parameters.values())
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_footer=True)
    table.add_column("parameter", footer="all")
    table.add_column("shape")
    table.add_column("numbers", justify="right", footer=str(count))
    table.add_column("what it does")
    table.add_column("values")
    for name, value in unrolled.parameters.items():
        kind, role = _role(name)
        shape = " x ".join(map(str, value.shape))
        rows = "\n".join(_vector(row, 4) for row in np.atleast_2d(value)) if value.size <= MATRIX else "..."
        table.add_row(Text(name, STYLES[kind]), shape, str(value.size), role, rows)
    return table


def _steps(unrolled: Unrolled, digits: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("step", no_wrap=True)
    table.add_column("by hand")
    table.add_column("by the library")
    table.add_column("off by", justify="right", no_wrap=True)
    for t, (x, lines) in enumerate(zip(unrolled.example.x, unrolled.steps, strict=True), start=1):
        given = f"[{' '.join(f'{value:g}' for value in x)}]"
        if unrolled.example.words:
            given = repr(unrolled.example.words[t - 1])
        table.add_row(Text(f"t = {t}", "bold"), Text(f"x{subscript(t)} = {given}", "bold"))
        for line in lines:
            style = STYLES[line.kind]
            difference = np.abs(line.by_hand - line.by_library).max()
            table.add_row(
                Text(line.formula, style),
                Text(_vector(line.by_hand, digits), style),
                Text(_vector(line.by_library, digits), style),
                Text(f"{difference:.0e}" if difference else "0", "dim"),
            )
        table.add_section()
    return table


def _vector(values: np.ndarray, digits: int) -> str:
    """Numbers aligned by their signs, such that rows of a matrix stand under one another."""
    more = " ..." if len(values) > FEW else ""
    return (
        "["
        + " ".join(f"{value:{digits + 3}.{digits}f}" for value in values[: FEW - 3 if more else None])
        + more
        + "]"
    )


def _role(name: str) -> tuple[str, str]:
    """By the short names of the examples, or by the names that a trained model gives its parameters."""
    if name in ROLES:
        return ROLES[name]
    short = {"weight_ih": "W_ih", "bias_ih": "b_ih", "weight_hh": "W_hh", "bias_hh": "b_hh"}
    last = name.rpartition(".")[2]
    if name.startswith("head."):
        return ROLES["W_hy" if last == "weight" else "b_y"]
    return ROLES[short[last]] if last in short else ("sum", "")
