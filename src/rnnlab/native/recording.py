"""Writes scalars as text and as TensorBoard's events, in C: the same bytes as Python, four times as fast."""

import ctypes
import itertools
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np

from rnnlab.native.bindings import Library, loaded
from rnnlab.runs.metrics import Scalars

HEAD = np.dtype([("rows", np.int64), ("columns", np.int64), ("name", np.int64), ("wall", np.float64)])


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


def lines(batches: Sequence[Scalars], names: Callable[[str], bytes]) -> bytes | None:
    """Lines STEP,NAME,VALUE of all batches, `names` giving the text of a name; None where Python must write them."""
    packed = _packed(batches, names, itertools.repeat(0.0))
    if packed is None:
        return None
    room, library, arguments = packed
    out = bytearray(room)
    n = library.c.rnnlab_lines(_tables()[0], *arguments, _place(out))
    return bytes(out[:n])


def records(batches: Sequence[Scalars], walls: Iterable[float], tags: Callable[[str], bytes]) -> bytes | None:
    """A record for each step of all batches; `walls`: the time of each batch, `tags`: gives the bytes of a summary's
    value before its number. None where Python must write them.
    """
    packed = _packed(batches, tags, walls)
    if packed is None:
        return None
    room, library, arguments = packed
    out = bytearray(room)
    n = library.c.rnnlab_records(_tables()[1], *arguments, _place(out))
    return bytes(out[:n])


def _packed(
    batches: Sequence[Scalars], names: Callable[[str], bytes], walls: Iterable[float]
) -> tuple[int, Library, tuple[Any, ...]] | None:
    """The most bytes that are written, the library, and the arguments of its functions; None where a step is below 0,
    a batch has no columns, or a column has not one value for each step.
    """
    library = loaded()
    if library is None or not batches or not all(batch.columns for batch in batches):
        return None
    texts: list[bytes] = []
    # {names of a batch: number of the first one, and the bytes of all}
    kinds: dict[tuple[str, ...], tuple[int, int]] = {}
    heads: list[tuple[int, int, int, float]] = []
    steps: list[int] = []
    room = 0
    for batch, wall in zip(batches, walls, strict=False):
        kind = tuple(batch.columns)
        if kind not in kinds:
            own = [names(name) for name in kind]
            kinds[kind] = len(texts), sum(map(len, own))
            texts += own
        first, size = kinds[kind]
        rows = len(batch.steps)
        if any(len(column) != rows for column in batch.columns.values()):
            return None
        heads.append((rows, len(kind), first, wall))
        steps.extend(batch.steps)
        room += rows * (size + 46 * len(kind) + 46)
    if min(steps, default=0) < 0:
        return None
    values = np.concatenate(
        [column for batch in batches for column in batch.columns.values()], dtype=np.float64
    )
    bounds = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    pointers = (np.array(heads, HEAD), np.array(steps, np.int64), values, b"".join(texts), bounds)
    return room, library, (len(batches), *(p if isinstance(p, bytes) else _address(p) for p in pointers))


def _address(values: np.ndarray) -> Any:
    return values.ctypes.data_as(ctypes.c_void_p)  # keeps the array alive


def _place(room: bytearray) -> Any:
    return (ctypes.c_char * len(room)).from_buffer(room)
