"""Writes scalars as TensorBoard's event records.

A record (TFRecord) is its length (8 bytes), the masked CRC-32C of these, the event, and its masked CRC-32C. The
event is a protocol buffer: wall_time (field 1, double), step (2, varint), summary (5): values (1) with tag (1)
and simple_value (2, float); fields that are zero are left out, as protobuf does.
"""

import math
import struct
import time
from collections.abc import Iterator
from functools import cache

import google_crc32c

from rnnlab.runs.metrics import Scalars

VERSION = b"brain.Event:2"


def _varint(n: int) -> bytes:
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


@cache
def value(tag: str) -> bytes:
    """The bytes of a summary's value before its number."""
    name = tag.encode()
    inner = b"\x0a" + _varint(len(name)) + name + b"\x15"
    return b"\x0a" + _varint(len(inner) + 4) + inner


_FLOAT, _MASKED = struct.Struct("<f"), struct.Struct("<I")


def _float(value: float) -> bytes:
    """The bytes of a number in single precision; infinite where it is too large."""
    try:
        return _FLOAT.pack(value)
    except OverflowError:
        return _FLOAT.pack(math.copysign(math.inf, value))


def header() -> bytes:
    """The first record of an event file: its version (field 3)."""
    return record(_wall() + b"\x1a" + _varint(len(VERSION)) + VERSION)


def records(batch: Scalars, at: float | None = None) -> bytes:
    """The records of a batch of scalars, one for each step, all with the time `at`, or the present one."""
    wall, tags = _wall(at), [value(tag) for tag in batch.columns]
    summary = b"\x2a" + _varint(sum(map(len, tags)) + 4 * len(tags))
    rows = zip(*batch.columns.values(), strict=True) if tags else ((),) * len(batch.steps)
    made = []
    for step, row in zip(batch.steps, rows, strict=True):
        number = b"\x10" + _varint(step) if step else b""
        values = [part for tag, value in zip(tags, row, strict=True) for part in (tag, _float(value))]
        made.append(record(b"".join([wall, number, summary, *values])))
    return b"".join(made)


def record(event: bytes) -> bytes:
    """The record of one event, given as bytes."""
    return _head(len(event)) + event + _MASKED.pack(_masked_crc(event))


def framed_events(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(record, event) for each complete record of an event file's content; checksums are not verified."""
    at = 0
    while at + 12 <= len(content):
        end = at + 16 + int(struct.unpack_from("<Q", content, at)[0])
        if end > len(content):
            return
        yield content[at:end], content[at + 12 : end - 4]
        at = end


@cache
def _head(length: int) -> bytes:
    packed = struct.pack("<Q", length)
    return packed + _MASKED.pack(_masked_crc(packed))


def _masked_crc(content: bytes) -> int:
    """TFRecord's masked CRC-32C."""
    crc = int(google_crc32c.value(content))
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _wall(at: float | None = None) -> bytes:
    return b"\x09" + struct.pack("<d", time.time() if at is None else at)
