"""Engines: what runs one cell, causally, over the steps of a sequence.

Every engine is a function `run(cell, x, state, reset) -> (y, state)`: x (B, T, I) floats or (B, T) indices of
one-hot inputs, state a tuple of (B, H), y (B, T, H). Reversal, padding and dropout belong to the stack, so that
they are the same for all engines.
"""

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from rnnlab.cells import GRU, LSTM, Cell, Elman, State
from rnnlab.cells.cell import check_choice
from rnnlab.errors import UserError

Engine = Literal["auto", "reference", "torch", "native"]
FUSED: tuple[type[Cell], ...] = (Elman, GRU, LSTM)


class Choice(NamedTuple):
    """The engine taken, and why."""

    engine: str
    reason: str


def choose(requested: str, stack: nn.Module, device: torch.device, precision: str) -> Choice:
    """The engine for a stack on a device in a precision named as Lightning does ("32-true", "bf16-mixed", ...).

    Never depends on callbacks, loggers or being part of a sweep. Raises UserError where the engine asked for
    cannot serve.
    """
    check_choice("model.engine", requested, get_args(Engine))
    cell = next(module for module in stack.modules() if isinstance(module, Cell))
    without = {name: why(cell, device, precision) for name, why in OBSTACLES.items()}
    if requested != "auto":
        if obstacle := without[requested]:
            rest = [name for name in ("auto", "torch", "reference") if not without.get(name)]
            raise UserError(f"model.engine={requested}: {obstacle}; use {' or '.join(rest)}")
        return Choice(requested, "as asked")
    engine = next(name for name in OBSTACLES if not without[name])
    passed = [f"not {name}: {why}" for name, why in without.items() if why]
    return Choice(engine, "; ".join(["auto", *passed[: list(OBSTACLES).index(engine)]]))


def no_native(cell: Cell, device: torch.device, precision: str) -> str | None:
    """Why the native engine cannot serve; None where it can."""
    return "the native engine is not part of this version"


def no_torch(cell: Cell, device: torch.device, precision: str) -> str | None:
    """Why torch's fused layers cannot serve; None where they can. A subclass may have other equations."""
    if type(cell) in FUSED:
        return None
    return f"torch has no fused layer for {type(cell).__name__}"


OBSTACLES = {"native": no_native, "torch": no_torch, "reference": lambda cell, device, precision: None}
"""From the most to the least preferred: why an engine cannot serve."""


def run(engine: str, cell: Cell, x: Tensor, state: State, reset: Tensor | None) -> tuple[Tensor, State]:
    """Runs a cell on an engine; a call with a reset mask, which torch's layers do not have, takes the loop."""
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
    """torch's own layers (cuDNN on a GPU) on the cell's parameters."""
    weights = [cell.weight_ih, cell.weight_hh]
    if cell.bias_ih is not None:
        bias_hh = torch.zeros_like(cell.bias_ih) if cell.bias_hh is None else cell.bias_hh
        weights += [cell.bias_ih, bias_hh]
    if x.device.type == "cuda":
        weights = one_chunk(weights)
    if not x.is_floating_point():
        x = functional.one_hot(x, cell.input_size).to(cell.weight_ih.dtype)
    first = tuple(s.unsqueeze(0).contiguous() for s in state)  # (1, B, H): a layer with one direction
    # has_biases, num_layers, dropout, train, bidirectional, batch_first
    options = (cell.bias_ih is not None, 1, 0.0, cell.training, False, True)
    if isinstance(cell, LSTM):
        y, h, c = torch.lstm(x, first, weights, *options)
        return y, (h[0], c[0])
    if isinstance(cell, GRU):
        y, h = torch.gru(x, first[0], weights, *options)
    elif cell.nonlinearity == "tanh":
        y, h = torch.rnn_tanh(x, first[0], weights, *options)
    else:
        y, h = torch.rnn_relu(x, first[0], weights, *options)
    return y, (h[0],)


def one_chunk(weights: list[Tensor]) -> list[Tensor]:
    """The same weights as views of one tensor, as cuDNN wants them; gradients flow back through it.

    One copy a call, of all steps; it leaves the parameters where they are, unlike `flatten_parameters`.
    """
    flat = torch.cat([w.reshape(-1) for w in weights]).split([w.numel() for w in weights])
    return [part.view_as(w) for part, w in zip(flat, weights, strict=True)]
