"""Engines: what runs one cell, causally, over the steps of a sequence.

Every engine is a function `run(cell, x, state, reset) -> (y, state)`: x (B, T, I) floats or (B, T) indices of
one-hot inputs, state a tuple of (B, H), y (B, T, H). Reversal, padding and dropout belong to the stack, so
that they are the same for all engines.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn import functional

from rnnlab import native
from rnnlab.cells import GRU, LSTM, Cell, Elman, State
from rnnlab.cells.choice import check_choice
from rnnlab.errors import UserError

if TYPE_CHECKING:
    from rnnlab.recurrence.stack import Stack

Engine = Literal["auto", "reference", "torch", "native"]
FUSED: tuple[type[Cell], ...] = (Elman, GRU, LSTM)


class Choice(NamedTuple):
    """The engine taken, and why."""

    engine: str
    reason: str


def choose(requested: str, stack: Stack, device: torch.device, precision: str) -> Choice:
    """The engine for a stack on a device in a precision named as Lightning does ("32-true", "bf16-mixed").

    Never depends on callbacks, loggers or being part of a sweep. Raises UserError where the engine asked for
    cannot serve.
    """
    check_choice("model.engine", requested, get_args(Engine))

    def obstacle(engine: str) -> str | None:  # a look at the native engine compiles it: only where need be
        return OBSTACLES[engine](stack.kind, device, precision)

    if requested == "auto":
        passed: list[str] = []
        for engine in OBSTACLES:
            if (why := obstacle(engine)) is None:
                return Choice(engine, "auto: " + ("; ".join(passed) or "the fastest"))
            passed.append(why)
    elif why := obstacle(requested):
        able = [engine for engine in OBSTACLES if engine != requested and obstacle(engine) is None]
        raise UserError(f"model.engine={requested}: {why}; use {' or '.join(['auto', *able])}")
    return Choice(requested, "asked for")


def no_native(kind: type[Cell], device: torch.device, precision: str) -> str | None:
    """Why the native engine cannot serve; None where it can. A subclass may have other equations."""
    if kind not in FUSED:
        return f"the native engine has no kernels for {kind.__name__}"
    if device.type != "cpu" or precision != "32-true":
        return f"the native engine serves precision 32-true on the cpu, not {precision} on {device.type}"
    return native.obstacle()


def no_torch(kind: type[Cell], device: torch.device, precision: str) -> str | None:
    """Why torch's fused layers cannot serve; None where they can. A subclass may have other equations."""
    return None if kind in FUSED else f"torch has no fused layer for {kind.__name__}"


def no_reference(kind: type[Cell], device: torch.device, precision: str) -> None:
    """The reference serves every cell, device and precision."""


OBSTACLES: dict[str, Callable[[type[Cell], torch.device, str], str | None]] = {
    "native": no_native,
    "torch": no_torch,
    "reference": no_reference,
}
"""Why an engine cannot serve, from the most to the least preferred."""


def run(engine: str, cell: Cell, x: Tensor, state: State, reset: Tensor | None) -> tuple[Tensor, State]:
    """Runs a cell on an engine. Torch's layers know no resets: a call with a reset mask takes the loop."""
    if engine == "native":
        return native.recurrence(cell, x, state, reset)
    if engine == "torch" and reset is None:
        return fused(cell, x, state)
    return reference(cell, x, state, reset)


def reference(cell: Cell, x: Tensor, state: State, reset: Tensor | None = None) -> tuple[Tensor, State]:
    """A Python loop over `step`, for every cell, device and precision; reset (B, T) bool."""
    u = cell.project(x)  # (B, T, gates*H): one product for all steps
    begin = cell.start(x.shape[0]) if reset is not None else ()
    outputs = []
    for t, u_t in enumerate(u.unbind(1)):
        if reset is not None:
            again = reset[:, t, None]
            state = tuple(torch.where(again, first, now) for first, now in zip(begin, state, strict=True))
        y, state = cell.step(u_t, state)
        outputs.append(y)
    return torch.stack(outputs, 1), state


def fused(cell: Cell, x: Tensor, state: State) -> tuple[Tensor, State]:
    """Torch's own layers (cuDNN on a GPU) on the cell's parameters."""
    weights = [cell.weight_ih, cell.weight_hh]
    if cell.bias_ih is not None:
        weights += [cell.bias_ih, torch.zeros_like(cell.bias_ih) if cell.bias_hh is None else cell.bias_hh]
    if x.device.type == "cuda":
        weights = one_chunk(weights)
    if not x.is_floating_point():
        x = functional.one_hot(x, cell.input_size).to(cell.weight_ih.dtype)
    first = [s.unsqueeze(0).contiguous() for s in state]  # (1, B, H): one layer, one direction
    # has_biases, num_layers, dropout, train, bidirectional, batch_first
    options: Any = (cell.bias_ih is not None, 1, 0.0, cell.training, False, True)
    if isinstance(cell, LSTM):
        y, h, c = torch.lstm(x, first, weights, *options)
        return y, (h[0], c[0])
    if isinstance(cell, GRU):
        layer: Any = torch.gru
    else:
        layer = torch.rnn_tanh if cell.nonlinearity == "tanh" else torch.rnn_relu
    y, h = layer(x, first[0], weights, *options)
    return y, (h[0],)


def one_chunk(weights: list[Tensor]) -> list[Tensor]:
    """The same weights as views of one tensor, as cuDNN wants them; gradients flow back through it.

    One copy a call, for all steps. Unlike `flatten_parameters` it leaves the parameters where they are.
    """
    flat = torch.cat([w.reshape(-1) for w in weights]).split([w.numel() for w in weights])
    return [part.view_as(w) for part, w in zip(flat, weights, strict=True)]
