"""Event records byte for byte as TensorBoard's own writer makes them."""

import math

import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from rnnlab.runs.metrics import Scalars
from rnnlab.tensorboard import events

EDGES = {"zero": 0.0, "minus": -0.0, "nan": math.nan, "large": -1e39, "é": math.inf, "a" * 300: 3.25}


class Memory(bytearray):
    def write(self, content):
        self.extend(content)


def theirs(made):
    file = Memory()
    for event in made:
        RecordWriter(file).write(event.SerializeToString())
    return bytes(file)


def batches():
    steps = [*range(0, 300, 7), *range(16000, 17000, 129), 5, 2**40]
    yield Scalars(steps, {"loss/train": [1 / (s + 3) for s in steps], "optim/%lr": [1e-3] * len(steps)})
    yield Scalars.of(300, EDGES)
    yield Scalars.of(5, {})
    yield Scalars([], {"loss/train": []})


@pytest.mark.parametrize("batch", [*batches()], ids=["steps", "edges", "nothing at a step", "no step"])
def test_records_are_tensorboards(monkeypatch, batch):
    monkeypatch.setattr(events.time, "time", lambda: 1234.5678)
    made = [
        Event(wall_time=1234.5678, step=step,
              summary=Summary(value=[Summary.Value(tag=k, simple_value=v) for k, v in scalars.items()]))
        for step, scalars in batch.by_step()
    ]  # fmt: skip
    assert events.records(batch) == theirs(made)
    assert events.header() == theirs([Event(wall_time=1234.5678, file_version="brain.Event:2")])


def test_records_are_read_back_up_to_one_that_was_torn():
    made = [events.record(b"one"), events.record(b"two")]
    content = b"".join(made)
    assert list(events.framed_events(content)) == [(made[0], b"one"), (made[1], b"two")]
    assert list(events.framed_events(content[:-1])) == [(made[0], b"one")]
