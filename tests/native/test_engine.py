"""Values and gradients of the kernels against the float64 reference, next to torch's own float32."""

import random

import pytest
import torch
from programs import relative_error

from rnnlab.recurrence import Stack

FLOOR = 3e-7  # a few units in the last place, for cases where torch happens to be exact


def configurations(n: int) -> list[dict]:
    draw = random.Random(0)
    found = []
    for i in range(n):
        bidirectional = draw.random() < 0.2
        found.append(
            {
                "cell": draw.choice(["elman", "gru", "lstm"]),
                "input_size": draw.choice([1, 2, 3, 8, 9, 17, 40]),
                "hidden_size": draw.choice([1, 2, 5, 15, 16, 17, 31, 32, 33, 48, 64, 100, 128, 199, 200]),
                "num_layers": draw.choice([1, 1, 2, 3, 4]),
                "bidirectional": bidirectional,
                "bias": draw.choice(["both", "both", "one", "none"]),
                "initial_state": draw.choice(["zero", "learned"]),
                "batch": draw.choice([1, 2, 3, 5, 7, 13, 31, 33, 50, 67]),
                "steps": draw.choice([1, 2, 3, 5, 10, 20, 49, 300 if i % 9 == 0 else 30]),
                "one_hot": draw.random() < 0.3,
                "reset": draw.random() < 0.3 and not bidirectional,
                "lengths": draw.random() < 0.3,
                "given_state": draw.random() < 0.4 and not bidirectional,
            }
        )
        if found[-1]["cell"] == "elman":
            found[-1]["nonlinearity"] = draw.choice(["tanh", "relu"])
        if found[-1]["lengths"]:
            found[-1]["given_state"] = False
    return found


def outcome(engine: str, dtype: torch.dtype, case: dict) -> list[torch.Tensor]:
    """Outputs, final states and all gradients of one random loss."""
    case = dict(case)
    batch, steps = case.pop("batch"), case.pop("steps")
    one_hot, reset, lengths, given = (case.pop(k) for k in ("one_hot", "reset", "lengths", "given_state"))
    stack = Stack(engine=engine, **case)
    draw = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw)

    with torch.no_grad():
        for parameter in stack.parameters():
            parameter.copy_(normal(*parameter.shape) / (2 * case["hidden_size"] ** 0.5))
    stack = stack.to(dtype)
    wanted = list(stack.parameters())
    if one_hot:
        x = torch.randint(0, case["input_size"], (batch, steps), generator=draw)
    else:
        x = normal(batch, steps, case["input_size"]).to(dtype).requires_grad_()
        wanted.append(x)
    state = None
    if given:
        count = stack.kind.states
        state = [
            tuple(normal(batch, case["hidden_size"]).to(dtype).requires_grad_() for _ in range(count))
            for _ in stack.layers
        ]
        wanted += [tensor for one in state for tensor in one]
    mask = (torch.rand(batch, steps, generator=draw) < 0.2) if reset else None
    ends = torch.randint(1, steps + 1, (batch,), generator=draw) if lengths else None
    y, last = stack(x, state, reset=mask, lengths=ends)
    finals = [tensor for one in last for tensor in one]
    loss = sum((tensor * normal(*tensor.shape).to(dtype)).sum() for tensor in [y, *finals])
    gradients = torch.autograd.grad(loss, wanted, allow_unused=True)
    return [t.detach() for t in (y, *finals, *gradients) if t is not None]


@pytest.mark.parametrize(
    "case", configurations(72), ids=lambda c: f"{c['cell']}-{c['hidden_size']}x{c['num_layers']}"
)
def test_values_and_gradients_are_as_exact_as_torch(case):
    truth = outcome("reference", torch.float64, case)
    native = relative_error(outcome("native", torch.float32, case), truth)
    torchs = relative_error(outcome("torch", torch.float32, case), truth)
    assert native <= 3 * torchs + FLOOR


def test_two_ways_back_over_one_graph_agree():
    stack = Stack("lstm", 3, 20, engine="native")
    y, _ = stack(torch.randn(5, 7, 3, generator=torch.Generator().manual_seed(0)))
    first = torch.autograd.grad(y.square().sum(), list(stack.parameters()), retain_graph=True)
    second = torch.autograd.grad(y.square().sum(), list(stack.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(float(a.abs().sum()) > 0 for a in first[:3])


def test_large_batches_in_groups_and_blocks_on_any_number_of_threads():
    case = {"cell": "gru", "input_size": 3, "hidden_size": 10, "batch": 300, "steps": 6}
    case |= {"one_hot": False, "reset": True, "lengths": False, "given_state": True}
    truth = outcome("reference", torch.float64, case)
    one = outcome("native", torch.float32, case)
    assert (
        relative_error(one, truth) <= 3 * relative_error(outcome("torch", torch.float32, case), truth) + FLOOR
    )
    torch.set_num_threads(3)
    assert all(torch.equal(a, b) for a, b in zip(one, outcome("native", torch.float32, case), strict=True))
