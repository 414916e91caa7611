"""Exports a program of torch.export: the model's operations and weights in one file, which needs only torch."""

import warnings
from pathlib import Path

import torch

from rnnlab.errors import UserError
from rnnlab.export.onnx import TOLERANCE, apart, longer_inputs
from rnnlab.export.portable import Portable, dynamic_shapes


def write(model: Portable, file: Path) -> str:
    """Writes the file, reads it back and compares; returns a text on it. Raises UserError where the numbers differ."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.export.export(
            model.module.eval(), tuple(model.inputs.values()), dynamic_shapes=dynamic_shapes(model)
        )
        torch.export.save(program, file)
        read = torch.export.load(file).module()
        inputs = longer_inputs(model)
        ours, theirs = model.module(*inputs.values()), read(*inputs.values())
    pairs = [(ours, theirs)] if isinstance(ours, torch.Tensor) else list(zip(ours, theirs, strict=True))
    worst = apart(pairs)
    if not worst <= TOLERANCE:
        raise UserError(f"{file.name}: differs from the run by {worst:.1e}; the file is not to be used")
    return f"checked: read back, it agrees with the run to {worst:.0e}"
