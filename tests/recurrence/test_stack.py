"""What the stack adds around the engines: resets, padding, one-hots, dropout, initial states, refusals."""

from itertools import chain, product

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnlab import streams
from rnnlab.cells import Cell
from rnnlab.errors import UserError
from rnnlab.native import bindings
from rnnlab.recurrence import Stack, initialise, to_torch

CELLS = ["elman", "gru", "lstm"]
ENGINES = ["reference", "torch"]


def stack_of(cell, *sizes, **options):
    stack = Stack(cell, *sizes, **options).double()
    initialise(stack, [], seed=2)
    return stack


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


@pytest.mark.parametrize(("cell", "engine"), list(product(CELLS, ENGINES)))
def test_a_reset_is_a_new_beginning(cell, engine):
    """Row 0 is reset before steps 0, 2 and 3, row 1 before step 4: as if each piece were run by itself."""
    stack = stack_of(cell, 3, 4, 2, engine=engine, initial_state="learned")
    for layer in stack.layers:
        layer.initial.data.copy_(noise(*layer.initial.shape))
    x, start = noise(2, 6, 3), [tuple(s + 1 for s in one) for one in stack.start(2)]
    reset = torch.zeros(2, 6, dtype=torch.bool)
    reset[0, [0, 2, 3]] = reset[1, 4] = True
    y, final = stack(x, start, reset=reset)
    pieces = {0: [(0, 2), (2, 3), (3, 6)], 1: [(0, 4), (4, 6)]}
    for row, cuts in pieces.items():
        carried = None if reset[row, 0] else [tuple(s[row : row + 1] for s in one) for one in start]
        for begin, end in cuts:
            expected, last = stack(x[row : row + 1, begin:end], carried)
            torch.testing.assert_close(y[row : row + 1, begin:end], expected, rtol=0, atol=1e-14)
            carried = None
        for ours, theirs in zip(chain(*final), chain(*last), strict=True):
            torch.testing.assert_close(ours[row : row + 1], theirs, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("cell", "engine", "bidirectional", "order"),
    list(product(CELLS, ENGINES, [False, True], [[5, 3, 1, 4], [2, 2, 2, 2]])),
)
def test_padded_rows_are_torchs_packed_sequences(cell, engine, bidirectional, order):
    stack = stack_of(cell, 3, 4, 2, engine=engine, bidirectional=bidirectional)
    x, lengths = noise(4, 6, 3), torch.tensor(order)
    x[3, 4:] = float("inf")  # what stands in the padding must not matter
    y, final = stack(x, lengths=lengths)
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    expected, last = to_torch(stack)(packed)
    expected, _ = pad_packed_sequence(expected, batch_first=True, total_length=6)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
    hidden = last[0] if cell == "lstm" else last
    torch.testing.assert_close(torch.stack([h for (h,) in final]), hidden, rtol=0, atol=1e-12)


def test_gradients_through_padding_are_those_of_packed_sequences():
    stack = stack_of("gru", 3, 4, 2, bidirectional=True)
    layer, lengths, weigh = to_torch(stack), torch.tensor([2, 5, 1]), noise(3, 5, 8)
    ours, theirs = noise(3, 5, 3).requires_grad_(), noise(3, 5, 3).requires_grad_()
    (stack(ours, lengths=lengths)[0] * weigh).sum().backward()
    packed = pack_padded_sequence(theirs, lengths, batch_first=True, enforce_sorted=False)
    (pad_packed_sequence(layer(packed)[0], batch_first=True, total_length=5)[0] * weigh).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-12)
    for a, b in zip(stack.parameters(), layer.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("cell", "engine", "bias"), list(product(CELLS, ENGINES, ["both", "none"])))
def test_indices_are_one_hots(cell, engine, bias):
    stack = stack_of(cell, 7, 4, 2, engine=engine, bias=bias)
    indices = torch.randint(0, 7, (3, 5), generator=torch.Generator().manual_seed(1))
    gradients = []
    for x in (indices, functional.one_hot(indices, 7).double()):
        y, _ = stack(x)
        gradients.append([y, *torch.autograd.grad((y * noise(3, 5, 4)).sum(), list(stack.parameters()))])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-13)


@pytest.mark.parametrize("cell", CELLS)
def test_dropout_is_the_streams_mask_on_every_engine(cell):
    """Multiplied by hand between single layers; none after the last; none in evaluation."""
    x, seed, step, p = noise(4, 6, 3), 0, 17, 0.4
    for engine in ENGINES:
        stack = stack_of(cell, 3, 5, 3, dropout=p, engine=engine)
        y, _ = stack(x, dropout_at=(seed, step))
        by_hand = x
        for layer in range(3):
            single = Stack(cell, by_hand.shape[-1], 5).double()
            single.layers[0].load_state_dict(stack.layers[layer].state_dict())
            by_hand, _ = single(by_hand)
            if layer < 2:
                mask = torch.from_numpy(streams.keep_mask(seed, p, (4, 6, 5), step, layer))
                assert 0.2 < (mask == 0).double().mean() < 0.6
                by_hand = by_hand * mask
        torch.testing.assert_close(y, by_hand, rtol=0, atol=1e-13)
        without = Stack(cell, 3, 5, 3).double()
        without.load_state_dict(stack.state_dict())
        assert torch.equal(stack.eval()(x)[0], stack(x, dropout_at=(seed, 18))[0])
        torch.testing.assert_close(stack(x)[0], without(x)[0], rtol=0, atol=1e-13)
    with pytest.raises(ValueError, match=r"dropout_at"):
        stack.train()(x)


@pytest.mark.parametrize(("cell", "engine"), list(product(CELLS, ENGINES)))
def test_a_learned_initial_state_is_a_given_state_with_its_gradient(cell, engine):
    stack = stack_of(cell, 3, 4, 2, engine=engine, initial_state="learned")
    for layer in stack.layers:
        layer.initial.data.copy_(noise(*layer.initial.shape))
    plain = stack_of(cell, 3, 4, 2, engine=engine)
    given = [layer.initial.detach().clone().requires_grad_() for layer in stack.layers]
    x, weigh = noise(5, 6, 3), noise(5, 6, 4)
    y, _ = stack(x)
    plain.load_state_dict({k: v for k, v in stack.state_dict().items() if "initial" not in k})
    expected, _ = plain(x, [tuple(s.expand(5, 4) for s in one) for one in given])
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-14)
    got = torch.autograd.grad((y * weigh).sum(), [layer.initial for layer in stack.layers])
    wanted = torch.autograd.grad((expected * weigh).sum(), given)
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-13)


def test_a_state_cannot_be_carried_into_the_backward_direction():
    stack = Stack("gru", 3, 4, bidirectional=True)
    with pytest.raises(UserError, match=r"model.bidirectional=true"):
        stack(torch.zeros(2, 5, 3), stack.start(2))
    assert stack.output_size == 8


def test_an_x_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"\(B, T, 3\)"):
        Stack("gru", 3, 4)(torch.zeros(2, 5, 4))
    with pytest.raises(ValueError, match=r"\(2, 5\)"):
        Stack("gru", 3, 4)(torch.zeros(2, 5))


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ({"dropout": 1.0}, "model.dropout=1.0: must be a number from 0 to below 1"),
        ({"input_dropout": -0.5}, "model.input_dropout=-0.5: must be"),
        ({"recurrent_dropout": 1.5}, "model.recurrent_dropout=1.5: must be"),
        ({"zoneout": 2}, "model.zoneout=2: must be"),
        ({"zoneout_cell": float("nan")}, "model.zoneout_cell=nan: must be"),
        ({"num_layers": 0}, "model.num_layers=0: must be a whole number of at least 1"),
        ({"hidden_size": 0}, "model.hidden_size=0: must be a whole number"),
    ],
)
def test_chances_and_sizes_that_make_no_stack_are_refused(option, why):
    with pytest.raises(UserError, match=why):
        Stack(**{"cell": "lstm", "input_size": 3, "hidden_size": 4, "num_layers": 2, **option})


def test_engines_say_why_they_were_taken():
    lstm = Stack("lstm", 2, 3).double()
    assert (
        lstm.choice.engine == "torch" and "the native engine serves precision 32-true" in lstm.choice.reason
    )
    assert Stack("lstm", 2, 3, engine="reference").choice == ("reference", "asked for")
    asked = Stack("lstm", 2, 3, engine="native").double()
    with pytest.raises(UserError, match=r"^model.engine=native: .*; use auto or torch or reference$"):
        asked(torch.zeros(1, 2, 2, dtype=torch.float64))
    with pytest.raises(UserError, match=r"model.engine=tourch: .* Did you mean torch?"):
        Stack("lstm", 2, 3, engine="tourch")


def test_the_kernels_are_not_compiled_for_another_engine(monkeypatch):
    asked = []
    monkeypatch.setattr(bindings, "obstacle", lambda: asked.append("native") or "there is no compiler")
    for engine in ENGINES:
        assert Stack("gru", 2, 3, engine=engine).choice == (engine, "asked for")
    auto = Stack("gru", 2, 3)
    assert asked == []  # nor before it is known where the weights will be
    assert auto.choice == ("torch", "auto: there is no compiler") == auto.choice
    assert asked == ["native"]  # once, not at every forward


def test_the_choice_follows_the_weights():
    stack = Stack("gru", 2, 3)
    assert stack.choice.engine == "native"
    assert stack.double().choice.engine == "torch"
    stack.float().engine = "reference"
    assert stack.choice.engine == "reference"
    stack.engine, stack.precision = "auto", "16-mixed"
    assert "not 16-mixed on cpu" in stack.choice.reason


def test_a_subclass_with_other_equations_is_not_given_to_torch():
    from rnnlab.cells import Elman

    class Doubled(Elman):
        def step(self, u, state):
            return super().step(2 * u, state)

    stack = Stack(Doubled, 2, 3, nonlinearity="relu")
    assert stack.choice.engine == "native" and stack.double().choice.engine == "reference"
    assert isinstance(to_torch(Stack("elman", 2, 3)), nn.RNN)
    with pytest.raises(UserError, match=r"no layer for Doubled"):
        to_torch(stack)


def test_a_batch_that_memory_does_not_hold_is_refused_before_it_is_tried(monkeypatch):
    stack = Stack("gru", 1, 64, num_layers=2)
    monkeypatch.setattr("rnnlab.memory.free", lambda: 3 * 10**8)
    small, large = torch.zeros(2, 5, 1), torch.zeros(1, 1, 1).expand(100_000, 100, 1)
    stack(small)
    with pytest.raises(
        UserError, match="a batch of 100,000 rows of 100 steps through 2 layers of 64 units would take about"
    ):
        stack(large)


@pytest.mark.parametrize("name", ["project", "recur", "activate", "step", "advance"])
def test_a_method_set_on_a_cell_after_a_call_is_not_given_to_torch(name):
    stack, x = Stack("elman", 3, 4).double(), torch.ones(2, 5, 3, dtype=torch.float64)
    before, _ = stack(x)
    assert stack.choice.engine == "torch"
    cell = stack.layers[0]
    own = getattr(cell, name)
    setattr(cell, name, lambda first, *more: own(2 * first, *more))
    found, _ = stack(x)
    assert not torch.allclose(found, before)
    assert stack.choice.engine == "reference" and f"this Elman's own {name}" in stack.choice.reason
    stack.engine = "torch"
    with pytest.raises(
        UserError, match=f"^model.engine=torch: .* this Elman's own {name}; use auto or reference$"
    ):
        stack(x)
    delattr(cell, name)
    torch.testing.assert_close(stack(x)[0], before)


class Narrow(Cell):
    gates, states = 1, 1

    def __init__(self, input_size, hidden_size, *, bias="both", k=1.0):
        super().__init__(input_size, hidden_size, bias=bias)
        self.k = k

    def step(self, u, state):
        h = torch.tanh(u + self.k * self.recur(state[0]))
        return h, (h,)


class Passing(Narrow):
    def __init__(self, *args, more=0.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.more = more


def test_a_constructor_that_passes_arguments_on_takes_those_of_its_parent():
    cell = Stack(Passing, 2, 3, bias="none", options={"k": 0.5, "more": 2.0}).layers[0]
    assert (cell.bias, cell.k, cell.more) == ("none", 0.5, 2.0)
    with pytest.raises(UserError, match=r"^model.initial_state=learned: Passing has no such option"):
        Stack(Passing, 2, 3, initial_state="learned")
    with pytest.raises(
        UserError, match=r"model\.options\.mor: Passing has no such option. Did you mean more\?"
    ):
        Stack(Passing, 2, 3, options={"mor": 2.0})
