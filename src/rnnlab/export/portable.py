"""`Portable`: a trained task as a module of tensors only.

A series is in the units of the data; the state of a text model is an input and an output.
"""

from inspect import signature
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rnnlab.data.spec import SeriesSpec
from rnnlab.errors import UserError
from rnnlab.export.equations import usable
from rnnlab.tasks import CharLM, Classifier, Forecaster


class Portable(NamedTuple):
    """`module(*inputs.values())` returns the tensors named in `outputs`; `axes` names the sizes that may change."""

    module: nn.Module
    inputs: dict[str, Tensor]
    axes: dict[str, dict[int, str]]
    outputs: tuple[str, ...]
    words: str
    limits: str = ""
    """A text on sizes of rows or steps that are fixed, and why; or on inputs that single precision does not hold."""


class Series(nn.Module):
    """x (B, T, inputs) -> (B, horizon, targets), both in the units of the data."""

    input_shift: Tensor
    input_scale: Tensor
    logged: Tensor

    def __init__(self, task: Forecaster) -> None:
        super().__init__()
        self.task = task
        self.register_buffer("input_shift", torch.tensor(task.spec["input_shift"]))
        self.register_buffer("input_scale", torch.tensor(task.spec["input_scale"]))
        logged = [
            bool(task.spec.get("log")) and i in task.spec["target_index"] for i in range(task.spec["inputs"])
        ]
        self.register_buffer("logged", torch.tensor(logged))

    def forward(self, x: Tensor) -> Tensor:
        if self.task.spec.get("log"):
            x = torch.where(self.logged, x.clamp(min=1e-30).log(), x)
        return self.task.unscaled(self.task((x - self.input_shift) / self.input_scale))


class Text(nn.Module):
    """tokens (B, T) int64 and each state (layers, B, H) -> logits (B, T, V) and each state after the last token."""

    def __init__(self, task: CharLM) -> None:
        super().__init__()
        self.task = task

    def forward(self, tokens: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        before = list(zip(*(s.unbind(0) for s in states), strict=True))
        logits, after = self.task(tokens, before)
        return logits, *(torch.stack(s) for s in zip(*after, strict=True))


def dynamic_shapes(model: Portable) -> Any:
    """The sizes that may change, in the form that torch.export needs: nested as the arguments of `forward`."""
    sizes = {name: torch.export.Dim(name) for name in ("batch", "time")}
    shapes = [{at: sizes[size] for at, size in model.axes[name].items()} for name in model.inputs]
    named = [p for p in signature(model.module.forward).parameters.values() if p.kind is not p.VAR_POSITIONAL]
    rest = shapes[len(named) :]
    return (*shapes[: len(named)], *([tuple(rest)] if rest else []))


def rounded(spec: SeriesSpec) -> str:
    """A text on the first input that single precision rounds by more than a thousandth of its spread; "" for none."""
    for i, (level, spread) in enumerate(zip(spec["input_shift"], spec["input_scale"], strict=True), 1):
        share = abs(level) * 2.0**-24 / spread
        if share > 1e-3:
            said = f"Input {i} is so far from zero ({level:.4g}) that single precision rounds it by"
            return f"{said} {share:.2g} of its spread."
    return ""


def portable(task: Any) -> Portable | None:
    """A task of rnnlab's own as a Portable; None for another task. Raises UserError for a model of several series."""
    batch, time = {0: "batch"}, {0: "batch", 1: "time"}
    if type(task) is Forecaster and "series" in task.spec:
        raise UserError(
            "export: this model is of several series, each in its own scale; use --to safetensors"
        )
    if type(task) is Forecaster:
        steps = max(2, task.spec["window"])  # torch takes a size of 1 as fixed
        x = torch.zeros(2, steps, task.spec["inputs"])
        words = (
            "`x` (batch, time, inputs) and `forecast` (batch, horizon, targets) are in the units of the data."
        )
        if task.distribution is not None:
            words += " It is the centre of the distribution; the quantiles are not exported."
        limits = rounded(task.spec)
        words = f"{words} {limits}".strip()
        return Portable(Series(task), {"x": x}, {"x": time}, ("forecast",), words, limits)
    tokens = torch.zeros(2, 5, dtype=torch.int64)
    if type(task) is CharLM:
        cell = task.stack.cells[0]
        count = len(cell.widths)
        names = cell.named_states
        fit = all(usable(name) and name not in ("tokens", "y") for name in names)  # as arguments
        if len(names) != count or not fit:
            names = tuple(f"state{i}" for i in range(count))
        start = [torch.stack(s) for s in zip(*task.stack.start(2), strict=True)]
        words = (
            f"`tokens` (batch, time) are ids of vocabulary.json; {', '.join(f'`{n}`' for n in names)} (layers, batch, "
            "hidden) go in, at first as start.json has them, and come out for the next call."
        )
        return Portable(
            Text(task),
            {"tokens": tokens, **dict(zip(names, start, strict=True))},
            {"tokens": time, **{name: {1: "batch"} for name in names}},
            ("logits", *(f"{name}_next" for name in names)),
            words,
        )
    if type(task) is Classifier:
        before = "before the softmax"
        if task.sigmoid:
            before = "(batch,) before the sigmoid, which gives the probability of class 1"
        words = (
            f"`tokens` (batch, time) are padded on the right to `lengths` (batch,); `logits` are {before}."
        )
        return Portable(
            task,
            {"tokens": tokens, "lengths": torch.tensor([5, 3])},
            {"tokens": time, "lengths": batch},
            ("logits",),
            words,
        )
    return None
