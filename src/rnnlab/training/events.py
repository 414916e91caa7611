"""Scalars as TensorBoard's event records, many at once: one array operation a byte instead of one call a record.

A record (TFRecord) is its length (8 bytes), the masked CRC-32C of these, the event, and its masked CRC-32C. The
event is a protocol buffer: wall_time (field 1, double), step (2, varint), summary (5): values (1) with tag (1)
and simple_value (2, float); fields that are zero are left out, as protobuf does.
"""

import struct
import time
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np

VERSION = b"brain.Event:2"
Scalars = tuple[int, dict[str, float]]  # (step, {tag: value})


@cache
def _table() -> np.ndarray:
    """CRC-32C (Castagnoli, reflected polynomial 0x82F63B78) of every byte."""
    crc = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        crc = np.where(crc & 1, (crc >> 1) ^ np.uint32(0x82F63B78), crc >> 1).astype(np.uint32)
    return crc


def masked_crc(rows: np.ndarray) -> np.ndarray:
    """TFRecord's masked CRC-32C of each row of bytes (n, length) uint8; (n,) uint32."""
    table, crc = _table(), np.full(len(rows), 0xFFFFFFFF, dtype=np.uint32)
    for column in np.ascontiguousarray(rows.T):
        crc = table[(crc ^ column) & 0xFF] ^ (crc >> np.uint32(8))
    crc = ~crc
    return ((crc >> np.uint32(15)) | (crc << np.uint32(17))) + np.uint32(0xA282EAD8)


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


_FLOAT = struct.Struct("<f")


def _event(wall: bytes, step: int, scalars: dict[str, float]) -> bytes:
    summary = b"".join([_value(tag) + _FLOAT.pack(_single(value)) for tag, value in scalars.items()])
    at = b"\x10" + _varint(step) if step else b""
    return wall + at + b"\x2a" + _varint(len(summary)) + summary


def _single(value: float) -> float:
    if abs(value) <= 3.4e38 or value != value:
        return value
    with np.errstate(over="ignore"):
        return float(np.float32(value))


def header() -> bytes:
    """What an event file begins with: its version (field 3)."""
    return _framed([_wall() + b"\x1a" + _varint(len(VERSION)) + VERSION])


def records(entries: Sequence[Scalars]) -> bytes:
    """The framed records of `entries`, in their order, all with the time of now."""
    wall = _wall()
    return _framed([_event(wall, step, scalars) for step, scalars in entries])


def framed_events(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Each whole record of an event file's content, with the event inside it; checksums are not looked at."""
    at = 0
    while at + 12 <= len(content):
        end = at + 16 + int(struct.unpack_from("<Q", content, at)[0])
        if end > len(content):
            return
        yield content[at:end], content[at + 12 : end - 4]
        at = end


FEW = 32  # rows of a length below which an operation a column is the dearer way


def framed_alone(event: bytes) -> bytes:
    """The record of one event, whatever it holds."""
    head = struct.pack("<Q", len(event))
    return b"".join(
        [head, struct.pack("<I", _crc_of_one(head)), event, struct.pack("<I", _crc_of_one(event))]
    )


def _crc_of_one(content: bytes) -> int:
    """`masked_crc` of one row."""
    table, crc = _table_list(), 0xFFFFFFFF
    for byte in content:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@cache
def _table_list() -> list[int]:
    return _table().tolist()


def _wall() -> bytes:
    return b"\x09" + struct.pack("<d", time.time())


def _framed(events: list[bytes]) -> bytes:
    by_length: dict[int, list[int]] = {}
    for i, event in enumerate(events):
        by_length.setdefault(len(event), []).append(i)
    framed: list[bytes] = [b""] * len(events)
    for length, places in by_length.items():
        head = np.frombuffer(struct.pack("<Q", length), dtype=np.uint8)[None]
        if len(places) < FEW:
            for i in places:
                framed[i] = framed_alone(events[i])
            continue
        rows = np.frombuffer(b"".join([events[i] for i in places]), dtype=np.uint8).reshape(-1, length)
        front = head.tobytes() + masked_crc(head).astype("<u4").tobytes()
        for i, crc in zip(places, masked_crc(rows).astype("<u4"), strict=True):
            framed[i] = front + events[i] + crc.tobytes()
    return b"".join(framed)
