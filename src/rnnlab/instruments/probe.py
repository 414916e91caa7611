"""A probe: fixed sequences of the held-out part, sent through a task's cells one step at a time.

It runs the cells' own `step` whatever the engine, without dropout, touches no gradient, carry or
stream of the training, and leaves the task as it was.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from rnnlab.cells import Cell
from rnnlab.data.module import SequenceData
from rnnlab.tasks.task import Probe, Task

ROWS = 64  # sequences, evenly spread over the part


class Trace(NamedTuple):
    """What a stack's causal layers did, by layer: outputs (T, B, H) and gates {name: (T, B, H)}.

    `steps[l][t]` is the output of layer l at step t, as it stands in the graph of `y` (B, T, output).
    """

    y: Tensor
    steps: list[list[Tensor]]
    gates: list[dict[str, Tensor]]


@contextmanager
def looking(task: Task) -> Iterator[None]:
    """Evaluation mode, out of Lightning's inference mode; the mode before comes back."""
    was_training = task.training
    task.eval()
    try:
        with torch.inference_mode(False), torch.no_grad():
            yield
    finally:
        task.train(was_training)


def probe(task: Task, data: Any, rows: int = ROWS) -> Probe | None:
    """Sequences of the validation part (without one of the training part); None for data that has no examples."""
    if not isinstance(data, SequenceData) or task.outline() is None:
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
