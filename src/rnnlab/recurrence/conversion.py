"""Converts stacks to and from torch's own layers, with exactly the same weights."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from rnnlab.cells import CELLS, Cell
from rnnlab.errors import UserError
from rnnlab.recurrence.fused import EQUATIONS
from rnnlab.recurrence.stack import Stack

NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def to_torch(stack: Stack) -> nn.RNNBase:
    """An nn.RNN, nn.GRU or nn.LSTM (batch_first) with a copy of the weights; with bias="one" its second bias is zero.

    Raises UserError for a cell that torch does not have, for cells with different equations, for a learned initial
    state and for zoneout.
    """
    first: Any = stack.layers[0]
    if not first.torch_layer:
        possible = ", ".join(cell.__name__ for cell in CELLS.values() if cell.torch_layer)
        raise UserError(f"to_torch: torch has no layer for {type(first).__name__}; possible: {possible}")
    if not stack.uniform:
        raise UserError("to_torch: the stack's cells have different equations")
    if own := {name for cell in stack.cells for name in EQUATIONS if name in vars(cell)}:
        raise UserError(f"to_torch: a cell has a {min(own)} of its own, which torch's layers do not know")
    if first.zoneout:
        raise UserError("to_torch: torch's layers have no zoneout")
    if first.initial is not None:
        raise UserError("to_torch: torch's layers have no learned initial state; pass it as their hx")
    options = {"nonlinearity": first.nonlinearity} if hasattr(first, "nonlinearity") else {}
    layer = getattr(nn, first.torch_layer)(
        stack.input_size,
        stack.hidden_size,
        stack.num_layers,
        bias=first.bias != "none",
        batch_first=True,
        dropout=stack.dropout,
        bidirectional=stack.bidirectional,
        device="meta",  # so that nothing is drawn from the global generator
        dtype=first.weight_ih.dtype,
        **options,
    ).to_empty(device=first.weight_ih.device)
    with torch.no_grad():
        for suffix, cell in _pairs(stack):
            for name in NAMES:
                if (target := getattr(layer, name + suffix, None)) is not None:
                    source = getattr(cell, name)
                    target.copy_(source if source is not None else torch.zeros_like(target))
    return layer.train(stack.training)


def from_torch(layer: nn.RNNBase) -> Stack:
    """A Stack with a copy of the weights of an nn.RNN, nn.GRU or nn.LSTM; a Stack's inputs are always (B, T, I).

    Raises UserError for another module and for an LSTM with projections.
    """
    kinds: dict[type, type[Cell]] = {getattr(nn, c.torch_layer): c for c in CELLS.values() if c.torch_layer}
    if type(layer) not in kinds:
        possible = ", ".join(f"nn.{kind.__name__}" for kind in kinds)
        raise UserError(f"from_torch: {type(layer).__name__} is none of {possible}")
    if layer.proj_size:
        raise UserError(f"from_torch: proj_size={layer.proj_size}: an LSTM with projections has no cell here")
    stack = Stack(
        kinds[type(layer)],
        layer.input_size,
        layer.hidden_size,
        layer.num_layers,
        dropout=layer.dropout,
        bidirectional=layer.bidirectional,
        bias="both" if layer.bias else "none",
        nonlinearity=getattr(layer, "nonlinearity", "tanh"),
    ).to(cast(Tensor, layer.weight_ih_l0))
    with torch.no_grad():
        for suffix, cell in _pairs(stack):
            for name, parameter in cell.named_parameters():
                parameter.copy_(getattr(layer, name + suffix))
    return stack.train(layer.training)


def _pairs(stack: Stack) -> list[tuple[str, nn.Module]]:
    """Each cell with the suffix of its parameters' names in torch's layers."""
    places = [(layer, d) for layer in range(stack.num_layers) for d in range(stack.directions)]
    return [
        (f"_l{layer}" + ("_reverse" if d else ""), cell)
        for (layer, d), cell in zip(places, stack.layers, strict=True)
    ]
