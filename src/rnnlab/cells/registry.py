"""Cells by name: a short name for rnnlab's own, a dotted path for a user's."""

import importlib
import inspect

from rnnlab.cells.cell import Cell
from rnnlab.cells.choice import refusal
from rnnlab.cells.description import CATALOGUE
from rnnlab.errors import UserError, nearest

CELLS: dict[str, type[Cell]] = {
    name: getattr(importlib.import_module(cell.module), cell.class_name) for name, cell in CATALOGUE.items()
}


def resolve(name: str) -> type[Cell]:
    """The class for a name such as "gru", or for a dotted path such as "mypackage.cells.UGRNN".

    Raises UserError, with the nearest right spelling, where there is no such cell.
    """
    if name in CELLS:
        return CELLS[name]
    asked = f"model.cell={name}"
    path, _, class_name = name.rpartition(".")
    if not path:
        offered = f"{', '.join(CELLS)}, a class of yours by its dotted path"
        raise UserError(refusal("model.cell", name, offered, list(CELLS)))
    try:
        module = importlib.import_module(path)
    except Exception as error:  # the user's module may raise any
        why = str(error) if isinstance(error, ImportError) else f"{type(error).__name__}: {error}"
        raise UserError(f"{asked}: cannot import {path}: {why}") from error
    found = getattr(module, class_name, None)
    there = [key for key, value in vars(module).items() if _is_cell(value)]
    if found is None:
        raise UserError(f"{asked}: {path} has no {class_name}.{nearest(class_name, there)}")
    if not _is_cell(found):
        raise UserError(
            f"{asked}: not a subclass of rnnlab.cells.Cell with a step.{nearest(class_name, there)}"
        )
    return found


def name_of(kind: type[Cell]) -> str | None:
    """The name of one of rnnlab's cells; None for a user's class, even if it is a subclass of one."""
    return next((name for name, cell in CELLS.items() if cell is kind), None)


def _is_cell(value: object) -> bool:
    return inspect.isclass(value) and issubclass(value, Cell) and value.step is not Cell.step
