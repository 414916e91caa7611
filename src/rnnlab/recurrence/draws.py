"""The random masks of a stack in training, from the run's streams: the same for all engines (native: csrc/batches.c).

Each draw tests whether a 16-bit word of a stream is below a threshold. Seed, step and layer (or cell) give its place.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rnnlab import streams
from rnnlab.cells import Cell
from rnnlab.cells.masks import Masks

Place = tuple[int, ...]
"""(seed, step), the place in the streams; for a part of a batch, also the number of its first row in the batch."""


def between_layers(x: Tensor, p: float, place: Place, layer: int) -> Tensor:
    """Layer `layer`'s output x (B, T, D*H) with dropout, drawn for each element."""
    seed, step, *rows = place
    mask = streams.keep_mask(seed, p, tuple(x.shape), step, layer, row=sum(rows))
    return x * torch.from_numpy(mask).to(x)


def of_inputs(x: Tensor, p: float, place: Place, layer: int, like: Tensor, size: int) -> Tensor:
    """Layer `layer`'s input x (B, T, I) with dropout, drawn once per sequence; indices become one-hots of `size`."""
    seed, step, *rows = place
    if not x.is_floating_point():
        x = functional.one_hot(x, size).to(like.dtype)
    shape = x.shape[0], x.shape[2]
    mask = streams.keep_mask(seed, p, shape, step, layer, stream="input_dropout", row=sum(rows))
    return x * torch.from_numpy(mask).to(x)[:, None]


def of_cell(cell: Cell, x: Tensor, place: Place, at: int) -> Masks | None:
    """The masks of cell `at` of a stack for a batch x (B, T, ...); None for a cell without dropout and zoneout."""
    if not (cell.recurrent_dropout or cell.zoneout):
        return None
    (rows, steps), (seed, step, *first) = x.shape[:2], place
    like = next(cell.parameters())
    products = keep = None
    if p := cell.recurrent_dropout:
        shape = (rows, cell.hidden_size)
        drawn = streams.keep_mask(seed, p, shape, step, at, stream="recurrent_dropout", row=sum(first))
        products = torch.from_numpy(drawn).to(like)
    if cell.zoneout:
        widths = [k * cell.hidden_size for k in cell.state_blocks]
        below = np.repeat([streams.threshold(p) for p in cell.zoneout], widths)
        words = streams.words(seed, "zoneout", (rows, steps, sum(widths)), step, at, row=sum(first))
        keep = torch.from_numpy(words < below).to(like)
    return Masks(products, keep)
