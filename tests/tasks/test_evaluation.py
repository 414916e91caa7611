"""`evaluate`, and what a task keeps between the batches of an evaluation."""

import math
from collections.abc import Iterator

import pytest
import torch

from rnnlab.data.chars import Segment
from rnnlab.data.tokens import Labelled
from rnnlab.tasks import CharLM, Classifier, Forecaster
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


def of_series(draw):
    return torch.randn(8, 4, 1, generator=draw), torch.randn(8, 2, 1, generator=draw, dtype=torch.float64)


def of_text(draw):
    x, y = torch.randint(5, (2, 3, 6), generator=draw)
    y[1, 4:] = -100  # torch's cross-entropy leaves out such labels
    return Segment(x, y, True)


def of_classes(draw):
    x, y = torch.randint(5, (8, 4), generator=draw), torch.randint(2, (8,), generator=draw)
    return Labelled(x, torch.full((8,), 4), y.int())


SERIES = {"kind": "series", "inputs": 1, "targets": 1, "horizon": 2, "target_index": [0], "target_scale": [2.0],
          "target_shift": [1.0]}  # fmt: skip
TRUTHS = {
    "series": (Forecaster, SERIES, of_series),
    "text": (CharLM, {"kind": "text", "vocabulary_size": 5}, of_text),
    "labelled": (Classifier, {"kind": "labelled", "vocab_size": 5, "classes": 2}, of_classes),
}


@pytest.mark.parametrize("kind", TRUTHS)
def test_a_truth_that_only_torch_can_read_has_the_same_scores_on_every_engine(kind):
    """Such as a data set of the user's own may give."""
    task, spec, batch = TRUTHS[kind]
    found = {}
    for engine in ("native", "reference"):
        draw = torch.Generator().manual_seed(0)
        found[engine] = evaluate(
            task(spec, hidden_size=3, cell="gru", engine=engine), [batch(draw) for _ in range(2)]
        )
    assert found["native"] == pytest.approx(found["reference"], rel=1e-5)


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
