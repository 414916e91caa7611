"""The native engine's interface for recurrence/engines.py: which cells it can run, and how it runs them."""

import torch

from rnnlab.cells import Cell
from rnnlab.native import bindings, check
from rnnlab.native.bindings import PRECISIONS
from rnnlab.native.engine import run

__all__ = ["obstacle", "run"]


def obstacle(cell: Cell, device: torch.device, precision: str) -> str | None:
    """Why the native engine cannot run a cell; None where it can. Compiles the kernels if there is no other reason."""
    if device.type != "cpu" or precision not in PRECISIONS:
        able = " and ".join(PRECISIONS)
        return f"the native engine serves precision {able} on the cpu, not {precision} on {device.type}"
    return check.obstacle(cell) or bindings.obstacle(precision)
