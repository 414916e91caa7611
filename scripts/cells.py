"""Writes the generated part of docs/cells.md from the cells: `python scripts/cells.py`; --check only compares."""

import sys
from pathlib import Path

import torch

from options import parsed
from rnnlab.cells import CATALOGUE, CELLS, Cell
from rnnlab.cells.size import size
from rnnlab.config.model_schema import own_options

PAGE = Path(__file__).parents[1] / "docs" / "cells.md"
BEGIN, END = (
    "<!-- what follows is written by scripts/cells.py -->\n",
    "<!-- end of what scripts/cells.py writes -->\n",
)
HIDDEN = 32


def kind(cell: Cell) -> str:
    """How a new state depends on the old one, judged by its derivative at random points.

    "matrix": a unit depends on other units; else "elementwise"; "linear" where the derivative is equal at all points.
    """
    cell = cell.double()
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    hidden = cell.hidden_size
    u = noise(1, cell.gates * hidden)
    widths = [k * hidden for k in cell.state_blocks]

    def after(flat: torch.Tensor) -> torch.Tensor:
        return torch.cat(cell.step(u, flat[None].split(widths, dim=-1))[1], dim=-1)[0]

    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.copy_(noise(*parameter.shape))
    first, *others = (torch.autograd.functional.jacobian(after, noise(sum(widths))) for _ in range(8))
    units = torch.arange(sum(widths)) % hidden
    if first[units[:, None] != units[None, :]].abs().max() > 1e-12:
        return "matrix"
    same = all(torch.allclose(first, other, rtol=0, atol=1e-12) for other in others)
    return "linear" if same else "elementwise"


def states(cell: Cell) -> str:
    widths = zip(cell.named_states, cell.state_blocks, strict=True)
    return ", ".join(name if k == 1 else f"{name} ({k}H)" for name, k in widths)


def options(name: str) -> str:
    found = own_options(name)
    shown = [f"`{n}` {' '.join(o.words) or o.kind} (`{str(o.default).lower()}`)" for n, o in found.items()]
    return "; ".join(shown)


def written() -> str:
    head = [
        "`model.cell`",
        "from",
        "kind",
        "states",
        "parameters",
        "multiplications",
        "own options (default)",
    ]
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    for name, cell in CELLS.items():
        counts = size(cell, 1, HIDDEN)
        one = cell(1, 4)
        cells = [f"`{name}`", cell.paper, kind(one), states(one), f"{counts.parameters:,}",
                 f"{counts.multiplications:,}", options(name)]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "The equations of each cell:", "", "```text"]
    for name in CATALOGUE:
        lines += [f"{name}:", *(f"    {line}" for line in CELLS[name].equations.splitlines())]
    return "\n".join([*lines, "```", ""])


def main(arguments: list[str]) -> int:
    parsed(__doc__, arguments, others=["--check"])
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    whole = before + BEGIN + "\n" + written() + "\n" + END + after
    if "--check" in arguments:
        return int(whole != text)
    PAGE.write_text(whole, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
