"""How exact the activations and the other functions of a step are, over floats of all sizes."""

import math
import shutil

import numpy as np
import pytest
import torch
from programs import built_with

from rnnlab.native import bindings as library

EXACT = {
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "exp": np.exp,
    "exp_any": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "softplus": lambda x: np.where(x > 20, x, np.logaddexp(0, x)),
    "sqrt": np.sqrt,
    "sin": np.sin,
    "cos": np.cos,
    "erf": lambda x: torch.erf(torch.from_numpy(x.astype(np.float64))).numpy(),
}
EVERYWHERE = list(EXACT)[3:]


def floats(stride: int) -> np.ndarray:
    """Of all sizes and both signs, subnormal ones too; a multiple of 16."""
    bits = np.arange(1, np.float32(math.inf).view(np.uint32), stride, dtype=np.uint32)
    both = np.concatenate([bits, bits | np.uint32(0x80000000)]).view(np.float32)
    return both[: len(both) // 16 * 16]


def activation(which: str, x: np.ndarray) -> np.ndarray:
    y = np.empty_like(x)
    place = list(EXACT).index(which)
    library.library().c.rnnlab_activation(place, len(x), x.ctypes.data, y.ctypes.data)
    return y


def power(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    y = np.empty_like(a)
    library.library().c.rnnlab_power(len(a), a.ctypes.data, b.ctypes.data, y.ctypes.data)
    return y


def units_off(found: np.ndarray, truth: np.ndarray) -> float:
    """The largest distance in units in the last place of float32; what is not finite must be the same."""
    with np.errstate(over="ignore"):
        nearest = truth.astype(np.float32)
    usual = np.isfinite(nearest)
    assert np.array_equal(found[~usual], nearest[~usual], equal_nan=True) and np.isfinite(found[usual]).all()
    return float(np.max(np.abs(found[usual] - truth[usual]) / np.spacing(np.abs(nearest[usual]))))


@pytest.mark.parametrize(("which", "top"), [("tanh", 30.0), ("sigmoid", 80.0), ("exp", 80.0)])
def test_within_three_units_in_the_last_place(which, top):
    bits = np.arange(np.float32(1e-7).view(np.uint32), np.float32(top).view(np.uint32), 61, dtype=np.uint32)
    for sign in (0, 0x80000000):
        x = (bits[: len(bits) // 16 * 16] | np.uint32(sign)).view(np.float32)
        assert units_off(activation(which, x), EXACT[which](x.astype(np.float64))) < 3


@pytest.mark.filterwarnings("ignore:.*encountered")
@pytest.mark.parametrize("which", EVERYWHERE)
def test_the_others_lie_within_two_of_every_float(which):
    x = floats(9973)
    assert units_off(activation(which, x), EXACT[which](x.astype(np.longdouble))) < 2


@pytest.mark.parametrize("which", EVERYWHERE)
def test_the_others_near_one(which):
    x = np.linspace(-7, 7, 160_000, dtype=np.float32)
    with np.errstate(all="ignore"):
        assert units_off(activation(which, x), EXACT[which](x.astype(np.longdouble))) < 2


def test_powers():
    draw = np.random.default_rng(0)
    a = np.exp(np.concatenate([draw.uniform(-87, 88, 48_000), draw.uniform(-0.7, 0.7, 48_000)])).astype(
        np.float32
    )
    b = np.concatenate([draw.uniform(-3, 3, 48_000), draw.uniform(-120, 120, 48_000)]).astype(np.float32)
    with np.errstate(all="ignore"):
        truth = a.astype(np.longdouble) ** b.astype(np.longdouble)
    usual = (truth > 1e-37) | (truth < 1e-46)  # subnormal ones have fewer digits
    assert units_off(power(a, b)[usual], truth[usual]) < 3


def test_powers_at_the_corners_are_as_in_c():
    some = [0.0, -0.0, 1, -1, math.inf, -math.inf, math.nan, 2, -2, 0.5, -0.5, 3, -3, 1e30, 2**24, 2**24 + 2]
    a, b = (m.ravel().astype(np.float32) for m in np.meshgrid(some, some))
    with np.errstate(all="ignore"):
        truth = (a.astype(np.float64) ** b.astype(np.float64)).astype(np.float32)
    found = power(a, b)
    assert np.allclose(found, truth, rtol=1e-6, atol=0, equal_nan=True)
    assert np.array_equal(np.signbit(found)[~np.isnan(truth)], np.signbit(truth)[~np.isnan(truth)])


def test_where_the_line_ends():
    x = np.array([math.nan, math.inf, -math.inf, 0.0, 1e-40, -1e-40, 500.0, -500.0] * 2, dtype=np.float32)
    assert np.isnan([activation(which, x)[0] for which in EXACT]).all()
    assert activation("tanh", x)[1:4].tolist() == [1.0, -1.0, 0.0]
    assert activation("sigmoid", x)[[1, 3, 6]].tolist() == [1.0, 0.5, 1.0]
    assert 0 <= activation("sigmoid", x)[2] < 1e-37
    assert activation("log", x)[[1, 3]].tolist() == [math.inf, -math.inf]
    assert np.isnan(activation("sin", x)[1:3]).all() and np.isnan(activation("log", x)[[2, 5]]).all()
    assert activation("softplus", x)[1:3].tolist() == [math.inf, 0.0]
    assert np.abs(activation("tanh", np.linspace(-40, 40, 1600, dtype=np.float32))).max() <= 1.0


@pytest.mark.parametrize("other", ["AVX2", "clang"])
def test_the_same_bits_elsewhere(other):
    flags = {"AVX2": ("-march=x86-64-v3", "-O1"), "clang": ()}[other]
    if flags and library.status()["isa"] not in ("AVX2", "AVX-512"):
        pytest.skip("not an x86-64 machine with AVX2")
    if other == "clang" and shutil.which("clang") is None:
        pytest.skip("there is no second compiler here")
    x = floats(99_991)
    y = np.roll(x, 12_345)
    usual = [activation(which, x) for which in EXACT] + [power(np.abs(x), y)]
    with built_with(*flags, compiler="clang" if other == "clang" else None):
        found = [activation(which, x) for which in EXACT] + [power(np.abs(x), y)]
    assert all(np.array_equal(u, f, equal_nan=True) for u, f in zip(usual, found, strict=True))


def test_the_process_still_has_denormals():
    library.library()
    assert float(torch.full((4,), 1e-40).mul(0.5)[0]) > 0
