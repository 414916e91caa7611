"""A user's own task or LightningModule as a module of tensors: its `forward`, with a batch of its data as inputs."""

import inspect
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from rnnlab.data.module import SequenceData, Split
from rnnlab.errors import UserError
from rnnlab.export.portable import Portable, dynamic_shapes
from rnnlab.runs.data import load_data
from rnnlab.runs.run import Run
from rnnlab.training.generators import gives

PARTS: tuple[Split, ...] = ("test", "val", "train")
INSTEAD = "--to safetensors takes its weights"


class Own(nn.Module):
    """A task whose `forward` returns a tensor or a tuple of tensors; a dictionary becomes a tuple."""

    def __init__(self, task: nn.Module) -> None:
        super().__init__()
        self.task = task

    def forward(self, *inputs: Tensor) -> Any:
        found = self.task(*inputs)
        return tuple(found.values()) if isinstance(found, dict) else found


def own(task: nn.Module, run: Run, trust: bool) -> Portable:
    """The task as a Portable, with inputs from one batch of its data. Raises UserError if it cannot be traced."""
    kind = type(task).__name__
    inputs = dict(zip(names(task), first_inputs(task, run, trust), strict=False))
    module, error = Own(task).eval(), ""
    with torch.no_grad():
        try:
            found = module(*inputs.values())
        except Exception as failed:
            raise UserError(
                f"export: forward of {kind} cannot be called: {first_line(failed)}; {INSTEAD}"
            ) from failed
    outputs = list(found) if isinstance(found, tuple | list) else [found]
    if other := next((type(one).__name__ for one in outputs if not isinstance(one, Tensor)), ""):
        raise UserError(f"export: forward of {kind} gives a {other}, and only tensors are traced; {INSTEAD}")
    if not outputs or any(one.numel() == 0 for one in outputs):
        raise UserError(
            f"export: forward of {kind} gives an empty output, which cannot be checked; {INSTEAD}"
        )
    said = ("output",) if isinstance(found, Tensor) else tuple(f"output{i}" for i in range(len(outputs)))
    for axes in candidates(inputs):
        sizes = ", ".join(f"`{name}` {shape(x, axes[name])}" for name, x in inputs.items())
        limits = fixed(task, inputs, axes)
        words = f"`forward` of {kind} takes {sizes}.{scaling(task)}"
        model = Portable(module, inputs, axes, said, f"{words} {limits}".strip(), limits)
        try:
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")
                torch.export.export(module, tuple(inputs.values()), dynamic_shapes=dynamic_shapes(model))
        except Exception as failed:
            error = first_line(failed)
            continue
        return model
    raise UserError(f"export: forward of {kind} cannot be traced: {error}; {INSTEAD}")


def scaling(task: Any) -> str:
    """A text on the units of a forecaster's `forward`, where its data is scaled; "" for other models."""
    spec = getattr(task, "spec", {})
    if "series" in spec:
        return " It takes values in the scale of each series."
    scales = [spec.get(key, []) for key in ("input_shift", "input_scale", "target_shift", "target_scale")]
    if not any(scales[0] + scales[2]) and set(scales[1] + scales[3]) <= {1.0}:
        return ""
    minus, over, plus, times = (", ".join(map(repr, values)) for values in scales)
    return (
        f" It takes scaled values: those of the data minus {minus}, divided by {over}. An output in this scale, times "
        f"{times}, plus {plus}, is in the units of the data."
    )


def fixed(task: nn.Module, inputs: dict[str, Tensor], axes: dict[str, dict[int, str]]) -> str:
    """A text on which sizes are fixed, and why; "" if rows and steps may change."""
    if not any(axes.values()):
        return "All sizes are fixed: its code depends on them."
    wanted = next(candidates(inputs))
    lengths = [
        f"{inputs[name].shape[1]} steps of `{name}`" for name in inputs if len(axes[name]) < len(wanted[name])
    ]
    torchs = sorted({f"nn.{type(m).__name__}" for m in task.modules() if isinstance(m, nn.RNNBase)})
    by = f"torch fixes it where it traces {' and '.join(torchs)}" if torchs else "its code depends on it"
    return f"The length is fixed, {' and '.join(lengths)}: {by}." if lengths else ""


def first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:200]


def names(task: nn.Module) -> list[str]:
    """The arguments of `forward` that have no default."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    found = inspect.signature(task.forward).parameters.values()
    needed = [p.name for p in found if p.kind in kinds and p.default is inspect.Parameter.empty]
    return needed or ["x"]


def first_inputs(task: Any, run: Run, trust: bool) -> Iterator[Tensor]:
    """The parts of a batch of the run's data; a single row is doubled, because torch takes a size of 1 as fixed."""
    data = load_data(run, getattr(task, "spec", {}), trust=trust)
    batches: Any
    # a user's own data may have a method `loader` that takes something else
    if isinstance(data, SequenceData):
        batches = next(loader for part in PARTS if (loader := data.loader(part)) is not None)
    else:
        given = ((one, part) for part in PARTS for one in (data, task) if gives(one, f"{part}_dataloader"))
        owner, part = next(given, (None, ""))
        if owner is None:
            raise UserError(
                f"export: {type(data).__name__} gives no batch to trace the model with; {INSTEAD}"
            )
        if part != "test":
            data.setup("validate" if part == "val" else "fit")
        batches = getattr(owner, f"{part}_dataloader")()
    batch = next(iter(batches))
    parts = list(batch) if isinstance(batch, tuple | list) else [batch]
    for one in parts:
        if not isinstance(one, Tensor):
            raise UserError(
                f"export: a batch has a {type(one).__name__}, and only tensors are traced; {INSTEAD}"
            )
        yield torch.cat([one, one]) if one.dim() and len(one) == 1 else one


def candidates(inputs: dict[str, Tensor]) -> Iterator[dict[str, dict[int, str]]]:
    """The sizes that may change, from most to none: rows and steps; rows; none."""
    rows = next((len(x) for x in inputs.values() if x.dim()), 0)
    batch = {name: {0: "batch"} if x.dim() and len(x) == rows else {} for name, x in inputs.items()}
    steps = {name: axes | ({1: "time"} if axes and x.dim() == (3 if x.is_floating_point() else 2) else {})
             for (name, x), axes in zip(inputs.items(), batch.values(), strict=True)}  # fmt: skip
    if steps != batch:
        yield steps
    yield batch
    yield {name: {} for name in inputs}


def shape(x: Tensor, axes: dict[int, str]) -> str:
    sizes = ", ".join(axes.get(i, str(n)) for i, n in enumerate(x.shape))
    return f"({sizes}{',' * (x.dim() == 1)}) {str(x.dtype).removeprefix('torch.')}"
