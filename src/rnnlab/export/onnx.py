"""Exports to ONNX, with any number of rows and steps, and checks the file if onnxruntime is installed."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rnnlab.errors import UserError
from rnnlab.export.portable import Portable, dynamic_shapes

TOLERANCE = 1e-5  # the largest difference, relative to the largest output (at least 1)


def write(model: Portable, file: Path) -> str:
    """Writes the file; returns a text on its check. Raises UserError where onnx is missing or the numbers differ."""
    try:
        import onnxscript  # noqa: F401
    except ImportError:
        raise UserError("export --to onnx needs onnx and onnxscript: pip install 'rnnlab[export]'") from None
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                model.module.eval(),
                tuple(model.inputs.values()),
                dynamo=True,
                dynamic_shapes=dynamic_shapes(model),
                input_names=list(model.inputs),
                output_names=list(model.outputs),
                verbose=False,
            )
        except Exception as error:  # torch raises many kinds, for an operation that ONNX lacks
            line = str(error).strip().partition("\n")[0] or type(error).__name__
            raise UserError(f"export --to onnx: torch cannot export this model: {line}") from error
    if program is None:
        raise UserError("export --to onnx: torch made no program")
    program.save(str(file))
    return check(model, file)


def check(model: Portable, file: Path) -> str:
    """Compares the file with the run on inputs of another size; raises UserError where the numbers differ."""
    try:
        import onnxruntime
    except ImportError:
        return "not checked: onnxruntime is not installed"
    inputs = longer_inputs(model)
    with torch.no_grad():
        want: Any = model.module(*inputs.values())
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    found = session.run(None, {name: x.numpy() for name, x in inputs.items()})
    ours = [want] if isinstance(want, torch.Tensor) else want
    worst = apart(zip(ours, map(torch.from_numpy, found), strict=True))
    if not worst <= TOLERANCE:
        raise UserError(
            f"{file.name}: onnxruntime differs from the run by {worst:.1e}; the file is not to be used"
        )
    return f"checked: onnxruntime agrees with the run to {worst:.0e}"


def apart(pairs: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """The largest difference of two outputs, relative to the largest finite one (at least 1); not a number or infinite
    where only one of both is.
    """
    found = []
    for ours, theirs in pairs:
        wide = torch.complex128 if ours.is_complex() else torch.float64
        ours, theirs = ours.to(wide), theirs.to(wide)
        same = (ours == theirs) | (ours.isnan() & theirs.isnan())
        size = ours.abs().nan_to_num(0.0, 0.0, 0.0).max().clamp(min=1)
        found.append(float((ours - theirs).abs().masked_fill(same, 0.0).max() / size))
    return float(np.max(found))  # Python's own max passes over what is not a number


def longer_inputs(model: Portable) -> dict[str, torch.Tensor]:
    """Inputs with another number of rows and steps than those with which the model was exported, where these may
    change.
    """
    inputs = {name: longer(x, model.axes[name]) for name, x in model.inputs.items()}
    if model.axes.get("lengths") and inputs["lengths"].dim() == 1:
        steps = next((x.shape[1] for x in inputs.values() if x.dim() > 1), 1)
        inputs["lengths"] = torch.tensor([steps, 1, (steps + 1) // 2]).to(inputs["lengths"])
    return inputs


def longer(x: torch.Tensor, axes: dict[int, str]) -> torch.Tensor:
    """An input with 3 rows and 7 steps, where these may change; the same input where its size is fixed."""
    if not axes:
        return x
    shape = [{"batch": 3, "time": 7}.get(axes.get(at, ""), n) for at, n in enumerate(x.shape)]
    count = torch.Size(shape).numel()
    if not x.is_floating_point():
        return (torch.arange(count) % 2).reshape(shape).to(x)
    return torch.linspace(-1, 1, count).reshape(shape).to(x)
