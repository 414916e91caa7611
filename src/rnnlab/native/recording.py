"""Writes scalars as text and as TensorBoard's events, in C: the same bytes as Python, four times as fast."""

import ctypes
from functools import cache
from typing import Any

import numpy as np

from rnnlab.native.bindings import Library, loaded

FEW = 4  # with fewer rows Python is as fast


@cache
def powers() -> np.ndarray:
    """Powers of ten for k = -292 ... 324, (617, 2) uint64: 10^k rounded up to 128 bits, the high word first."""
    found = []
    for k in range(-292, 325):
        if k >= 0:
            shift = (10**k).bit_length() - 128
            g = 10**k << -shift if shift <= 0 else -(-(10**k) >> shift)
        else:
            below = (10**-k).bit_length()  # 10^k lies between 2^-below and twice that
            g = -(-(1 << (below + 127)) // 10**-k)
        found.append((g >> 64, g & (2**64 - 1)))
    return np.array(found, dtype=np.uint64)


@cache
def _tables() -> tuple[int, int]:
    """The addresses of the two tables, which are never freed."""
    return powers().ctypes.data, crcs().ctypes.data


@cache
def crcs() -> np.ndarray:
    """The table of CRC-32C, (256,) uint32."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(0x82F63B78), table >> 1)
    return table.astype(np.uint32)


def lines(steps: np.ndarray, values: np.ndarray, names: tuple[bytes, ...]) -> bytes | None:
    """Lines STEP,NAME,VALUE of values (names, steps) float64 at steps int64; None where Python must write them."""
    library = _library(steps, values, names)
    if library is None:
        return None
    joined, ends, _ = _joined(names)
    out = bytearray(len(steps) * (len(joined) + 46 * len(names)))
    n = library.c.rnnlab_lines(
        _tables()[0], len(steps), len(names), steps.ctypes.data, values.ctypes.data, joined, ends,
        _place(out),
    )  # fmt: skip
    return bytes(out[:n])


def records(wall: float, steps: np.ndarray, values: np.ndarray, tags: tuple[bytes, ...]) -> bytes | None:
    """A record for each step; `tags`: the bytes of each value before its number. None where Python must write them."""
    library = _library(steps, values, tags)
    if library is None:
        return None
    joined, ends, _ = _joined(tags)
    out = bytearray(len(steps) * (len(joined) + 4 * len(tags) + 46))
    n = library.c.rnnlab_records(
        _tables()[1], len(steps), len(tags), wall, steps.ctypes.data, values.ctypes.data, joined,
        ends, _place(out),
    )  # fmt: skip
    return bytes(out[:n])


def _library(steps: np.ndarray, values: np.ndarray, names: tuple[bytes, ...]) -> Library | None:
    if not len(steps) or not names or steps[0] < 0 or values.shape != (len(names), len(steps)):
        return None
    return loaded()


@cache
def _joined(names: tuple[bytes, ...]) -> tuple[bytes, int, np.ndarray]:
    """The names joined, their number, and the positions of their ends."""
    ends = np.cumsum([len(name) for name in names])
    return b"".join(names), ends.ctypes.data, ends


def _place(room: bytearray) -> Any:
    return (ctypes.c_char * len(room)).from_buffer(room)
