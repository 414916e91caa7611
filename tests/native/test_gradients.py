"""Whole programs, head and loss included, against the tasks themselves in float64, next to torch's own float32."""

import random

import pytest
import torch
from programs import Case, relative_error, torchs_gradients

FLOOR = 3e-7


def cases(n: int) -> list[dict]:
    draw, found = random.Random(5), []
    for _ in range(n):
        kind = draw.choice(["series", "series", "text", "labelled"])
        case = {"kind": kind, "cell": draw.choice(["elman", "gru", "lstm"])}
        case |= {
            "hidden_size": draw.choice([1, 3, 16, 17, 32, 45, 64, 130]),
            "num_layers": draw.choice([1, 1, 2, 3]),
        }
        case |= {"batch": draw.choice([1, 3, 31, 32, 33, 50, 130]), "steps": draw.choice([1, 2, 7, 20, 50])}
        case |= {"bias": draw.choice(["both", "both", "one", "none"])}
        case |= {"initial_state": draw.choice(["zero", "zero", "learned"])}
        case["dropout"] = draw.choice([0.0, 0.0, 0.3]) if case["num_layers"] > 1 else 0.0
        if kind == "series":
            case |= {"loss": draw.choice(["mse", "mae", "huber"]), "subtract_last": draw.random() < 0.4}
            case |= {"inputs": draw.choice([1, 2, 7, 12]), "targets": draw.choice([1, 2]), "huber_delta": 0.7}
            case |= {"horizon": draw.choice([1, 3, 24]), "bidirectional": draw.random() < 0.3}
        elif kind == "text":
            case |= {
                "vocabulary": draw.choice([2, 11, 65]),
                "embedding_size": draw.choice([None, None, 5, 24]),
            }
        else:
            case |= {"classes": draw.choice([2, 2, 5]), "bidirectional": draw.random() < 0.5}
            case |= {
                "output": "auto" if draw.random() < 0.6 else "softmax",
                "embedding_size": draw.choice([4, 20]),
            }
        found.append(case)
    return found


DRAWN = {
    "dropout": 0.2,
    "input_dropout": 0.3,
    "recurrent_dropout": 0.25,
    "zoneout": 0.15,
    "num_layers": 2,
    "hidden_size": 18,
}


@pytest.mark.parametrize("cell", ["gru", "lstm", "indrnn", "peepholelstm"])
@pytest.mark.parametrize("kind", ["series", "text", "labelled"])
def test_what_is_drawn_is_as_the_stack_draws_it(kind, cell):
    """Dropout of inputs and of the state, and zoneout: whole steps on the kernels beside the reference."""
    cases = [
        {},
        {"initial_state": "learned"},
        {"embedding_size": 5} if kind == "text" else {"bidirectional": True},
    ]
    for more in cases:
        case = Case(kind, 37, 8, cell=cell, **DRAWN, **more)
        name = case.names(1)[0]
        true_loss, truth = torchs_gradients(case, name, torch.float64, "reference")
        program = case.program()
        assert program.gradients(name) == pytest.approx(true_loss, rel=1e-5)
        found = [p.grad.double() for p in program.task.parameters()]
        assert relative_error(found, truth) <= 1e-6
        task = case.task().double().eval()
        with torch.no_grad():
            wanted = task.scores(case.batch_of(name, torch.float64))["loss"]
        assert program.evaluate(name)[0] == pytest.approx(float(wanted[0]) / wanted[1], rel=1e-5)


@pytest.mark.parametrize("options", cases(72), ids=lambda c: f"{c['kind']}-{c['cell']}-{c['hidden_size']}")
def test_loss_and_gradients_are_as_exact_as_torch(options):
    case = Case(**options)
    name = case.names(1)[0]
    true_loss, truth = torchs_gradients(case, name, torch.float64, "reference")
    torch_loss, torchs = torchs_gradients(case, name, torch.float32, "torch")
    program = case.program()
    loss = program.gradients(name)
    assert abs(loss - true_loss) <= 3 * abs(torch_loss - true_loss) + 1e-6 * abs(true_loss)
    found = [p.grad.double() for p in program.task.parameters()]
    assert relative_error(found, truth) <= 3 * relative_error(torchs, truth) + FLOOR


@pytest.mark.parametrize("loss", ["mae", "huber", "quantile"])
def test_the_slope_where_the_error_is_zero_is_autograds(loss, monkeypatch):
    case = Case("series", 33, 4, cell="elman", hidden_size=5, loss=loss)
    case.series.round_()  # a third of the values is 0
    made = case.task

    def zero_head(engine="reference"):
        task = made(engine)
        with torch.no_grad():
            task.head.weight.zero_(), task.head.bias.zero_()
        return task

    monkeypatch.setattr(case, "task", zero_head)
    name = case.names(1)[0]
    true_loss, truth = torchs_gradients(case, name, torch.float64, "reference")
    program = case.program()
    assert program.gradients(name) == pytest.approx(true_loss)
    assert relative_error([p.grad for p in program.task.parameters()], truth) <= 1e-6


@pytest.mark.parametrize("kind", ["series", "text", "labelled"])
def test_evaluation_gives_what_the_model_gives(kind):
    case = Case(kind, 50, 9, cell="gru", hidden_size=20, num_layers=2, dropout=0.5)
    task, program = case.task().double().eval(), case.program()
    for name in case.names(3):
        batch = case.batch_of(name, torch.float64)
        with torch.no_grad():
            wanted = task.scores(batch)["loss"]
            if kind == "series":
                outputs = task(batch[0])
            elif kind == "labelled":
                outputs = task(batch.x, batch.lengths)
            else:
                outputs, _ = task(batch.x) if name == 0 else (None, None)
        loss, given = program.evaluate(name, outputs=True)
        assert loss == pytest.approx(float(wanted[0]) / wanted[1], rel=1e-5)
        if outputs is not None:
            assert torch.allclose(given.double(), outputs, atol=1e-5)
