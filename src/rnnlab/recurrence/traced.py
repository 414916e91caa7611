"""A recurrence in operations that torch can record, for calls that torch traces, exports or compiles.

torch cannot record the kernels of the native engine: a graph would contain only the empty memory for their results.
The equations are the same here, and the numbers agree within rounding.
"""

import torch
from torch import Tensor
from torch._higher_order_ops.scan import scan

from rnnlab.cells import Cell, State
from rnnlab.cells.masks import Masks
from rnnlab.recurrence import fused, reference


def is_traced(x: Tensor) -> bool:
    """Whether torch records a call on `x`. A tensor of another class, such as a fake tensor, may hold no numbers."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing() or type(x) not in PLAIN


PLAIN = (Tensor, torch.nn.Parameter)


def run(
    cell: Cell, x: Tensor, state: State, reset: Tensor | None = None, masks: Masks | None = None
) -> tuple[Tensor, State]:
    """See engines.py. An exported graph takes sequences of any length; a traced one only if the cell is torch's own."""
    if masks is not None:
        return reference.run(cell, x, state, reset, masks)
    if torch.compiler.is_exporting():
        return scanned(cell, x, state, reset)
    has_layer = fused.obstacle(cell, x.device, "") is None and reset is None
    return (fused if has_layer else reference).run(cell, x, state, reset)


def scanned(cell: Cell, x: Tensor, state: State, reset: Tensor | None) -> tuple[Tensor, State]:
    """`reference.run` as one operation over all steps, so that a graph takes any number of steps."""
    begin = cell.start(x.shape[0]) if reset is not None else ()

    def step(state: State, at: tuple[Tensor, ...]) -> tuple[State, Tensor]:
        u, *again = at
        if again:
            state = tuple(
                torch.where(again[0][:, None], first, now) for first, now in zip(begin, state, strict=True)
            )
        y, state = cell.advance(u, state)
        return tuple(s.clone() for s in state), y.clone()  # results of a scan must not share memory

    u = cell.project(x).transpose(0, 1)  # (T, B, gates*H)
    first = tuple(s.clone(memory_format=torch.contiguous_format) for s in state)
    last, y = scan(step, first, (u,) if reset is None else (u, reset.transpose(0, 1)))
    return y.transpose(0, 1), last
