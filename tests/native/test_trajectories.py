"""A hundred steps of each optimizer, with clipping and a schedule, against torch.optim on the task itself."""

import copy
import functools
import math

import pytest
import torch
from programs import Case

ADAM, ADAMW, SGD, RMSPROP = torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, torch.optim.RMSprop
OPTIMIZERS = {
    "adam": functools.partial(ADAM, betas=(0.8, 0.99), weight_decay=0.01),
    "adamw": functools.partial(ADAMW, weight_decay=0.1),
    "sgd": SGD,
    "momentum": functools.partial(SGD, momentum=0.9, dampening=0.3, weight_decay=0.01),
    "nesterov": functools.partial(SGD, momentum=0.9, nesterov=True),
    "rmsprop": functools.partial(RMSPROP, alpha=0.9, weight_decay=0.01),
    "centered": functools.partial(RMSPROP, alpha=0.9, centered=True, momentum=0.5),
}
CLIPS = [(None, "norm"), (0.05, "norm"), (0.01, "value")]


def schedule(i: int) -> float:
    return 0.01 * (1 + math.cos(math.pi * i / 100)) / 2


def by_torch(case: Case, make, clip, dtype, steps: int) -> tuple[torch.Tensor, list[float], list[float]]:
    task = case.task("reference" if dtype == torch.float64 else "torch").to(dtype)
    optimizer, losses, norms = make(task.parameters(), lr=1.0), [], []
    for i, name in enumerate(case.names(steps)):
        optimizer.param_groups[0]["lr"] = schedule(i)
        optimizer.zero_grad()
        loss = task.loss(case.batch_of(name, dtype))
        loss.backward()
        losses.append(float(loss.detach()))
        parameters = list(task.parameters())
        norms.append(float(torch.nn.utils.get_total_norm([p.grad for p in parameters])))
        if clip[0] is not None and clip[1] == "norm":
            torch.nn.utils.clip_grad_norm_(parameters, clip[0])
        elif clip[0] is not None:
            torch.nn.utils.clip_grad_value_(parameters, clip[0])
        optimizer.step()
    return torch.cat([p.detach().flatten().double() for p in task.parameters()]), losses, norms


@pytest.mark.parametrize("clip", CLIPS, ids=lambda c: c[1] if c[0] else "unclipped")
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_hundred_steps(name, clip):
    kind = {"sgd": "text", "rmsprop": "text", "adamw": "labelled"}.get(name, "series")
    case = Case(kind, 17, 6, cell="gru" if kind == "text" else "lstm", hidden_size=10)
    make = OPTIMIZERS[name]
    start = torch.cat([p.detach().flatten().double() for p in case.task().parameters()])
    truth, losses, norms = by_torch(case, make, clip, torch.float64, 100)
    torchs, _, _ = by_torch(case, make, clip, torch.float32, 100)
    program = case.program(make, clip_val=clip[0], clip_algorithm=clip[1])
    did = program.run(case.names(100), [schedule(i) for i in range(100)])
    found = torch.cat([p.detach().flatten().double() for p in program.task.parameters()])
    moved = (truth - start).norm()
    assert moved > 0.001
    assert (found - truth).norm() / moved <= 3 * (torchs - truth).norm() / moved + 1e-6
    assert did.done == 100
    assert torch.allclose(did.losses, torch.tensor(losses, dtype=torch.float64), rtol=1e-3)
    assert torch.allclose(did.norms, torch.tensor(norms, dtype=torch.float64), rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_state_is_torchs_own(name):
    """After ten steps in C, torch's optimizer goes on from its own state as the kernels would have."""
    case = Case("series", 9, 5, cell="elman", hidden_size=12)
    make, names = OPTIMIZERS[name], case.names(20)
    whole = case.program(make)
    whole.run(names, [0.01] * 20)
    begun = case.program(make)
    begun.run(names[:10], [0.01] * 10)
    begun.optimizer.param_groups[0]["lr"] = 0.01
    for batch in names[10:]:
        begun.gradients(batch)
        begun.optimizer.step()
    for a, b in zip(whole.task.parameters(), begun.task.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_resumed_run_has_the_same_bits(name):
    case = Case("text", 9, 5, cell="elman", hidden_size=12)
    whole, begun, resumed = (case.program(OPTIMIZERS[name]) for _ in range(3))
    whole.run(case.names(12), [0.01] * 12)
    begun.run(case.names(7), [0.01] * 7)
    saved = copy.deepcopy((begun.task.state_dict(), begun.optimizer.state_dict(), begun.carried))
    resumed.task.load_state_dict(saved[0])
    resumed.optimizer.load_state_dict(saved[1])
    resumed.load_carry(saved[2])
    resumed.run(case.names(12)[7:], [0.01] * 5)
    assert torch.equal(resumed.flat.parameters, whole.flat.parameters)
    assert torch.equal(resumed.carry, whole.carry)
