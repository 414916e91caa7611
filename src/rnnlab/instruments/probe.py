"""A probe: fixed sequences of the held-out part, sent through a task's cells one step at a time.

It takes the reference way through the cells whatever the engine, without dropout, touches no gradient, carry or
stream of the training, and leaves the task as it was.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from rnnlab.cells import GRU, LSTM, Cell, Elman
from rnnlab.data.chars import Chars
from rnnlab.data.module import Split
from rnnlab.data.tokens import Tokens
from rnnlab.data.windows import Windowed
from rnnlab.tasks import CharLM, Classifier, Forecaster
from rnnlab.tasks.task import Task

ROWS = 64  # sequences, evenly spread over the part

# the blocks of a cell's weights in torch's order, and which of them is the candidate, the path of the state itself
GATES: dict[type[Cell], tuple[str, ...]] = {
    Elman: ("h",),
    GRU: ("reset", "update", "candidate"),
    LSTM: ("input", "forget", "candidate", "output"),
}


class Probe(NamedTuple):
    """`x` (B, T, I) floats or (B, T) indices, as the stack takes them after embedding; what `loss` needs in `y`."""

    x: Tensor
    y: Tensor
    last: Tensor | None = None  # (B, I), what a Forecaster with `subtract_last` took away


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
    """Sequences of the validation part (without one of the training part); None for data that is not ours."""
    split = held_out(data)
    device = task.device
    if isinstance(task, Forecaster) and isinstance(data, Windowed):
        starts = _spread(data.starts(split), rows)
        x = data.series[starts[:, None] + torch.arange(data.window), : data.inputs]
        ahead = data.series[starts[:, None] + data.window + torch.arange(data.horizon)]
        x, y = x.to(device), ahead[..., data.target_columns].to(device)
        if task.subtract_last:
            return Probe(x - x[:, -1:], y, x[:, -1])
        return Probe(x, y)
    if isinstance(task, CharLM) and isinstance(data, Chars):
        text = data.rows(split)
        length = min(data.segment, text.shape[1] - 1)
        pieces = text.unfold(1, length + 1, max(1, length // 2)).flatten(0, 1)
        pieces = _spread(pieces, rows).to(device)
        x = pieces[:, :-1]
        return Probe(x if task.embedding is None else task.embedding(x), pieces[:, -1])
    if isinstance(task, Classifier) and isinstance(data, Tokens):
        x, lengths, y = data.part(split)
        whole = lengths == lengths.max()  # rows without padding
        x, y = _spread(x[whole], rows).to(device), _spread(y[whole], rows).to(device)
        return Probe(task.embedding(x), y)
    return None


def held_out(data: Any) -> Split:
    """The validation part; where there is none the training part."""
    return "val" if data.loader("val") is not None else "train"


def _spread(rows: Tensor, n: int) -> Tensor:
    """At most n of the rows, evenly spread."""
    if len(rows) <= n:
        return rows
    return rows[torch.linspace(0, len(rows) - 1, n).long()]


def trace(task: Task, x: Tensor) -> Trace:
    """Runs the stack over x from its initial state."""
    stack, steps, gates = task.stack, [], []
    for layer in range(stack.num_layers):
        outputs = []
        for direction in range(stack.directions):
            cell = cast(Cell, stack.layers[layer * stack.directions + direction])
            hs, blocks = _run(cell, x.flip(1) if direction else x, names=GATES.get(type(cell), ()))
            y = torch.stack(hs, 1)
            outputs.append(y.flip(1) if direction else y)
            if not direction:
                steps.append(hs)
                gates.append(blocks)
        x = torch.cat(outputs, -1)
    return Trace(x, steps, gates)


def _run(cell: Cell, x: Tensor, names: tuple[str, ...]) -> tuple[list[Tensor], dict[str, Tensor]]:
    state, outputs, opened = cell.start(x.shape[0]), [], []
    for u in cell.project(x).unbind(1):
        if names:
            opened.append(gates_of(cell, u, state[0]).detach())
        h, state = cell.step(u, state)
        outputs.append(h)
    if not names:
        return outputs, {}
    blocks = torch.stack(opened).chunk(len(names), -1)
    return outputs, dict(zip(names, blocks, strict=True))


def gates_of(cell: Cell, u: Tensor, h: Tensor) -> Tensor:
    """All gates of a step side by side (B, gates*H), squeezed as the cell squeezes them."""
    v = cell.recur(h)
    if isinstance(cell, GRU):
        (ur, uz, un), (vr, vz, vn) = u.chunk(3, -1), v.chunk(3, -1)
        r = torch.sigmoid(ur + vr)
        return torch.cat([r, torch.sigmoid(uz + vz), torch.tanh(un + r * vn)], -1)
    if isinstance(cell, LSTM):
        i, f, g, o = (u + v).chunk(4, -1)
        return torch.cat([torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)], -1)
    return (torch.tanh if getattr(cell, "nonlinearity", "tanh") == "tanh" else torch.relu)(u + v)


def final_loss(task: Task, y: Tensor, probe: Probe) -> Tensor:
    """The task's loss at the end of each sequence, from the stack's outputs y (B, T, output)."""
    end = y[:, -1]
    if isinstance(task, Forecaster):
        forecast = task.head(end).view(-1, task.horizon, task.targets)
        if probe.last is not None:
            forecast = forecast + probe.last[:, None, task.target_index]
        return task.criterion(forecast, probe.y)
    if isinstance(task, CharLM):
        return torch.nn.functional.cross_entropy(task.head(end), probe.y)
    assert isinstance(task, Classifier)
    h = task.stack.hidden_size
    logits = task.head(torch.cat([end[:, :h], y[:, 0, h:]], -1))
    return task.criterion(logits.squeeze(-1) if task.sigmoid else logits, probe.y)
