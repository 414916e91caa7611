"""Weights that the kernels compute from parameters: which they are, and whole steps with them against torch."""

import pytest
import torch
from programs import Case
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from rnnlab import native
from rnnlab.cells.elman import Elman
from rnnlab.native import mirrored as mirroring
from rnnlab.native.mirrored import mirrored
from rnnlab.native.spec import obstacle


class Symmetric(nn.Module):
    def forward(self, w):
        return w.triu() + w.triu(1).mT


class Scaled(nn.Module):
    def __init__(self, by):
        super().__init__()
        self.by = by

    def forward(self, w):
        return self.by * w + 0.1


class Striped(nn.Module):
    """Every other column is zero."""

    def forward(self, w):
        kept = torch.arange(w.shape[1], device=w.device) % 2
        return w * kept.to(w.dtype)


class Softened(nn.Module):
    def forward(self, w):
        return w + 1e-6 * w**3


class PartlyFrozen(nn.Module):
    def forward(self, w):
        return 0.5 * w + 0.5 * w.detach()


class Shrunk(nn.Module):
    def forward(self, w):
        return nn.functional.hardshrink(w, 0.02)


class Moded(nn.Module):
    def forward(self, w):
        return w if self.training else 0.5 * w


class Noisy(nn.Module):
    def forward(self, w):
        return w + 0.01 * torch.randn_like(w)


class Holding(nn.Module):
    def __init__(self, mask):
        super().__init__()
        self.mask = mask

    def forward(self, w):
        return w * self.mask.to(w.dtype)


class Buffered(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.ones(()))

    def forward(self, w):
        return w * self.scale


def parametrized(shape, *parts):
    layer = nn.Linear(*reversed(shape))
    for part in parts:
        parametrize.register_parametrization(layer, "weight", part)
    return layer


@pytest.mark.parametrize(
    ("shape", "parts"),
    [((5, 5), [Symmetric()]), ((5, 5), [Scaled(0.5), Symmetric()]), ((6, 4), [Scaled(-2.0)]), ((4, 4), [Striped()]),
     ((3, 4), [Striped()]), ((1, 1), [Symmetric()])],
)  # fmt: skip
def test_the_numbers_make_the_weight(shape, parts):
    layer = parametrized(shape, *parts)
    w, own, other, plus = mirrored(layer)["weight"]
    assert torch.allclose(own * w + (0.0 if other is None else other * w.mT) + plus, layer.weight, atol=1e-6)


@pytest.mark.parametrize(
    "part", [Softened(), PartlyFrozen(), Shrunk(), Moded(), Noisy(), Holding(torch.ones(4, 4)), Buffered()]
)
def test_what_is_no_such_weight_or_may_change_unseen_is_left_to_torch(part):
    assert mirrored(parametrized((4, 4), part)) == {}


def test_the_global_generator_is_left_as_it_was():
    layer = parametrized((4, 4), Noisy())
    state = torch.get_rng_state()
    mirrored(layer)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("norm", ["orthogonal", "spectral_norm", "weight_norm"])
def test_torchs_own_norms_are_left_to_torch(norm):
    assert mirrored(getattr(parametrizations, norm)(nn.Linear(4, 4))) == {}


def with_weights(case, *parts):
    """The case, whose tasks have these parametrizations of their cells' recurrent weights."""
    plain = case.task

    def task(engine="reference"):
        made = plain(engine)
        for cell in made.stack.cells:
            for part in parts:
                parametrize.register_parametrization(cell, "weight_hh", part)
        return made

    case.task = task
    return case


CASES = {
    "antisymmetricrnn": lambda: Case("series", 17, 6, cell="antisymmetricrnn", hidden_size=10),
    "gatedantisymmetricrnn": lambda: Case("labelled", 9, 5, cell="gatedantisymmetricrnn", hidden_size=8,
                                          bidirectional=True),
    "symmetric": lambda: with_weights(Case("text", 9, 5, cell="elman", hidden_size=7, num_layers=2), Symmetric()),
    "striped": lambda: with_weights(Case("series", 9, 5, cell="lstm", hidden_size=6), Striped(), Scaled(0.7)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_fifty_steps_are_those_of_torch(name):
    """Clipped and with weight decay, which both act on the parameters and not on what is made of them."""
    moved, ends = [], []
    for dtype in (torch.float64, torch.float32):
        case = CASES[name]()
        task = case.task("reference").to(dtype)
        start = torch.cat([p.detach().flatten().double() for p in task.parameters()])
        optimizer = torch.optim.AdamW(task.parameters(), lr=0.01, weight_decay=0.1)
        for batch in case.names(50):
            optimizer.zero_grad()
            task.loss(case.batch_of(batch, dtype)).backward()
            torch.nn.utils.clip_grad_norm_(task.parameters(), 0.5)
            optimizer.step()
        ends.append(torch.cat([p.detach().flatten().double() for p in task.parameters()]))
        moved.append(float((ends[0] - start).norm()))
    case = CASES[name]()
    program = case.program(lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1), clip_val=0.5)
    assert program.run(case.names(50), [0.01] * 50).done == 50
    found = torch.cat([p.detach().flatten().double() for p in program.task.parameters()])
    assert moved[0] > 0.01
    assert (found - ends[0]).norm() <= 3 * (ends[1] - ends[0]).norm() + 1e-6 * moved[0]


def test_an_evaluation_has_the_weights_of_the_last_step():
    case = CASES["symmetric"]()
    program = case.program(lambda p: torch.optim.SGD(p, lr=0.1))
    program.run(case.names(5), [0.1] * 5)
    loss, _ = program.evaluate(0)
    with torch.no_grad():
        program.task.carry.state = None
        want = float(program.task.loss(case.batch_of(0, torch.float32)))
    assert loss == pytest.approx(want, rel=1e-5)


def test_a_weight_of_another_kind_keeps_the_steps_in_python():
    task = Case("series", 9, 5, cell="exprnn", hidden_size=6).task("auto")
    assert obstacle(task.outline()) == "the kernels cannot compute ExpRNN's parametrized weights"


def test_a_part_of_a_cell_that_is_parametrized_keeps_the_steps_in_python():
    class Own(Elman):
        def __init__(self, *sizes, **common):
            super().__init__(*sizes, **common)
            self.inner = parametrized((3, 3), Symmetric())

    assert mirroring.obstacle(Own(2, 3)) == "the kernels cannot compute Own's parametrized weights"


def test_the_room_for_them_lies_behind_the_parameters():
    case = CASES["gatedantisymmetricrnn"]()
    task = case.task("auto")
    flat = native.flatten(task)
    assert flat.parameters.numel() == flat.spare + 2 * 64  # two directions, 8 x 8
    assert all(offset + size <= flat.spare for offset, size in zip(flat.offsets, flat.sizes, strict=True))
