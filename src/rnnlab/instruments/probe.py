"""The probe of instruments: fixed sequences of the held-out part, run through a task's cells one step at a time.

It uses the cells' own `step` with every engine, without dropout. It changes no gradient, carry or stream of the
training, and leaves the task as it was.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, cast

import torch
from torch import Tensor

from rnnlab.cells import Cell
from rnnlab.data.module import SequenceData
from rnnlab.tasks.task import Probe, Task

ROWS = 64  # sequences, evenly spread over the part


class Trace(NamedTuple):
    """A pass of a stack: its output `y` (B, T, output), and for each layer (forward direction) outputs and gates.

    `steps[l][t]` (B, H) is the output of layer l at step t, part of the autograd graph of `y`; `gates[l]` is
    {name: (T, B, H)}.
    """

    y: Tensor
    steps: list[list[Tensor]]
    gates: list[dict[str, Tensor]]


@contextmanager
def looking(task: Task) -> Iterator[None]:
    """While open, the task is in evaluation mode, without Lightning's inference mode; then its mode is restored."""
    was_training = task.training
    task.eval()
    try:
        with torch.inference_mode(False), torch.no_grad():
            yield
    finally:
        task.train(was_training)


def probe(task: Task, data: SequenceData, rows: int = ROWS) -> Probe | None:
    """Sequences of the validation part, or of the training part if that is empty; None for data without examples and
    tasks without an outline.
    """
    # the kernels have no Student's t, and so it has no outline; its model is a stack and a head all the same
    described = task.outline() is not None or getattr(task, "loss_name", "") == "student_t"
    if not isinstance(data, SequenceData) or not described:
        return None
    examples = data.examples(data.held_out(), rows)
    if examples is None:
        return None
    x, y = (tensor.to(task.device) for tensor in examples)
    return task.probed(x, y)


def trace(task: Task, x: Tensor) -> Trace:
    """Runs the stack over x from its initial state."""
    stack, steps, gates = task.stack, [], []
    for layer in range(stack.num_layers):
        outputs = []
        for direction in range(stack.directions):
            cell = cast(Cell, stack.layers[layer * stack.directions + direction])
            hs, opened = _run(cell, x.flip(1) if direction else x)
            y = torch.stack(hs, 1)
            outputs.append(y.flip(1) if direction else y)
            if not direction:
                steps.append(hs)
                gates.append(opened)
        x = torch.cat(outputs, -1)
    return Trace(x, steps, gates)


def _run(cell: Cell, x: Tensor) -> tuple[list[Tensor], dict[str, Tensor]]:
    """A cell's outputs (B, H) at each step, and its gates {name: (T, B, H)}; gates are not differentiated."""
    state, outputs, opened = cell.start(x.shape[0]), [], []
    for u in cell.project(x).unbind(1):
        with torch.no_grad():
            opened.append(cell.activations(u, state))
        h, state = cell.advance(u, state)
        outputs.append(h)
    return outputs, {name: torch.stack([at[name] for at in opened]) for name in opened[0]}
