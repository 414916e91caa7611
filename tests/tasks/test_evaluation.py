"""`evaluate`, and what a task keeps between the batches of an evaluation."""

from collections.abc import Iterator

import pytest
import torch

from rnnlab.data.tokens import Labelled
from rnnlab.tasks import Classifier
from rnnlab.tasks.evaluation import evaluate


def test_an_evaluation_that_was_broken_off_leaves_nothing_behind():
    draw = torch.Generator().manual_seed(0)
    task = Classifier({"kind": "labelled", "vocab_size": 5, "classes": 2}, hidden_size=3, cell="gru")
    batches = [
        Labelled(torch.randint(5, (8, 4), generator=draw), torch.full((8,), 4), torch.arange(8) % 2)
        for _ in range(3)
    ]
    whole = evaluate(task, batches)

    def broken_off() -> Iterator[Labelled]:
        yield batches[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(task, broken_off())
    assert evaluate(task, batches) == whole
