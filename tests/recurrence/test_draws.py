"""Zoneout and dropout by sequence, against the papers' equations in a loop of NumPy's in float64."""

import hashlib

import numpy as np
import pytest
import torch
from torch import nn, tanh
from torch.nn import functional

from rnnlab.cells import Cell
from rnnlab.errors import UserError
from rnnlab.recurrence import Stack, to_torch

SEED, STEP = 5, 3
ROWS, STEPS, INPUTS, HIDDEN = 4, 6, 3, 7


def words(stream: str, place: int, *shape: int) -> np.ndarray:
    """16-bit words of a stream, by NumPy alone."""
    digest = hashlib.sha256(f"{SEED}:{stream}".encode()).digest()[:16]
    counter = np.array([0, 0, STEP, place], dtype=np.uint64)
    bits = np.random.Philox(key=np.frombuffer(digest, dtype="<u8").astype(np.uint64), counter=counter)
    n = int(np.prod(shape))
    return bits.random_raw(n).view("<u2")[:n].reshape(shape)


def dropped(stream: str, p: float, place: int, *shape: int) -> np.ndarray:
    return np.where(words(stream, place, *shape) < round(p * 65536), np.float32(0), np.float32(1 / (1 - p)))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(stack: Stack, x: np.ndarray, h, c, *, inputs, products, keep_h, keep_c):
    """Gal and Ghahramani's tied masks on x and h; Krueger et al.'s equations 3 and 4. (B, T, H), h, c."""
    w = {name: p.detach().double().numpy() for name, p in stack.layers[0].named_parameters()}
    outputs = []
    for t in range(x.shape[1]):
        sums = (
            (x[:, t] * inputs) @ w["weight_ih"].T
            + w["bias_ih"]
            + (h * products) @ w["weight_hh"].T
            + w["bias_hh"]
        )
        i, f, g, o = np.split(sums, 4, axis=1)
        new = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = keep_h[:, t] * h + (1 - keep_h[:, t]) * sigmoid(o) * np.tanh(new)
        c = keep_c[:, t] * c + (1 - keep_c[:, t]) * new
        outputs.append(h)
    return np.stack(outputs, 1), h, c


def made(engine: str, cell="lstm", **options) -> Stack:
    stack = Stack(cell, INPUTS, HIDDEN, engine=engine, **options)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in stack.parameters():
            p.copy_(torch.randn(p.shape, generator=draw) * 0.5)
    return stack if engine == "native" else stack.double()


OPTIONS = {"input_dropout": 0.3, "recurrent_dropout": 0.4, "zoneout": 0.2, "zoneout_cell": 0.5}


@pytest.mark.parametrize("engine", ["reference", "native"])
@pytest.mark.parametrize("training", [True, False])
def test_lstm_is_that_of_the_papers(engine, training):
    stack = made(engine, **OPTIONS).train(training)
    x, h, c = (np.random.default_rng(i).normal(size=s) for i, s in enumerate(
        [(ROWS, STEPS, INPUTS), (ROWS, HIDDEN), (ROWS, HIDDEN)]))  # fmt: skip
    if training:
        keep = words("zoneout", 0, ROWS, STEPS, 2, HIDDEN)
        masks = {
            "inputs": dropped("input_dropout", 0.3, 0, ROWS, INPUTS),
            "products": dropped("recurrent_dropout", 0.4, 0, ROWS, HIDDEN),
            "keep_h": keep[:, :, 0] < round(0.2 * 65536),
            "keep_c": keep[:, :, 1] < round(0.5 * 65536),
        }
    else:
        every = np.ones((ROWS, STEPS, 1))
        masks = {"inputs": 1.0, "products": 1.0, "keep_h": 0.2 * every, "keep_c": 0.5 * every}
    wanted, *ends = lstm(stack, x, h, c, **masks)
    like = next(stack.parameters()).dtype
    given = torch.from_numpy(x).to(like), [tuple(torch.from_numpy(s).to(like) for s in (h, c))]
    y, [last] = stack(*given, dropout_at=(SEED, STEP))
    close = 1e-12 if engine == "reference" else 1e-5
    for found, truth in zip((y, *last), (wanted, *ends), strict=True):
        assert np.abs(found.detach().numpy() - truth).max() < close


def test_a_kept_unit_keeps_its_bits_and_a_carried_state_is_not_masked():
    """A segment draws anew at each optimizer step; what goes into it is what came out of the one before."""
    stack = made("native", **OPTIONS)
    x = torch.randn(ROWS, 1, INPUTS, generator=torch.Generator().manual_seed(2))
    _, first = stack(x, dropout_at=(SEED, STEP - 1))
    _, second = stack(x, first, dropout_at=(SEED, STEP))
    keep = torch.from_numpy(
        words("zoneout", 0, ROWS, 1, 2, HIDDEN)[:, 0] < [[round(0.2 * 65536)], [round(0.5 * 65536)]]
    )
    for k, (old, new) in enumerate(zip(first[0], second[0], strict=True)):
        assert torch.equal(old == new, keep[:, k])


def both(kind, draw=True, reset=None, lengths=None, state=None, **options) -> list[list[torch.Tensor]]:
    """Outputs and gradients on both engines."""
    outcomes = []
    for engine in ("reference", "native"):
        stack = made(engine, kind, **options).train(draw)
        generator = torch.Generator().manual_seed(3)
        x = torch.randn(ROWS, STEPS, INPUTS, generator=generator).to(next(stack.parameters()))
        y, last = stack(x, reset=reset, lengths=lengths, dropout_at=(SEED, STEP))
        loss = (y * torch.randn(y.shape, generator=generator).to(y)).sum()
        found = torch.autograd.grad(loss, list(stack.parameters()), allow_unused=True)
        outcomes.append([y.detach(), *(s for one in last for s in one), *(g for g in found if g is not None)])
    return outcomes


def close(kind, **options) -> bool:
    reference, native = both(kind, **options)
    return all(
        torch.allclose(n.double(), r, rtol=1e-4, atol=1e-5) for r, n in zip(reference, native, strict=True)
    )


class Written(Cell):
    """tanh(u + W h), with the product written in the way that `product` says."""

    gates, states = 1, 1
    product = staticmethod(lambda weight, h: functional.linear(h, weight))

    def step(self, u, state):
        h = torch.tanh(u + self.product(self.weight_hh, state[0]))
        return h, (h,)


WAYS = {
    "by name": lambda weight, h: functional.linear(weight=weight, input=h),
    "h @ W.T": lambda weight, h: h @ weight.T,
    "W @ h.T": lambda weight, h: (weight @ h.T).T,
    "mm": lambda weight, h: torch.mm(weight, mat2=h.T).T,
    "of other weights": lambda weight, h: ((1.0 * weight) @ h.T).T,
}


def written(product, p: float) -> torch.Tensor:
    kind = type("One", (Written,), {"product": staticmethod(product)})
    x = torch.randn(ROWS, STEPS, INPUTS, generator=torch.Generator().manual_seed(3)).double()
    return made("reference", kind, recurrent_dropout=p).train()(x, dropout_at=(SEED, STEP))[0]


@pytest.mark.parametrize("way", WAYS)
def test_the_state_is_masked_however_its_product_is_written(way):
    usual, other, undropped = (
        written(product, p)
        for product, p in ((Written.product, 0.4), (WAYS[way], 0.4), (Written.product, 0.0))
    )
    assert torch.allclose(usual, other, rtol=0, atol=1e-14) and not torch.allclose(usual, undropped)


UNCLEAR = {
    "einsum": lambda weight, h: torch.einsum("bi,oi->bo", h, weight),
    "inner": lambda weight, h: h.inner(weight),
    "linalg_multi_dot": lambda weight, h: torch.linalg.multi_dot([h, weight.T]),
    "addmm_": lambda weight, h: torch.zeros_like(h).addmm_(h, weight.T),
    "matmul": lambda weight, h: torch.stack([weight @ row for row in h]),
    "linear": lambda weight, h: functional.linear(weight, h).T,
    "__matmul__|matmul": lambda weight, h: (h[:, None] @ weight.T)[:, 0],
}


@pytest.mark.parametrize("name", UNCLEAR)
def test_a_product_in_which_the_state_is_not_found_is_refused(name):
    with pytest.raises(
        UserError, match=rf"not clear which argument of ({name}) is the state; write functional"
    ):
        written(UNCLEAR[name], 0.4)


@pytest.mark.parametrize("initial", ["zero", "learned"])
@pytest.mark.parametrize("way", [way for way in WAYS if way != "of other weights"])
def test_a_batch_may_have_as_many_rows_as_the_layer_units(way, initial):
    """A part of a parameter is told from the state, which may be a part of the learned initial state."""
    found = []
    for product in (Written.product, lambda weight, h: WAYS[way](weight.split(HIDDEN)[0], h)):
        kind = type("One", (Written,), {"product": staticmethod(product)})
        stack = made("reference", kind, recurrent_dropout=0.4, initial_state=initial).train()
        x = torch.randn(HIDDEN, STEPS, INPUTS, generator=torch.Generator().manual_seed(3)).double()
        found.append(stack(x, dropout_at=(SEED, STEP))[0])
    assert torch.allclose(*found, rtol=0, atol=1e-14)


def test_weights_made_of_others_are_not_told_from_the_state_where_there_are_as_many_rows_as_units():
    kind = type("One", (Written,), {"product": staticmethod(WAYS["of other weights"])})
    x = torch.randn(HIDDEN, STEPS, INPUTS).double()
    with pytest.raises(UserError, match=r"model\.recurrent_dropout: it is not clear which argument of"):
        made("reference", kind, recurrent_dropout=0.4).train()(x, dropout_at=(SEED, STEP))


CELLS = ["elman", "gruv3", "lem", "rhn", "multiplicativelstm", "lru", "qrnn", "s4d"]


@pytest.mark.parametrize("cell", CELLS)
def test_engines_agree_on_any_cell(cell):
    assert close(cell, **OPTIONS, num_layers=2, dropout=0.2)


def test_both_directions_with_lengths():
    lengths = torch.tensor([6, 1, 3, 5])
    assert close("gru", zoneout=0.3, recurrent_dropout=0.3, bidirectional=True, lengths=lengths)


def test_resets():
    reset = torch.rand(ROWS, STEPS, generator=torch.Generator().manual_seed(4)) < 0.3
    assert close("lstm", **OPTIONS, initial_state="learned", reset=reset)


def test_one_hot_inputs_drop_whole_characters_of_a_sequence():
    stack = Stack("elman", 5, HIDDEN, engine="reference", input_dropout=0.5).double()
    tokens = torch.arange(5).expand(2, 5)
    mask = dropped("input_dropout", 0.5, 0, 2, 5)
    y, _ = stack(tokens, dropout_at=(SEED, STEP))
    again, _ = stack.eval()(torch.eye(5).double() * torch.from_numpy(mask)[:, :, None])
    assert torch.equal(y, again)


def test_what_cannot_be():
    with pytest.raises(
        UserError, match=r"zoneout=0.1: the other states of SLSTM .* set model.zoneout_cell=0"
    ):
        made("reference", "slstm", zoneout=0.1)
    with pytest.raises(UserError, match=r"zoneout_cell=0.2: the other states of SLSTM"):
        made("reference", "slstm", zoneout_cell=0.2)
    made("reference", "slstm", zoneout=0.1, zoneout_cell=0.0)
    with pytest.raises(UserError, match="torch's fused layers have no zoneout"):
        made("torch", zoneout=0.1)
    with pytest.raises(UserError, match="no zoneout"):
        to_torch(made("reference", zoneout=0.1))
    with pytest.raises(ValueError, match="dropout_at"):
        made("reference", zoneout=0.1)(torch.zeros(1, 1, INPUTS).double())


class Warming(Cell):
    """Its gate opens as the steps go on."""

    gates, states = 1, 1

    def __init__(self, input_size, hidden_size, **common):
        super().__init__(input_size, hidden_size, **common)
        self.tau = nn.Parameter(torch.ones(hidden_size))

    def step(self, u, state, t):
        (h,) = state
        gate = torch.exp(-t / (1 + self.tau.square()))
        h = gate * h + (1 - gate) * tanh(u + self.recur(h))
        return h, (h,)


@pytest.mark.parametrize("engine", ["reference", "native"])
def test_the_number_of_a_step_goes_on_with_the_state_and_begins_again_at_a_reset(engine):
    stack = made(engine, Warming, initial_state="learned").eval()
    w = {name: p.detach().double().numpy() for name, p in stack.layers[0].named_parameters()}
    x = np.random.default_rng(1).normal(size=(2, STEPS, INPUTS))
    reset = np.zeros((2, STEPS), dtype=bool)
    reset[1, 4] = True
    h, number, wanted = np.repeat(w["initial"], 2, axis=0), np.zeros((2, 1)), []
    for t in range(STEPS):
        h, number = np.where(reset[:, [t]], w["initial"], h), np.where(reset[:, [t]], 0, number)
        gate = np.exp(-number / (1 + w["tau"] ** 2))
        sums = x[:, t] @ w["weight_ih"].T + w["bias_ih"] + h @ w["weight_hh"].T + w["bias_hh"]
        h, number = gate * h + (1 - gate) * np.tanh(sums), number + 1
        wanted.append(h)
    seen = torch.from_numpy(x).to(next(stack.parameters()))
    one, state = stack(seen[:, :3], reset=torch.from_numpy(reset[:, :3]))
    two, [(last, count)] = stack(seen[:, 3:], state, reset=torch.from_numpy(reset[:, 3:]))
    found = torch.cat([one, two], 1).detach().numpy()
    assert np.abs(found - np.stack(wanted, 1)).max() < (1e-12 if engine == "reference" else 1e-5)
    assert count.tolist() == [[6.0] * HIDDEN, [2.0] * HIDDEN]
    assert torch.equal(last, two[:, -1])


def test_engines_agree_on_a_cell_that_counts():
    assert close(Warming, zoneout=0.2, recurrent_dropout=0.3, initial_state="learned", num_layers=2)
