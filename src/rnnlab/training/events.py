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
from itertools import islice
from typing import NamedTuple

import google_crc32c
import numpy as np

VERSION = b"brain.Event:2"
Scalars = tuple[int, dict[str, float]]  # (step, {tag: value})


class Course(NamedTuple):
    """The same scalars over many steps."""

    steps: Sequence[int]
    columns: dict[str, list[float]]  # a value for each step


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


def records(entries: Sequence[Scalars | Course]) -> bytes:
    """The framed records of `entries`, in their order, all with the time of now."""
    wall = _wall()
    alike: dict[tuple[str, ...], list[Course]] = {}
    for entry in entries:
        if isinstance(entry, Course):
            alike.setdefault(tuple(entry.columns), []).append(entry)
    made = {tags: iter(_courses(wall, tags, found)) for tags, found in alike.items()}
    framed: list[bytes] = []
    for entry in entries:
        if isinstance(entry, Course):
            framed += islice(made[tuple(entry.columns)], len(entry.steps))
        else:
            framed.append(framed_alone(_event(wall, *entry)))
    return b"".join(framed)


def _courses(wall: bytes, tags: tuple[str, ...], courses: Sequence[Course]) -> list[bytes]:
    """The records of courses with the same tags: they differ in a few bytes, set for many steps at once."""
    steps = np.concatenate([np.asarray(course.steps, dtype=np.int64) for course in courses])
    with np.errstate(over="ignore"):
        numbers = np.concatenate([list(c.columns.values()) for c in courses], axis=1).astype("<f4")
    summary = b"".join([_value(tag) + bytes(4) for tag in tags])
    ends = np.cumsum([len(_value(tag)) + 4 for tag in tags])
    widths = sum((steps >= 128**k).astype(np.int64) for k in range(9))  # bytes of a step; 0 is left out
    framed = [b""] * len(steps)
    for width in np.unique(widths).tolist():
        at = np.flatnonzero(widths == width)
        event = _stamped(wall, 128 ** (width - 1) if width else 0, summary)
        rows = np.tile(np.frombuffer(event, dtype=np.uint8), (len(at), 1))
        first = len(wall) + 1
        for byte in range(width):
            rows[:, first + byte] = steps[at] >> 7 * byte & 0x7F | (0x80 if byte < width - 1 else 0)
        for column, end in zip(numbers, ends - ends[-1] + len(event), strict=True):
            rows[:, end - 4 : end] = column[at].view(np.uint8).reshape(-1, 4)
        content, length = rows.tobytes(), len(event)
        for row, i in enumerate(at.tolist()):
            framed[i] = framed_alone(content[row * length : (row + 1) * length])
    return framed


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
