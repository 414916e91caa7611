"""Copies of many stretches of a series at once."""

from collections.abc import Callable

import numpy as np
import torch


def gatherer(series: torch.Tensor, length: int, offset: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """A function of window starts (B,): copies of `series[start+offset :][:length]`, (B, length, C).

    NumPy sees every stretch of the series as one item of many bytes and copies it in one go. torch's
    index_select is as fast alone, but wakes its threads for large batches, which can cost 100 times the copy.
    """
    rows, width = series.shape
    array = series.contiguous().numpy()
    item = np.dtype((np.void, length * width * array.itemsize))
    first = offset * array.strides[0]
    stretches = np.ndarray((rows - offset - length + 1,), item, array, first, array.strides[:1])

    def gather(starts: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(stretches[starts.numpy()].view(array.dtype).reshape(-1, length, width))

    return gather
