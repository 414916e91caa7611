"""Event records byte for byte as TensorBoard's own writer makes them."""

import math

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from rnnlab.ledger.metrics import line, lines
from rnnlab.training import events

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


def test_a_course_is_its_steps(monkeypatch):
    monkeypatch.setattr(events.time, "time", lambda: 1234.5678)
    for steps in (range(0, 300, 7), range(120, 17000, 129)):
        columns = {
            name: [math.inf if i == 3 else sign * 1e38 ** (i % 5 / 4) * 4 for i in range(len(steps))]
            for name, sign in (("loss/train", 1), ("optim/lr", -1), ("a" * 200, 1))
        }
        single = [(step, {k: v[i] for k, v in columns.items()}) for i, step in enumerate(steps)]
        course = events.Course(steps, columns)
        assert events.records([(1, {"x": 1.0}), course, *single[:3]]) == events.records(
            [(1, {"x": 1.0}), *single, *single[:3]]
        )
        assert lines(steps, columns) == "".join(
            line(s, k, v) for s, found in single for k, v in found.items()
        )
