"""The sources of a program's batches: tensors in memory, which the kernels read without copying.

Each source turns batches, as the loaders name them, into a table for the kernels, and checks every index before it
passes a pointer.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnnlab.native.bindings import MAX_ROWS, Data, address

ROWS, INDEX, START, STEPS, FRESH, DROPOUT = range(6)
"""The columns of the table: the fields of Batch in program.h."""


class Source(ABC):
    """A source. `data` is the structure for the kernels; `kept` holds the tensors that it points to."""

    kind: str
    steps: int
    """The largest number of time steps of a batch."""

    def __init__(self) -> None:
        self.data = Data()
        self.kept: list[Tensor] = []

    def keep(self, tensor: Tensor) -> int | None:
        self.kept.append(tensor)
        return address(tensor)

    @abstractmethod
    def table(self, batches: Sequence[Any]) -> tuple[np.ndarray, Tensor]:
        """The table (n, 6) int64 of the batches, and the index (int64) that it points into.

        Raises ValueError for a batch that is not in the source.
        """

    def largest(self, batches: Sequence[Any]) -> int:
        """Rows of the largest of these batches."""
        return max(len(batch) for batch in batches)

    def indexed(self, batches: Sequence[Tensor], low: int, high: int) -> tuple[np.ndarray, Tensor]:
        """The table of batches that are tensors of indices, all in [low, high)."""
        if not all(batch.dtype is torch.int64 and batch.dim() == 1 for batch in batches):
            raise ValueError(f"batches are {_said(batches)}; they must be (rows,) torch.int64")
        sizes = [batch.size(0) for batch in batches]  # `len` of a tensor is a function in Python
        if not 0 < min(sizes) <= max(sizes) <= MAX_ROWS:
            raise ValueError(f"batches are {_said(batches)}; they must be of 1 to {MAX_ROWS:,} rows")
        index = torch.cat(list(batches))
        first, last = torch.aminmax(index)
        if int(first) < low or int(last) >= high:
            raise ValueError(
                f"a batch holds {int(first)} to {int(last)}; it must lie between {low} and {high - 1}"
            )
        table = np.zeros((len(batches), 6), dtype=np.int64)
        table[:, ROWS] = sizes
        table[1:, INDEX] = table[:-1, ROWS].cumsum()
        table[:, STEPS], table[:, FRESH] = self.steps, 1
        return table, index


def _require(name: str, tensor: Tensor, dims: int, dtype: torch.dtype) -> None:
    if tensor.dim() != dims or tensor.dtype != dtype or tensor.device.type != "cpu" or not tensor.numel():
        raise ValueError(
            f"{name} is {tuple(tensor.shape)} {tensor.dtype} on {tensor.device}; the kernels need {dims} dimensions "
            f"of {dtype} on the cpu, not empty"
        )
    if tensor.stride(-1) != 1 or min(tensor.stride()) < 0:
        raise ValueError(f"{name} has strides {tensor.stride()}; its last dimension must be contiguous")


def _said(batches: Sequence[Tensor]) -> str:
    return ", ".join(sorted({f"{tuple(batch.shape)} {batch.dtype}" for batch in batches}))


def bounds(tensor: Tensor) -> tuple[int, int]:
    low, high = torch.aminmax(tensor)
    return int(low), int(high)


class Windows(Source):
    """Windows of a series. A batch is a tensor of window starts, or, where `starts` (int64) is given, of indices in it.

    `series` (N, columns) float32; its first `inputs` columns are the inputs. A window that starts at s has the inputs
    series[s : s+window, :inputs] and the targets series[s+window : s+window+horizon, target_columns].
    """

    kind = "series"

    def __init__(
        self,
        series: Tensor,
        inputs: int,
        window: int,
        horizon: int,
        target_columns: Sequence[int],
        starts: Tensor | None = None,
    ) -> None:
        super().__init__()
        _require("series", series, 2, torch.float32)
        rows, columns = series.shape
        if min(inputs, window, horizon, len(target_columns)) < 1 or inputs > columns:
            raise ValueError(
                "inputs, window, horizon and targets must be at least 1, inputs at most the columns"
            )
        if min(target_columns) < 0 or max(target_columns) >= columns:
            raise ValueError(f"target_columns are {list(target_columns)}; the series has {columns} columns")
        if rows < window + horizon:
            raise ValueError(f"the series has {rows} rows; a window takes {window + horizon}")
        self.inputs, self.steps, self.last_start = inputs, window, rows - window - horizon
        self.starts = starts
        if starts is not None:
            _require("starts", starts, 1, torch.int64)
            low, high = bounds(starts)
            if low < 0 or high > self.last_start:
                raise ValueError(f"starts are {low} to {high}; they must lie between 0 and {self.last_start}")
        self.horizon, self.targets = horizon, len(target_columns)
        step = series.stride(0)
        columns_at = self.keep(torch.tensor(list(target_columns)))
        data = self.data
        data.x = self.keep(series)
        data.y = series.data_ptr() + 4 * window * step
        data.x_row = data.x_step = data.y_row = data.y_step = step
        data.horizon, data.targets, data.y_columns = horizon, self.targets, columns_at

    def table(self, batches: Sequence[Any]) -> tuple[np.ndarray, Tensor]:
        if self.starts is None:
            return self.indexed(batches, 0, self.last_start + 1)
        table, index = self.indexed(batches, 0, len(self.starts))
        return table, self.starts[index]


class Pairs(Source):
    """A single batch, as a loader gives it: x (B, window, inputs), y (B, horizon, targets), float32."""

    kind = "series"

    def __init__(self, x: Tensor, y: Tensor) -> None:
        super().__init__()
        _require("x", x, 3, torch.float32)
        _require("y", y, 3, torch.float32)
        if len(x) != len(y):
            raise ValueError(f"x has {len(x)} rows, y {len(y)}")
        self.rows, self.steps, self.inputs = x.shape
        _, self.horizon, self.targets = y.shape
        data = self.data
        data.x, data.y = self.keep(x), self.keep(y)
        data.x_row, data.x_step = x.stride()[:2]
        data.y_row, data.y_step = y.stride()[:2]
        data.horizon, data.targets = self.horizon, self.targets
        data.y_columns = self.keep(torch.arange(self.targets))

    def table(self, batches: Sequence[Any]) -> tuple[np.ndarray, Tensor]:
        return self.indexed(batches, 0, self.rows)


class Characters(Source):
    """Rows of text that are cut into segments. A batch is the number of a segment. x, y (B, L) int64; y is x shifted by
    one character.

    Each batch takes all rows; the last segment may be shorter. Before segment 0 the carry is reset.
    """

    kind = "text"

    def __init__(self, x: Tensor, y: Tensor, segment: int) -> None:
        super().__init__()
        _require("x", x, 2, torch.int64)
        _require("y", y, 2, torch.int64)
        if x.shape != y.shape or segment < 1 or len(x) > MAX_ROWS:
            raise ValueError(f"x is {tuple(x.shape)}, y {tuple(y.shape)}, segment {segment}")
        self.rows, self.length = x.shape
        self.segment = self.steps = min(segment, self.length)
        data = self.data
        data.tokens, data.labels = self.keep(x), self.keep(y)
        data.token_row, data.label_row = x.stride(0), y.stride(0)
        self.look()

    def look(self) -> None:
        """Notes the ranges of tokens and labels, which a program compares with those of its model."""
        self.tokens, self.labels = map(bounds, self.kept)

    def largest(self, batches: Sequence[Any]) -> int:
        return self.rows

    def table(self, batches: Sequence[Any]) -> tuple[np.ndarray, Tensor]:
        table = np.zeros((len(batches), 6), dtype=np.int64)
        table[:, ROWS] = self.rows
        table[:, START] = np.asarray(batches, dtype=np.int64) * self.segment
        if table[:, START].min() < 0 or table[:, START].max() >= self.length:
            raise ValueError(f"segments are {list(batches)}; there are {-(-self.length // self.segment)}")
        table[:, STEPS] = np.minimum(self.segment, self.length - table[:, START])
        table[:, FRESH] = table[:, START] == 0
        return table, torch.arange(self.rows)


class Sequences(Source):
    """Labelled sequences. A batch is a tensor of their indices. x (N, T), lengths (N,) and y (N,) are int64."""

    kind = "labelled"

    def __init__(self, x: Tensor, lengths: Tensor, y: Tensor) -> None:
        super().__init__()
        _require("x", x, 2, torch.int64)
        _require("lengths", lengths, 1, torch.int64)
        _require("y", y, 1, torch.int64)
        self.rows, self.steps = x.shape
        data = self.data
        data.tokens, data.lengths, data.labels = self.keep(x), self.keep(lengths), self.keep(y)
        data.token_row, data.label_row = x.stride(0), 1
        self.look()

    def look(self) -> None:
        """As that of `Characters`. Raises ValueError for lengths that do not fit."""
        x, lengths, y = self.kept
        low, high = bounds(lengths)
        if len(lengths) != self.rows or len(y) != self.rows or low < 1 or high > self.steps:
            raise ValueError(
                f"x is {tuple(x.shape)}, with {len(lengths)} lengths from {low} to {high}, {len(y)} labels"
            )
        self.tokens, self.labels = bounds(x), bounds(y)

    def table(self, batches: Sequence[Any]) -> tuple[np.ndarray, Tensor]:
        return self.indexed(batches, 0, self.rows)
