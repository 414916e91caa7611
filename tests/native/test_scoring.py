"""What evaluations add up in C, against float64, and bit for bit whichever way it is computed."""

import numpy as np
import pytest
import torch
from programs import Case
from torch.nn import functional as F

from rnnlab.native.scoring import ABSOLUTES, BETWEEN, LOSS, RIGHT, SPREAD, SQUARES, Scale, linear, scores
from rnnlab.tasks.distribution import pinball
from rnnlab.tasks.distribution import scores as spread

DRAW = torch.Generator().manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, generator=DRAW)


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
def test_sums_of_forecasts_are_those_of_float64(loss):
    said, y = normal(37, 5, 2), normal(37, 5, 2)
    found = scores(loss, said, y, Scale([3.0, 0.5], [1.0, -7.0]), 0.7)
    options = {"delta": 0.7} if loss == "huber" else {}
    of = {"mse": F.mse_loss, "mae": F.l1_loss, "huber": F.huber_loss}[loss]
    assert found[LOSS] == pytest.approx(
        float(of(said.double(), y.double(), reduction="sum", **options)), rel=1e-7
    )
    error = (said.double() - y.double()) * torch.tensor([3.0, 0.5]).double()
    assert found[SQUARES] == pytest.approx(float(error.square().sum()), rel=1e-14)
    assert found[ABSOLUTES] == pytest.approx(float(error.abs().sum()), rel=1e-14)


def test_sums_of_quantiles_are_those_of_float64_also_where_they_cross():
    levels = (0.1, 0.4, 0.9)
    said, y = normal(37, 5, 2, 3), normal(37, 5, 2)
    found = scores("pinball", said, y, Scale([3.0, 0.5], [1.0, -7.0], levels))
    level, scale, shift = (torch.tensor(v).double() for v in (levels, [3.0, 0.5], [1.0, -7.0]))
    level = torch.tensor(levels, dtype=torch.float64)
    assert found[LOSS] == pytest.approx(float(pinball(said.double(), level, y.double()).sum()), rel=1e-13)
    ordered = said.double().sort(-1).values
    raw, truth = ordered * scale[:, None] + shift[:, None], y.double() * scale + shift
    wanted = spread(raw, levels, truth)
    assert found[SPREAD] / 3 == pytest.approx(float(wanted["pinball"]), rel=1e-13)
    assert found[BETWEEN] == float(wanted["coverage"])
    error = (ordered[..., 1] - y.double()) * scale  # 0.4 is next to the median
    assert found[SQUARES] == pytest.approx(float(error.square().sum()), rel=1e-13)


def test_sums_of_classes_are_those_of_float64():
    logits, labels = normal(23, 7, 11), torch.randint(0, 11, (23, 7), generator=DRAW)
    found = scores("cross_entropy", logits, labels, Scale())
    wanted = F.cross_entropy(logits.double().flatten(0, 1), labels.flatten(), reduction="sum")
    assert found[LOSS] == pytest.approx(float(wanted), rel=1e-6)
    assert found[RIGHT] == float((logits.argmax(-1) == labels).sum())
    two, label = normal(23), torch.randint(0, 2, (23,), generator=DRAW)
    found = scores("binary_cross_entropy", two, label, Scale())
    wanted = F.binary_cross_entropy_with_logits(two.double(), label.double(), reduction="sum")
    assert found[LOSS] == pytest.approx(float(wanted), rel=1e-7)
    assert found[RIGHT] == float(((two > 0).long() == label).sum())


def test_what_is_not_a_number_stays_none():
    said, y = normal(3, 1, 1), normal(3, 1, 1)
    said[1] = torch.nan
    assert np.isnan(scores("mse", said, y, Scale())[LOSS])
    logits = normal(3, 4)
    logits[2, 1] = torch.nan
    found = scores("cross_entropy", logits, torch.tensor([0, 0, 1]), Scale())
    assert np.isnan(found[LOSS])
    assert found[RIGHT] == float((logits.argmax(-1) == torch.tensor([0, 0, 1])).sum())


@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(1, 1, 1), (7, 33, 5), (130, 16, 65)])
def test_a_row_of_a_linear_layer_is_one_chain_of_multiply_adds(rows, inputs, outputs):
    x, weight, bias = normal(rows, inputs), normal(outputs, inputs), normal(outputs)
    y = linear(x, weight, bias)
    assert torch.allclose(y.double(), F.linear(x.double(), weight.double(), bias.double()), atol=1e-5)
    assert torch.equal(y[-1], linear(x[-1], weight, bias))
    wide = (x.double()[..., None] * weight.double().T[None]).numpy()  # products are exact in float64
    chain = np.broadcast_to(bias.numpy(), (rows, outputs))
    for k in range(inputs):
        chain = (chain.astype(np.float64) + wide[:, k]).astype(np.float32)
    assert np.mean(chain == y.numpy()) > 0.99  # rounded twice, the chain differs in few places, if any


CASES = {
    "series": ("series", {}),
    "subtract the last": ("series", {"subtract_last": True, "loss": "huber"}),
    "quantiles": ("series", {"loss": "quantile", "quantiles": (0.1, 0.5, 0.9), "subtract_last": True}),
    "mae, two layers": ("series", {"loss": "mae", "num_layers": 2, "cell": "gru"}),
    "learned start": ("series", {"initial_state": "learned", "cell": "lstm"}),
    "text": ("text", {"cell": "lstm"}),
    "embedded text": ("text", {"embedding_size": 5, "cell": "gru", "num_layers": 2}),
    "classes": ("labelled", {"cell": "gru"}),
    "many classes": ("labelled", {"classes": 5}),
    "both directions": ("labelled", {"bidirectional": True, "num_layers": 2}),
    "dropout": ("labelled", {"num_layers": 2, "dropout": 0.5, "recurrent_dropout": 0.2, "zoneout": 0.3}),
}


@pytest.mark.parametrize("name", CASES)
def test_a_part_in_one_call_has_the_bits_of_batch_after_batch_through_torch(name):
    kind, options = CASES[name]
    case = Case(kind, 7, 9, **({"cell": "elman", "hidden_size": 11} | options))
    names = case.names(5)
    task = case.task("native").eval()
    batches = [case.batch_of(one, torch.float32) for one in names]
    with torch.no_grad():
        for i, batch in enumerate(batches):
            task.validation_step(batch, i)
        wanted = task.evaluation_metrics()
        found = []
        for threads in (1, 3):
            program = case.program(threads=threads)
            other = program.task
            for a_call in (1, 2, 100):
                program.batches_a_call = a_call
                part = program.part(names, case.source, other.scoring())
                sums, said = program.score(part, outputs=other.ranks)
                if said is not None:
                    other.rank(said.squeeze(-1), part.source.kept[2][part.index])
                other.add(other.scores_from_sums(sums, part.places))
                found.append(other.evaluation_metrics())
    assert all(one == wanted for one in found), (wanted, found)


def test_a_truth_of_another_size_is_refused():
    for loss, said, truth in (
        ("cross_entropy", normal(4, 6, 5), torch.zeros(4, 3, dtype=torch.int64)),
        ("binary_cross_entropy", normal(4), torch.zeros(5, dtype=torch.int64)),
        ("mse", normal(4, 2, 1), normal(4, 1)),
        ("pinball", normal(4, 2, 1, 3), normal(4, 2, 1, 3)),
    ):
        scale = Scale(levels=(0.1, 0.5, 0.9)) if loss == "pinball" else Scale()
        with pytest.raises(ValueError, match="the outputs are"):
            scores(loss, said, truth, scale)
