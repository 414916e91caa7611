"""Prepares tensors for the kernels: checks them, and makes them dense and aligned."""

import threading

import torch
from torch import Tensor

from rnnlab.native.bindings import Weights, address

LINE = 16  # floats in a cache line


def check_tensor(name: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    if tuple(tensor.shape) != shape or tensor.dtype != dtype or tensor.device.type != "cpu":
        raise ValueError(
            f"{name} is {tuple(tensor.shape)} {tensor.dtype} on {tensor.device}; "
            f"the kernels need {shape} {dtype} on cpu"
        )
    if tensor.layout != torch.strided:
        raise ValueError(f"{name} is {tensor.layout}; the kernels need a dense tensor")


def check_range(name: str, indices: Tensor, size: int) -> None:
    """Raises ValueError where an index is not in [0, size)."""
    low, high = torch.aminmax(indices)
    if int(low) < 0 or int(high) >= size:
        raise ValueError(f"{name} holds {int(low)} to {int(high)}; indices lie between 0 and {size - 1}")


def aligned(count: int) -> Tensor:
    """A tensor of `count` bytes that starts on a cache line; not cleared."""
    room = torch.empty(count // 4 + LINE, dtype=torch.float32)
    skip = -room.data_ptr() % 64 // 4
    return room[skip:]


def dense(tensor: Tensor) -> Tensor:
    """The tensor, contiguous; lazily negated or conjugated views are computed."""
    return tensor.detach().resolve_conj().resolve_neg().contiguous()


def fresh(count: int, name: str) -> Tensor:
    return aligned(count)


def pointers(tensors: tuple[Tensor | None, ...]) -> Weights:
    weights = Weights()
    for i, tensor in enumerate(tensors):
        weights.parameters[i] = address(tensor)
    return weights


_ROOMS = threading.local()
REUSED = 1 << 22  # bytes; larger buffers are not kept


def reused(count: int, name: str) -> Tensor:
    """As `aligned(count)`, but the next call in this thread with this name returns the same memory."""
    room: Tensor | None = getattr(_ROOMS, name, None)
    if room is None or 4 * len(room) < count:
        room = aligned(count)
        if count <= REUSED:
            setattr(_ROOMS, name, room)
    return room
