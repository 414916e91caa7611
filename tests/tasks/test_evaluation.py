"""`evaluate`, and what a task keeps between the batches of an evaluation."""

import math
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


def area(scores: torch.Tensor, inside: torch.Tensor) -> float:
    """The chance that a member of a class has a higher score than another sequence."""
    apart = scores[inside][:, None] - scores[~inside]
    return float(((apart > 0).double() + 0.5 * (apart == 0)).mean())


@pytest.mark.parametrize("there", [(0, 1, 2, 3), (0, 1, 3), (2,)])
@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_classes_that_a_part_lacks_do_not_count_in_its_auroc(output, there):
    draw, classes = torch.Generator().manual_seed(1), 4 if output == "softmax" else 2
    task = Classifier(
        {"kind": "labelled", "vocab_size": 9, "classes": classes}, hidden_size=3, cell="gru", output=output
    )
    y = torch.tensor(there)[torch.randint(len(there), (40,), generator=draw)] % classes
    batches = [
        Labelled(torch.randint(9, (len(part), 4), generator=draw), torch.full((len(part),), 4), part)
        for part in y.split(16)
    ]
    with torch.no_grad():
        scores = torch.cat([task.predict_step(batch, 0) for batch in batches])
    of = [area(scores[:, k], y == k) for k in set(y.tolist())] if len(set(y.tolist())) > 1 else [math.nan]
    expected = sum(of) / len(of) if output == "softmax" else of[-1]
    assert evaluate(task, batches)["auroc"] == pytest.approx(expected, abs=1e-6, nan_ok=True)
