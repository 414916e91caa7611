"""The native engine as recurrence/engines.py asks for it: what it serves, and how it runs."""

import torch

from rnnlab.cells import Cell
from rnnlab.native import check
from rnnlab.native.engine import run

__all__ = ["obstacle", "run"]


def obstacle(cell: Cell, device: torch.device, precision: str) -> str | None:
    """Why the native engine cannot serve; None where it can. Without another reason, compiles the kernels."""
    if device.type != "cpu" or precision != "32-true":
        return f"the native engine serves precision 32-true on the cpu, not {precision} on {device.type}"
    return check.obstacle(cell)
