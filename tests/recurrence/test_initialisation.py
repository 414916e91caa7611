"""The weights that runs start from: torch's own bits, the streams, orthogonality, the forget bias."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from rnnlab import streams
from rnnlab.errors import UserError
from rnnlab.recurrence import Stack, initialise

LAYERS = {"elman": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


def empty(module):
    """Fills a module with a value that no draw gives, so that what is left out shows."""
    for parameter in module.parameters():
        parameter.data.fill_(99.0)
    return module


@pytest.mark.parametrize("cell", LAYERS)
@pytest.mark.parametrize(
    ("layers", "bidirectional", "bias"), [(1, False, "both"), (3, False, "none"), (2, True, "both")]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_torchs_bits(cell, layers, bidirectional, bias, dtype):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(28)
        embedding = nn.Embedding(11, 5, padding_idx=0, dtype=dtype)
        torchs = LAYERS[cell](5, 6, layers, bidirectional=bidirectional, bias=bias == "both", dtype=dtype)
        head = nn.Linear(torchs.hidden_size * (1 + bidirectional), 3, dtype=dtype)
        ours = Stack(cell, 5, 6, layers, bidirectional=bidirectional, bias=bias).to(dtype)
        heads = [nn.Embedding(11, 5, padding_idx=0, dtype=dtype), nn.Linear(head.in_features, 3, dtype=dtype)]
        before = torch.get_rng_state()
        initialise(empty(ours), [empty(h) for h in reversed(heads)], scheme="torch", seed=28)
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(heads[0].weight, embedding.weight)
    assert torch.equal(heads[1].weight, head.weight) and torch.equal(heads[1].bias, head.bias)
    for mine, theirs in zip(ours.parameters(), torchs.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_one_bias_leaves_torchs_other_draws_where_they_are():
    one, both = Stack("gru", 3, 4, 2, bias="one"), Stack("gru", 3, 4, 2)
    for stack in (one, both):
        initialise(stack, [], scheme="torch", seed=0)
    theirs = both.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in one.state_dict().items())


def test_uniform_draws_come_from_the_stream_in_the_documented_order():
    stack, head, embedding = Stack("lstm", 5, 4, 2), nn.Linear(4, 3), nn.Embedding(7, 5)
    initialise(empty(stack), [empty(head), empty(embedding)], seed=0)
    generator = streams.generator(0, "init")
    np.testing.assert_array_equal(
        embedding.weight.detach(), generator.standard_normal((7, 5)).astype(np.float32)
    )
    for parameter in stack.parameters():
        drawn = generator.uniform(-0.5, 0.5, tuple(parameter.shape)).astype(np.float32)
        np.testing.assert_array_equal(parameter.detach(), drawn)
    for parameter in head.parameters():
        drawn = generator.uniform(-0.5, 0.5, tuple(parameter.shape)).astype(np.float32)
        np.testing.assert_array_equal(parameter.detach(), drawn)


def test_seeds_differ_and_precisions_agree():
    stacks = [Stack("gru", 3, 4), Stack("gru", 3, 4), Stack("gru", 3, 4).double()]
    for stack, seed in zip(stacks, (0, 1, 0), strict=True):
        initialise(stack, [], seed=seed)
    a, b, c = (torch.cat([p.flatten() for p in stack.parameters()]) for stack in stacks)
    assert torch.equal(a, c.float()) and not torch.equal(a.double(), c) and not torch.equal(a, b)


def test_a_scale_bounds_everything():
    stack, heads = Stack("lstm", 30, 40), [nn.Embedding(50, 30), nn.Linear(40, 50)]
    initialise(stack, heads, scale=0.08, seed=4)
    for module in (stack, *heads):
        for parameter in module.parameters():
            assert 0.07 < parameter.abs().max() <= 0.08
            assert parameter.std().item() == pytest.approx(0.08 / math.sqrt(3), rel=0.15)


def test_orthogonal_gates():
    stack = Stack("lstm", 3, 8, 2, initial_state="learned").double()
    initialise(empty(stack), [], scheme="orthogonal", seed=1)
    blocks = []
    for cell in stack.layers:
        for block in cell.weight_hh.split(8):
            torch.testing.assert_close(block @ block.T, torch.eye(8, dtype=torch.float64), rtol=0, atol=1e-12)
            blocks.append(block)
        assert all(not p.any() for p in (cell.bias_ih, cell.bias_hh, cell.initial))
        bound = math.sqrt(6 / (8 + cell.input_size))
        assert 0.9 * bound < cell.weight_ih.abs().max() <= bound
    assert all(not torch.equal(a, b) for k, a in enumerate(blocks) for b in blocks[:k])


@pytest.mark.parametrize("bias", ["both", "one"])
@pytest.mark.parametrize("scheme", ["uniform", "orthogonal", "torch"])
def test_the_forget_bias_is_the_sum_of_both_and_touches_nothing_else(bias, scheme):
    plain, set_ = Stack("lstm", 3, 4, 2, bias=bias), Stack("lstm", 3, 4, 2, bias=bias)
    initialise(plain, [], scheme=scheme, seed=0)
    initialise(set_, [], scheme=scheme, seed=0, forget_bias=1.5)
    for before, after in zip(plain.layers, set_.layers, strict=True):
        total = after.bias_ih if bias == "one" else after.bias_ih + after.bias_hh
        assert total[4:8].tolist() == [1.5] * 4
        for (name, a), b in zip(before.named_parameters(), after.parameters(), strict=True):
            kept = [k for k in range(16) if not ("bias" in name and 4 <= k < 8)]
            assert torch.equal(a[kept], b[kept])


@pytest.mark.parametrize("cell", ["lstm", "mgu"])
def test_an_automatic_forget_bias_is_one(cell):
    plain, asked = Stack(cell, 3, 4), Stack(cell, 3, 4)
    initialise(plain, [], seed=0, forget_bias=1.0)
    initialise(asked, [], seed=0, forget_bias="auto")
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), asked.parameters(), strict=True))


@pytest.mark.parametrize("options", [{"cell": "gru"}, {"cell": "lstm", "bias": "none"}])
def test_an_automatic_forget_bias_needs_no_place(options):
    plain, asked = (
        Stack(input_size=3, hidden_size=4, **options),
        Stack(input_size=3, hidden_size=4, **options),
    )
    initialise(plain, [], seed=0)
    initialise(asked, [], seed=0, forget_bias="auto")
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), asked.parameters(), strict=True))


@pytest.mark.parametrize(
    ("cell", "options", "message"),
    [
        ({}, {"scheme": "unifrom"}, "model.init=unifrom: not one of .* Did you mean uniform?"),
        ({}, {"scheme": "torch", "scale": 0.1}, "model.init_scale=0.1: model.init=torch has no scale"),
        ({"cell": "gru"}, {"forget_bias": 1.0}, "model.forget_bias=1.0: GRU has no forget gate"),
        ({"bias": "none"}, {"forget_bias": 0.0}, "model.forget_bias=0.0: model.bias=none leaves no bias"),
    ],
)
def test_what_has_no_meaning_is_refused(cell, options, message):
    stack = Stack(**{"cell": "lstm", "input_size": 2, "hidden_size": 3, **cell})
    with pytest.raises(UserError, match=message):
        initialise(stack, [], seed=0, **options)
