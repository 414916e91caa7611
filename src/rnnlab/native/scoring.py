"""The sums of an evaluation in C, from a head's outputs, and the head itself; the same bits as `Program.score`."""

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from rnnlab.native.bindings import LOSSES, Units, address, library
from rnnlab.native.tensors import dense

SCORES = 5  # see scores.h
MAX_LEVELS = 128
LOSS, SQUARES, ABSOLUTES, SPREAD, BETWEEN = range(SCORES)
RIGHT = SQUARES

_EXACT: ContextVar[str | None] = ContextVar(
    "the precision in which heads sum as the kernels do", default=None
)


@contextmanager
def exact_heads(precision: str = "32-true") -> Iterator[None]:
    """While open, a `Head` without gradients sums in the order of the kernels of this precision, so that the number of
    rows and threads does not change a bit.
    """
    before = _EXACT.set(precision)
    try:
        yield
    finally:
        _EXACT.reset(before)


class Head(nn.Linear):
    """A linear layer; see `exact_heads`."""

    def forward(self, input: Tensor) -> Tensor:
        precision = _EXACT.get()
        if precision is None or torch.is_grad_enabled():
            return super().forward(input)
        return linear(input, self.weight, self.bias, precision)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, precision: str = "32-true") -> Tensor:
    """A linear layer: x (..., inputs) float32 -> (..., outputs); each output is one chain of fused multiply-adds."""
    x, weight = dense(x), dense(weight)
    y = x.new_empty(*x.shape[:-1], len(weight))
    rows = x.numel() // x.shape[-1]
    bias = None if bias is None else dense(bias)
    done = library(precision).c.rnnlab_linear(
        rows, x.shape[-1], len(weight), *map(address, (x, weight, bias, y))
    )
    return y if done else _no_memory()


class Scale:
    """How to convert forecasts to the units of the data: scale and shift of each target; for quantiles also the levels.

    For classes the defaults are used.
    """

    def __init__(
        self, scale: Sequence[float] = (1.0,), shift: Sequence[float] = (0.0,), levels: Sequence[float] = ()
    ) -> None:
        self.kept = [np.array(values, dtype=np.float64) for values in (scale, shift, levels)]
        self.levels = max(1, len(levels))
        if self.levels > MAX_LEVELS:
            raise ValueError(f"{self.levels} levels; the kernels take {MAX_LEVELS}")
        middle = min(range(len(levels)), key=lambda i: abs(levels[i] - 0.5), default=0)
        self.units = Units(len(scale), *(values.ctypes.data for values in self.kept), middle)


def are_readable(loss: str, truth: Tensor, classes: int) -> bool:
    """Whether `scores` can read the truth of a batch: float32 for forecasts, else int64 labels of `classes` classes."""
    if loss not in ("cross_entropy", "binary_cross_entropy"):
        return truth.dtype == torch.float32
    if truth.dtype != torch.int64 or not truth.numel():
        return False
    low, high = torch.aminmax(truth)
    return int(low) >= 0 and int(high) < classes


def scores(loss: str, said: Tensor, truth: Tensor, scale: Scale, huber_delta: float = 1.0) -> list[float]:
    """The sums over a batch.

    For forecasts, `said` (the outputs; B rows) and `truth` (B, ...) are float32. For classes, `said` is (B, T,
    classes), or (B, classes) with one class per row, and `truth` int64 (B, T) or (B,); see `are_readable`. Raises
    ValueError for a truth that does not fit the outputs.
    """
    rows, forecasts = len(said), truth.is_floating_point()
    places = 1 if forecasts or truth.dim() == 1 else truth.shape[1]
    sums = (ctypes.c_double * SCORES)()
    said, truth = dense(said), dense(truth)
    outputs = said.numel() // max(1, rows * places)
    fits = len(truth) == rows and said.numel() == truth.numel() * scale.levels
    if not (fits if forecasts else truth.shape in (said.shape, said.shape[:-1])):
        raise ValueError(f"the outputs are {tuple(said.shape)}, the truth is {tuple(truth.shape)}")
    where = (address(truth), None) if forecasts else (None, address(truth))
    done = library().c.rnnlab_scores(
        LOSSES[loss], huber_delta, scale.levels, ctypes.addressof(scale.units),
        rows, places, outputs, address(said), *where, ctypes.addressof(sums),
    )  # fmt: skip
    return list(sums) if done else _no_memory()


def _no_memory() -> NoReturn:
    raise MemoryError("there is not enough memory to score a batch")
