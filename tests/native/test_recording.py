"""Text and events written in C against Python's own."""

import math
import struct

import numpy as np
import pytest

from rnnlab import native
from rnnlab.native import recording
from rnnlab.runs.metrics import Scalars, lines
from rnnlab.tensorboard import events

DRAW = np.random.default_rng(0)
BITS = DRAW.integers(0, 2**64, 100_000, dtype=np.uint64).view(np.float64)
NUMBERS = {
    "any bits": BITS,
    "between 0 and 1": DRAW.random(50_000),
    "single precision": DRAW.normal(size=50_000).astype(np.float32).astype(np.float64),
    "all sizes": 10.0 ** DRAW.uniform(-323, 308, 50_000),
    "few digits": np.round(DRAW.normal(size=50_000) * 1000, 3),
    "powers of two": 2.0 ** np.arange(-1074, 1024),
    "beside powers of two": np.nextafter(2.0 ** np.arange(-1073, 1024), 0),
    "powers of ten": np.array([float(f"1e{k}") for k in range(-323, 309)]),
    "whole": np.arange(20_000.0),
    "edges": np.array([5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 0.0, -0.0, math.nan, math.inf,
                       -math.inf, 9007199254740993.0, 1e15, 1e16, 9999999999999998.0, 1e-4, 1e-5, 0.00012345, 1e23]),
}  # fmt: skip


@pytest.fixture(autouse=True)
def library():
    assert native.obstacle() is None


@pytest.mark.parametrize("name", NUMBERS)
def test_text_is_repr_byte_for_byte(name):
    values = NUMBERS[name]
    found = recording.lines(np.arange(len(values)), values[None], (b"a",))
    assert found is not None
    given = found.decode().splitlines()
    assert len(given) == len(values)
    wrong = [
        (one, repr(v)) for one, v in zip(given, values.tolist(), strict=True) if one.split(",")[2] != repr(v)
    ]
    assert not wrong


def batch(rows, columns):
    steps = sorted(DRAW.choice(10**6, rows, replace=False).tolist())
    values = {f"metric/number {i} %": (10.0 ** DRAW.uniform(-50, 50, rows)).tolist() for i in range(columns)}
    return Scalars(steps, values)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (5, 3), (200, 11)])
def test_lines_and_records_are_those_that_python_writes(monkeypatch, rows, columns):
    found = batch(rows, columns)
    names = tuple(name.encode() for name in found.columns)
    assert recording.lines(*found.arrays, names) == lines(found).encode()
    monkeypatch.setattr(events, "_wall", lambda: b"\x09" + struct.pack("<d", 1234.5))
    tags = tuple(map(events.value, found.columns))
    assert recording.records(1234.5, *found.arrays, tags) == events.records(found)


def test_a_number_too_large_for_single_precision_is_infinite_and_step_0_is_left_out(monkeypatch):
    found = Scalars([0, 1, 300, 2**40, 2**62], {"a": [1e300, -1e300, math.nan, 3.4028235677973366e38, 1e-50]})
    monkeypatch.setattr(events, "_wall", lambda: b"\x09" + struct.pack("<d", 0.0))
    assert recording.records(0.0, *found.arrays, (events.value("a"),)) == events.records(found)
    assert recording.lines(*found.arrays, (b"a",)) == lines(found).encode()
