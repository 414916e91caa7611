"""Cells by name: a short one for ours, a dotted path for anybody's."""

import importlib
import inspect

from rnnlab.cells.cell import Cell
from rnnlab.cells.elman import Elman
from rnnlab.cells.gru import GRU
from rnnlab.cells.lstm import LSTM
from rnnlab.errors import UserError, nearest

CELLS: dict[str, type[Cell]] = {"elman": Elman, "gru": GRU, "lstm": LSTM}


def resolve(name: str) -> type[Cell]:
    """The class of "elman", "gru" or "lstm", or of a dotted path such as "mypackage.cells.UGRNN".

    Raises UserError where there is no such cell, with the nearest right spelling.
    """
    if name in CELLS:
        return CELLS[name]
    asked = f"model.cell={name}"
    module_name, _, class_name = name.rpartition(".")
    if not module_name:
        choices = f"{', '.join(CELLS)}, or a class of yours by its dotted path"
        raise UserError(f"{asked}: no such cell; possible: {choices}.{_suggestion(name, list(CELLS))}")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise UserError(f"{asked}: cannot import {module_name}: {error}") from error
    found = getattr(module, class_name, None)
    if found is None:
        raise UserError(
            f"{asked}: {module_name} has no {class_name}.{nearest(class_name, _cells_in(module))}"
        )
    if not (inspect.isclass(found) and issubclass(found, Cell)):
        raise UserError(
            f"{asked}: not a subclass of rnnlab.cells.Cell.{nearest(class_name, _cells_in(module))}"
        )
    if found.step is Cell.step:
        raise UserError(f"{asked}: has no step(self, u, state); a cell needs gates, states and step")
    return found


def _cells_in(module: object) -> list[str]:
    return [
        name for name, value in vars(module).items() if inspect.isclass(value) and issubclass(value, Cell)
    ]


def _suggestion(name: str, possible: list[str]) -> str:
    hint = nearest(name.lower(), possible)
    return hint if hint.startswith(" Did") else ""
