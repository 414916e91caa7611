"""The reference engine: a Python loop over a cell's own `step`, for every cell, device and precision."""

import torch
from torch import Tensor
from torch.nn.utils import parametrize

from rnnlab.cells import Cell, State
from rnnlab.cells.masks import Masks


def obstacle(cell: Cell, device: torch.device, precision: str) -> None:
    """None: this engine runs every cell, on every device, in every precision."""


def run(
    cell: Cell, x: Tensor, state: State, reset: Tensor | None = None, masks: Masks | None = None
) -> tuple[Tensor, State]:
    """See engines.py; where reset[b, t], the state of row b becomes the initial state before step t."""
    with parametrize.cached():  # parametrized weights are computed once, not at each step
        return loop(cell, x, state, reset, masks)


def loop(
    cell: Cell, x: Tensor, state: State, reset: Tensor | None, masks: Masks | None
) -> tuple[Tensor, State]:
    u = cell.project(x)  # (B, T, gates*H): one product for all steps
    begin = cell.start(x.shape[0]) if reset is not None else ()
    outputs = []
    for t, u_t in enumerate(u.unbind(1)):
        if reset is not None:
            again = reset[:, t, None]
            state = tuple(torch.where(again, first, now) for first, now in zip(begin, state, strict=True))
        now = masks
        if masks is not None and masks.keep is not None:
            now = masks._replace(keep=masks.keep[:, t])
        y, state = cell.advance(u_t, state, now)
        outputs.append(y)
    return torch.stack(outputs, 1), state
