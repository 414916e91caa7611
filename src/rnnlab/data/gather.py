"""Copies many windows of a series at once."""

from collections.abc import Callable, Sequence

import numpy as np
import torch


def gatherer(
    series: torch.Tensor, columns: Sequence[int], length: int, offset: int
) -> Callable[[torch.Tensor], torch.Tensor]:
    """A function of window starts (B,): copies of `series[start+offset :][:length, columns]`, (B, length, C).

    It reads the memory of the series itself, so that a later edit in place has an effect. To NumPy each stretch is one
    item of many bytes, which it copies at once. torch's index_select is as fast in one thread, but starts more threads
    for large batches, which can take 100 times as long as the copy.
    """
    rows, width = series.shape
    array, kept = series.contiguous().numpy(), list(columns)
    item = np.dtype((np.void, length * width * array.itemsize))
    first = offset * array.strides[0]
    stretches = np.ndarray((rows - offset - length + 1,), item, array, first, array.strides[:1])

    def gather(starts: torch.Tensor) -> torch.Tensor:
        found = stretches[starts.numpy()].view(array.dtype).reshape(-1, length, width)
        return torch.from_numpy(found if kept == list(range(width)) else found.take(kept, axis=2))

    return gather
