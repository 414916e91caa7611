"""Scalars as TensorBoard's event records.

A record (TFRecord) is its length (8 bytes), the masked CRC-32C of these, the event, and its masked CRC-32C. The
event is a protocol buffer: wall_time (field 1, double), step (2, varint), summary (5): values (1) with tag (1)
and simple_value (2, float); fields that are zero are left out, as protobuf does.
"""

import math
import struct
import time
from collections.abc import Iterator, Sequence
from functools import cache

import google_crc32c
import numpy as np

from rnnlab.runs.metrics import Entry, interleaved

VERSION = b"brain.Event:2"


def _varint(n: int) -> bytes:
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


@cache
def _value(tag: str) -> bytes:
    """A summary's value up to its number."""
    name = tag.encode()
    inner = b"\x0a" + _varint(len(name)) + name + b"\x15"
    return b"\x0a" + _varint(len(inner) + 4) + inner


_FLOAT, _MASKED = struct.Struct("<f"), struct.Struct("<I")


def _event(wall: bytes, step: int, scalars: dict[str, float]) -> bytes:
    return _stamped(wall, step, b"".join([_value(tag) + _float(value) for tag, value in scalars.items()]))


def _stamped(wall: bytes, step: int, summary: bytes) -> bytes:
    at = b"\x10" + _varint(step) if step else b""
    return wall + at + b"\x2a" + _varint(len(summary)) + summary


def _float(value: float) -> bytes:
    """A float as single precision has it, infinite where it is too large."""
    try:
        return _FLOAT.pack(value)
    except OverflowError:
        return _FLOAT.pack(math.copysign(math.inf, value))


def header() -> bytes:
    """What an event file begins with: its version (field 3)."""
    return framed_alone(_wall() + b"\x1a" + _varint(len(VERSION)) + VERSION)


def records(entries: Sequence[Entry]) -> bytes:
    """The framed records of `entries`, in their order, all with the time of now."""
    wall = _wall()

    def alone(step: int, scalars: dict[str, float]) -> bytes:
        return framed_alone(_event(wall, step, scalars))

    found: list[bytes] = interleaved(entries, alone, lambda steps, columns: _course(wall, steps, columns))
    return b"".join(found)


def _course(wall: bytes, steps: np.ndarray, columns: dict[str, np.ndarray]) -> list[bytes]:
    """The records of the same tags over many steps: they differ in a few bytes, set in all of them at once."""
    tags = [_value(tag) for tag in columns]
    summary = b"".join([tag + bytes(4) for tag in tags])
    ends = np.cumsum([len(tag) + 4 for tag in tags]) - len(summary)  # of each number, from the event's end
    with np.errstate(over="ignore"):
        numbers = [column.astype("<f4").view(np.uint8).reshape(-1, 4) for column in columns.values()]
    widths = sum((steps >= 128**k).astype(np.int64) for k in range(9))  # bytes of a step; 0 is left out
    framed = [b""] * len(steps)
    for width in np.unique(widths).tolist():
        at = np.flatnonzero(widths == width)
        event = _stamped(wall, 128 ** (width - 1) if width else 0, summary)
        length, first = len(event), len(wall) + 1
        rows = np.tile(np.frombuffer(_head(length) + event + bytes(4), dtype=np.uint8), (len(at), 1))
        inside = rows[:, 12 : 12 + length]
        for byte in range(width):
            inside[:, first + byte] = steps[at] >> 7 * byte & 0x7F | (0x80 if byte < width - 1 else 0)
        for number, end in zip(numbers, (ends + length).tolist(), strict=True):
            inside[:, end - 4 : end] = number[at]
        changing = [
            *range(first, first + width),
            *(length + end - k for end in ends.tolist() for k in (4, 3, 2, 1)),
        ]
        rows[:, 12 + length :] = _masked_crcs(inside, changing).astype("<u4").view(np.uint8).reshape(-1, 4)
        content, size = rows.tobytes(), rows.shape[1]
        for row, i in enumerate(at.tolist()):
            framed[i] = content[row * size : (row + 1) * size]
    return framed


def _masked_crcs(rows: np.ndarray, changing: list[int]) -> np.ndarray:
    """TFRecord's masked CRC-32C of rows of bytes (n, length) that differ in the columns `changing` alone; uint32.

    A CRC is linear in what differs from another row of its length: each such byte adds, by exclusive or, what it
    alone leaves in the register.
    """
    length = rows.shape[1]
    crc = np.full(len(rows), google_crc32c.value(rows[0].tobytes()), dtype=np.uint32)
    for column in changing:
        crc ^= _left_by(length - 1 - column)[rows[:, column] ^ rows[0, column]]
    return ((crc >> np.uint32(15)) | (crc << np.uint32(17))) + np.uint32(0xA282EAD8)


_left: list[np.ndarray] = []


def _left_by(zeros: int) -> np.ndarray:
    """What each byte leaves in the register of CRC-32C after so many zeros (256,); polynomial 0x82F63B78, reflected."""
    if not _left:
        crc = np.arange(256, dtype=np.uint32)
        for _ in range(8):
            crc = np.where(crc & 1, crc >> 1 ^ np.uint32(0x82F63B78), crc >> 1).astype(np.uint32)
        _left.append(crc)
    while len(_left) <= zeros:
        _left.append(_left[-1] >> np.uint32(8) ^ _left[0][_left[-1] & 0xFF])
    return _left[zeros]


def framed_events(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Each whole record of an event file's content, with the event inside it; checksums are not looked at."""
    at = 0
    while at + 12 <= len(content):
        end = at + 16 + int(struct.unpack_from("<Q", content, at)[0])
        if end > len(content):
            return
        yield content[at:end], content[at + 12 : end - 4]
        at = end


def framed_alone(event: bytes) -> bytes:
    """The record of one event, whatever it holds."""
    return _head(len(event)) + event + _MASKED.pack(_masked_crc(event))


@cache
def _head(length: int) -> bytes:
    packed = struct.pack("<Q", length)
    return packed + _MASKED.pack(_masked_crc(packed))


def _masked_crc(content: bytes) -> int:
    """TFRecord's masked CRC-32C."""
    crc = int(google_crc32c.value(content))
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _wall() -> bytes:
    return b"\x09" + struct.pack("<d", time.time())
