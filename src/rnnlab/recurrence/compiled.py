"""The compiled engine: the reference loop compiled by torch.compile, for one run that is trained alone on a GPU.

`auto` never chooses it: compiling takes seconds to minutes, more for longer sequences, and again for each shape of a
batch. Each shape has its own code (`dynamic=False`), so that the numbers do not depend on which shapes came before.
"""

import importlib.util
import os
import shutil
import sys
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException

from rnnlab.cells import Cell, State
from rnnlab.cells.masks import Masks
from rnnlab.errors import UserError
from rnnlab.recurrence import reference

SHAPES = 64  # shapes of a batch that torch compiles before it gives up


def obstacle(cell: Cell, device: torch.device, precision: str) -> str | None:
    """The reason why torch cannot compile for this device; None where it can."""
    if device.type == "cuda":
        return None if importlib.util.find_spec("triton") else "torch.compile needs Triton on a GPU"
    if device.type != "cpu":
        return f"torch.compile serves cpu and gpu, not {device.type}"
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    return None if shutil.which(compiler) else f"torch.compile needs a C++ compiler; there is no {compiler}"


def run(
    cell: Cell, x: Tensor, state: State, reset: Tensor | None = None, masks: Masks | None = None
) -> tuple[Tensor, State]:
    """See engines.py. Raises UserError for a cell that torch cannot compile, and for too many shapes of a batch."""
    try:
        with torch._dynamo.config.patch(recompile_limit=SHAPES):
            return _compiled()(cell, x, state, reset, masks)
    except TorchDynamoException as error:
        why = next(line.strip() for line in str(error).splitlines() if line.strip())
        name = type(cell).__name__
        raise UserError(
            f"model.engine=compiled: torch.compile cannot serve {name}: {why}; use reference"
        ) from error


@cache
def _compiled() -> Any:
    return torch.compile(reference.loop, fullgraph=True, dynamic=False)
