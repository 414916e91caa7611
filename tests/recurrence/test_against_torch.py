"""Values and gradients equal torch's own layers in float64, over all options that both have."""

from itertools import product

import pytest
import torch
from torch import nn

from rnnlab.errors import UserError
from rnnlab.recurrence import Stack, from_torch, fused, initialise, to_torch

TOLERANCE = 1e-10
KINDS = {"elman": "RNN", "gru": "GRU", "lstm": "LSTM"}
ENGINES = ["reference", "torch"]
# (batch, time, inputs, hidden): odd sizes, one step, one row, one unit
SIZES = [(3, 5, 4, 7), (2, 1, 3, 2), (1, 4, 1, 1)]


def pair(cell, size, *, engine, layers=1, bidirectional=False, bias="both", nonlinearity="tanh", h0=False):
    """Our stack and torch's layer with the same weights, inputs and initial states that ask for gradients."""
    batch, time, inputs, hidden = size
    stack = Stack(
        cell,
        inputs,
        hidden,
        layers,
        bidirectional=bidirectional,
        bias=bias,
        engine=engine,
        nonlinearity=nonlinearity,
    ).double()
    initialise(stack, [], seed=3)
    layer = to_torch(stack)
    rng = torch.Generator().manual_seed(4)
    x = torch.randn(batch, time, inputs, generator=rng, dtype=torch.float64)
    states = 2 if cell == "lstm" else 1
    shape = (states, layers * (1 + bidirectional), batch, hidden)
    start = torch.randn(shape, generator=rng, dtype=torch.float64) if h0 else None
    return stack, layer, x, start


def gradients(outputs, leaves):
    weighed = sum((o * torch.linspace(-1, 2, o.numel(), dtype=o.dtype).view(o.shape)).sum() for o in outputs)
    return torch.autograd.grad(weighed, leaves)


def compare(stack, layer, x, start):
    leaves = [x.clone().requires_grad_(), *([] if start is None else [start.clone().requires_grad_()])]
    twins = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    state = None if start is None else [tuple(leaves[1][:, k]) for k in range(start.shape[1])]
    y, final = stack(leaves[0], state)
    hx = None if start is None else (twins[1][0] if len(start) == 1 else tuple(twins[1]))
    expected, last = layer(twins[0], hx)
    last = last if isinstance(last, tuple) else (last,)
    ours = [y, *(torch.stack(parts) for parts in zip(*final, strict=True))]
    theirs = [expected, *last]
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=TOLERANCE)
    weights = dict(layer.named_parameters())
    order = [name for name in weights if "bias_hh" not in name or stack.layers[0].bias_hh is not None]
    got = gradients(ours, [*leaves, *stack.parameters()])
    wanted = gradients(theirs, [*twins, *(weights[name] for name in order)])
    for a, b in zip(got, wanted, strict=True):
        assert b.abs().max() > 0
        torch.testing.assert_close(a, b, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("cell", "layers", "bidirectional"), list(product(KINDS, [1, 2, 3], [False, True])))
def test_layers_and_directions(cell, layers, bidirectional, engine):
    compare(*pair(cell, SIZES[0], engine=engine, layers=layers, bidirectional=bidirectional))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("cell", "bias", "size"), list(product(KINDS, ["both", "one", "none"], SIZES)))
def test_biases_sizes_and_given_states(cell, bias, size, engine):
    compare(*pair(cell, size, engine=engine, bias=bias, layers=2, h0=True))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("h0", [False, True])
def test_relu(engine, h0):
    compare(*pair("elman", SIZES[0], engine=engine, nonlinearity="relu", layers=2, h0=h0))


@pytest.mark.parametrize("cell", KINDS)
def test_engines_agree_in_float32(cell):
    """Tolerance 2e-6 after 50 steps: a few units in the last place of values up to 1."""
    x = torch.randn(8, 50, 6, generator=torch.Generator().manual_seed(0))
    outputs = [Stack(cell, 6, 16, 2, engine=engine)(x)[0] for engine in ENGINES]
    torch.testing.assert_close(*outputs, rtol=0, atol=2e-6)


@pytest.mark.parametrize(("cell", "bidirectional"), list(product(KINDS, [False, True])))
def test_weights_go_both_ways(cell, bidirectional):
    """Every number of torch's layer comes back, and nothing is drawn from the global generator on the way."""
    layer = getattr(nn, KINDS[cell])(3, 4, 2, bidirectional=bidirectional, dropout=0.25)
    before = torch.get_rng_state()
    stack = from_torch(layer)
    back = to_torch(stack)
    assert torch.equal(torch.get_rng_state(), before)
    assert stack.dropout == back.dropout == 0.25
    theirs, ours = layer.state_dict(), back.state_dict()
    assert list(theirs) == list(ours) and all(torch.equal(theirs[k], ours[k]) for k in theirs)


def test_what_torch_has_not_is_refused():
    with pytest.raises(UserError, match="no learned initial state"):
        to_torch(Stack("gru", 2, 3, initial_state="learned"))
    with pytest.raises(UserError, match="proj_size=2"):
        from_torch(nn.LSTM(3, 4, proj_size=2))


def test_cudnns_one_chunk_is_the_same_weights_one_after_another():
    cell = Stack("gru", 3, 4).layers[0]
    weights = list(cell.parameters())
    views = fused.one_chunk(weights)
    places = [view.storage_offset() for view in views]
    assert places == [0, 36, 84, 96] and len({view.untyped_storage().data_ptr() for view in views}) == 1
    assert all(torch.equal(view, weight) for view, weight in zip(views, weights, strict=True))
    gradients = torch.autograd.grad(sum((k + 1) * view.sum() for k, view in enumerate(views)), weights)
    assert [g.unique().tolist() for g in gradients] == [[1.0], [2.0], [3.0], [4.0]]


def test_a_cell_with_a_step_of_its_own_is_no_layer_of_torchs():
    stack = Stack("elman", 2, 3)
    stack.layers[0].step = lambda u, state: (u, (u,))
    with pytest.raises(UserError, match=r"^to_torch: a cell has a step of its own"):
        to_torch(stack)
