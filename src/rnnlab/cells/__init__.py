"""Cells: the equations of one step, one family per file. A cell, and with it torch, is imported at its first use."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rnnlab.cells.description import CATALOGUE, Gate

if TYPE_CHECKING:
    from rnnlab.cells.cell import Cell as Cell
    from rnnlab.cells.cell import State as State
    from rnnlab.cells.elman import Elman as Elman
    from rnnlab.cells.gru import GRU as GRU
    from rnnlab.cells.lstm import LSTM as LSTM
    from rnnlab.cells.registry import CELLS as CELLS
    from rnnlab.cells.registry import resolve as resolve

__all__ = ["CATALOGUE", "CELLS", "GRU", "LSTM", "Cell", "Elman", "Gate", "State", "resolve"]

_HOMES = {
    "CELLS": "rnnlab.cells.registry",
    "Cell": "rnnlab.cells.cell",
    "State": "rnnlab.cells.cell",
    "resolve": "rnnlab.cells.registry",
} | {cell.class_name: cell.module for cell in CATALOGUE.values()}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
