"""Event records byte for byte as TensorBoard's own writer makes them."""

import math

import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from rnnlab.runs.metrics import Course, line, lines
from rnnlab.tensorboard import events

ENTRIES = [
    *((step, {"loss/train": 1 / (step + 3), "optim/lr": 1e-3}) for step in range(0, 700, 7)),
    (300, {"zero": 0.0, "minus": -0.0, "nan": math.nan, "large": -1e39, "é": math.inf}),
    (2**40, {"a" * 300: 3.25}),
    (5, {}),
]


class Memory(bytearray):
    def write(self, content):
        self.extend(content)


def theirs(made):
    file = Memory()
    for event in made:
        RecordWriter(file).write(event.SerializeToString())
    return bytes(file)


def test_records_are_tensorboards(monkeypatch):
    monkeypatch.setattr(events.time, "time", lambda: 1234.5678)
    made = [
        Event(wall_time=1234.5678, step=step,
              summary=Summary(value=[Summary.Value(tag=k, simple_value=v) for k, v in scalars.items()]))
        for step, scalars in ENTRIES
    ]  # fmt: skip
    assert events.records(ENTRIES) == theirs(made)
    assert events.header() == theirs([Event(wall_time=1234.5678, file_version="brain.Event:2")])
    assert events.records([]) == b""


@pytest.mark.parametrize("steps", [range(0, 300, 7), range(120, 17000, 129), [5, 2**40, 0, 7, 300]])
def test_a_course_is_its_steps(monkeypatch, steps):
    monkeypatch.setattr(events.time, "time", lambda: 1234.5678)
    signs = (("loss/train", 1), ("optim/%lr", -1), ("a" * 200, 1))
    columns = {
        name: [math.inf if i == 3 else sign * 1e38 ** (i % 5 / 4) * 4 for i in range(len(steps))]
        for name, sign in signs
    }
    single = [(step, {k: v[i] for k, v in columns.items()}) for i, step in enumerate(steps)]
    first, then = ({k: v[part] for k, v in columns.items()} for part in (slice(2), slice(2, None)))
    mixed = [(1, {"x": 1.0}), Course(steps[:2], first), (9, {"y": -2.5}), Course(steps[2:], then)]
    alone = [(1, {"x": 1.0}), *single[:2], (9, {"y": -2.5}), *single[2:]]
    assert events.records(mixed) == events.records(alone)
    assert lines(mixed) == "".join(line(s, k, v) for s, found in alone for k, v in found.items())
