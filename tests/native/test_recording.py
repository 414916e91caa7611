"""Text and events written in C against Python's own."""

import math

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
    found = recording.lines([Scalars(range(len(values)), {"a": values})], str.encode)
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


@pytest.mark.parametrize(
    "sizes", [[(1, 1)], [(5, 3)], [(200, 11)], [(1, 4), (22, 3), (1, 4), (0, 2), (22, 3), (1, 1)]]
)
def test_lines_and_records_are_those_that_python_writes(sizes):
    found = [batch(rows, columns) for rows, columns in sizes]
    assert recording.lines(found, str.encode) == "".join(map(lines, found)).encode()
    times = [1234.5 + i for i in range(len(found))]
    expected = b"".join(events.records(one, at) for one, at in zip(found, times, strict=True))
    assert recording.records(found, times, events.value) == expected


def test_what_python_must_write():
    for odd in (Scalars([-1], {"a": [1.0]}), Scalars([1], {}), Scalars([1, 2], {"a": [1.0]})):
        assert recording.lines([odd], str.encode) is None
        assert recording.records([batch(2, 2), odd], [0.0, 0.0], events.value) is None


def test_a_number_too_large_for_single_precision_is_infinite_and_step_0_is_left_out():
    found = Scalars([0, 1, 300, 2**40, 2**62], {"a": [1e300, -1e300, math.nan, 3.4028235677973366e38, 1e-50]})
    assert recording.records([found], [0.0], events.value) == events.records(found, 0.0)
    assert recording.lines([found], str.encode) == lines(found).encode()
