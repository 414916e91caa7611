"""metrics.csv, and the batches of scalars that are written into it."""

import numpy as np
import pytest
import torch

from rnnlab.errors import UserError
from rnnlab.runs.metrics import HEADER, Scalars, lines, read_metrics
from rnnlab.training.loggers import MetricsFile


def test_lines_go_step_by_step_and_read_back_as_the_same_floats(tmp_path):
    batch = Scalars([3, 5], {"loss/train": [0.1, 1e-300], 'odd %name, "x"': [-2.5, 3.0]})
    assert lines(batch).splitlines()[0] == "3,loss/train,0.1"
    assert [line.split(",")[0] for line in lines(batch).splitlines()] == ["3", "3", "5", "5"]
    plain = Scalars([3, 5], {"b": [0.1 + 0.2, 1e-300], "a": [-2.5, 3.0]})
    (tmp_path / "metrics.csv").write_text(HEADER + lines(plain))
    found = read_metrics(tmp_path / "metrics.csv")
    assert list(found) == ["b", "a"]
    for name, (steps, values) in found.items():
        assert list(steps) == [3, 5] and list(values) == plain.columns[name]


@pytest.mark.parametrize("n", [2, 500], ids=["by Python", "by the kernels"])
def test_metrics_of_any_name_can_be_read(n, tmp_path):
    names = ["loss/train", "acc,top5", '"quoted" %d', "two\nlines", "größe"]
    columns = {name: [i + k / 8 for i in range(n)] for k, name in enumerate(names)}
    logger = MetricsFile(tmp_path)
    logger.log_scalars(Scalars(range(n), columns))
    logger.flush()
    found = read_metrics(tmp_path / "metrics.csv")
    assert {name: list(values) for name, (_, values) in found.items()} == columns


def test_a_batch_that_cannot_be_written_costs_no_other(tmp_path):
    logger = MetricsFile(tmp_path)
    for step, name in ((1, "a"), (2, "bad\ud800"), (3, "a")):
        logger.log_scalars(Scalars.of(step, {name: 0.5}))
    with pytest.raises(UnicodeEncodeError):
        logger.flush()
    logger.flush()
    assert (tmp_path / "metrics.csv").read_text() == HEADER + "1,a,0.5\n3,a,0.5\n"


def test_a_batch_is_written_as_it_was_when_it_was_logged(tmp_path):
    logger, values = MetricsFile(tmp_path), np.zeros(1)
    for step in (1, 2):
        values[:] = step
        logger.log_scalars(Scalars((step,), {"a": values}).on_host())
    logger.flush()
    assert (tmp_path / "metrics.csv").read_text() == HEADER + "1,a,1.0\n2,a,2.0\n"


def test_a_batch_becomes_floats_whatever_holds_it():
    batch = Scalars(
        range(2), {"array": np.array([0.5, 2], dtype=np.float32), "tensors": torch.tensor([1.5, 2.5])}
    )
    assert batch.floats().columns == {"array": [0.5, 2.0], "tensors": [1.5, 2.5]}
    assert all(type(v) is float for column in batch.floats().columns.values() for v in column)
    assert Scalars.of(7, {"a": 1.0, "unmeasured": None}).by_step() == [(7, {"a": 1.0})]
    assert batch.floats().at([1]) == Scalars([1], {"array": [2.0], "tensors": [2.5]})


def test_a_last_line_that_is_being_written_is_passed_over(tmp_path):
    (file := tmp_path / "metrics.csv").write_text(HEADER + "1,a,0.5\n2,a,0.2")
    assert list(read_metrics(file)["a"][0]) == [1]
    file.write_text("other\n1,a,0.5\n")
    with pytest.raises(UserError, match="not a table of step, metric, value"):
        read_metrics(file)
