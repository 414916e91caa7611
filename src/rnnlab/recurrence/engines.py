"""Engines: each runs one cell, causally, over the steps of a sequence.

An engine is a module with two functions. It is imported when it is first needed:

* `obstacle(cell, device, precision) -> str | None`: why it cannot serve a cell; None where it can.
* `run(cell, x, state, reset, masks) -> (y, state)`: x (B, T, I) floats or (B, T) indices of one-hot inputs, state a
  tuple of (B, k*H) for k in the cell's `widths`, reset (B, T) bool or None, masks as cells/masks.py has them (None in
  evaluation), y (B, T, H).

Reversal, padding and the drawing of masks belong to the stack, so that they are the same for all engines.
"""

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Literal, NamedTuple, Protocol, cast, get_args

import torch
from torch import Tensor

from rnnlab.cells import Cell, State
from rnnlab.cells.cell import equations_key
from rnnlab.cells.choice import check_choice
from rnnlab.cells.masks import Masks
from rnnlab.errors import UserError

Name = Literal["auto", "reference", "torch", "native", "compiled"]

# imported by name, at first use: the native engine's package imports this one
ENGINES = {
    "native": "rnnlab.native.serving",
    "torch": "rnnlab.recurrence.fused",
    "reference": "rnnlab.recurrence.reference",
    "compiled": "rnnlab.recurrence.compiled",
}
AUTO = ("native", "torch", "reference")  # from the most to the least preferred


class Engine(Protocol):
    def obstacle(self, cell: Cell, device: torch.device, precision: str) -> str | None: ...

    def run(
        self, cell: Cell, x: Tensor, state: State, reset: Tensor | None, masks: Masks | None
    ) -> tuple[Tensor, State]: ...


class Choice(NamedTuple):
    """The chosen engine, and why it was chosen."""

    engine: str
    reason: str


@cache
def engine(name: str) -> Engine:
    return cast(Engine, import_module(ENGINES[name]))


def choose(requested: str, cells: Sequence[Cell], device: torch.device, precision: str) -> Choice:
    """The engine for the cells of a stack, on a device, in a precision as Lightning names it ("32-true", "bf16-mixed").

    It never depends on callbacks, loggers or being part of a sweep. Raises UserError where the `requested` engine does
    not exist or cannot run these cells.
    """
    check_choice("model.engine", requested, get_args(Name))
    different = {equations_key(cell): cell for cell in reversed(cells)}.values()

    def obstacle(name: str) -> str | None:  # called only if needed: asking the native engine may compile
        found = (engine(name).obstacle(cell, device, precision) for cell in different)
        return next((why for why in found if why is not None), None)

    if requested == "auto":
        passed: list[str] = []
        for name in AUTO:
            if (why := obstacle(name)) is None:
                return Choice(name, "auto: " + ("; ".join(passed) or "the fastest"))
            passed.append(why)
    elif why := obstacle(requested):
        able = [name for name in AUTO if name != requested and obstacle(name) is None]
        raise UserError(f"model.engine={requested}: {why}; use {' or '.join(['auto', *able])}")
    return Choice(requested, "asked for")
