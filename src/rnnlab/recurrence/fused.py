"""The torch engine: torch's own layers (cuDNN on a GPU) on a cell's parameters."""

import torch
from torch import Tensor
from torch.nn import functional

from rnnlab.cells import Cell, State
from rnnlab.cells.masks import Masks
from rnnlab.recurrence import reference

EQUATIONS = ("project", "recur", "activate", "step", "advance")  # the methods that decide a cell's equations


def obstacle(cell: Cell, device: torch.device, precision: str) -> str | None:
    """The reason why torch's layers cannot run the cell; None where they can."""
    if not cell.torch_layer:
        return f"torch has no fused layer for {type(cell).__name__}"
    if own := [name for name in EQUATIONS if name in vars(cell)]:
        return f"torch's fused layers do not know this {type(cell).__name__}'s own {' and '.join(own)}"
    if cell.zoneout:
        return "torch's fused layers have no zoneout"
    return "torch's fused layers have no recurrent dropout" if cell.recurrent_dropout else None


def run(
    cell: Cell, x: Tensor, state: State, reset: Tensor | None = None, masks: Masks | None = None
) -> tuple[Tensor, State]:
    """See engines.py. torch's layers have no resets: a call with `reset` runs in the reference engine."""
    if reset is not None:
        return reference.run(cell, x, state, reset, masks)
    assert cell.weight_hh is not None  # all layers of torch have one
    weights = [cell.weight_ih, cell.weight_hh]
    if cell.bias_ih is not None:
        weights += [cell.bias_ih, torch.zeros_like(cell.bias_ih) if cell.bias_hh is None else cell.bias_hh]
    if x.device.type == "cuda":
        weights = one_chunk(weights)
    if not x.is_floating_point():
        x = functional.one_hot(x, cell.input_size).to(cell.weight_ih.dtype)
    first = [s.unsqueeze(0).contiguous() for s in state]  # (1, B, H): one layer, one direction
    # has_biases, num_layers, dropout, train, bidirectional, batch_first
    options = (cell.bias_ih is not None, 1, 0.0, cell.training, False, True)
    y, *last = cell.torch_function(x, first if len(first) > 1 else first[0], weights, *options)
    return y, tuple(s[0] for s in last)


def one_chunk(weights: list[Tensor]) -> list[Tensor]:
    """The same weights as views of one tensor, as cuDNN needs them; gradients flow back through it.

    This copies once per call. Unlike `flatten_parameters` it leaves the parameters where they are.
    """
    flat = torch.cat([w.reshape(-1) for w in weights]).split([w.numel() for w in weights])
    return [part.view_as(w) for part, w in zip(flat, weights, strict=True)]
