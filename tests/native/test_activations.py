"""How exact the activations are, over floats of all sizes."""

import math

import numpy as np
import pytest
import torch

from rnnlab.native.bindings import library

EXACT = {"tanh": np.tanh, "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "exp": np.exp}


def activation(which: str, x: np.ndarray) -> np.ndarray:
    y = np.empty_like(x)
    library().c.rnnlab_activation(list(EXACT).index(which), len(x), x.ctypes.data, y.ctypes.data)
    return y


@pytest.mark.parametrize(("which", "top"), [("tanh", 30.0), ("sigmoid", 80.0), ("exp", 80.0)])
def test_within_three_units_in_the_last_place(which, top):
    bits = np.arange(np.float32(1e-7).view(np.uint32), np.float32(top).view(np.uint32), 61, dtype=np.uint32)
    for sign in (0, 0x80000000):
        x = (bits[: len(bits) // 16 * 16] | np.uint32(sign)).view(np.float32)
        truth = EXACT[which](x.astype(np.float64))
        unit = np.spacing(np.abs(truth).astype(np.float32)).astype(np.float64)
        assert np.max(np.abs(activation(which, x) - truth) / unit) < 3


def test_where_the_line_ends():
    x = np.array([math.nan, math.inf, -math.inf, 0.0, 1e-40, -1e-40, 500.0, -500.0] * 2, dtype=np.float32)
    assert np.isnan([activation(which, x)[0] for which in EXACT]).all()
    assert activation("tanh", x)[1:4].tolist() == [1.0, -1.0, 0.0]
    assert activation("sigmoid", x)[[1, 3, 6]].tolist() == [1.0, 0.5, 1.0]
    assert 0 <= activation("sigmoid", x)[2] < 1e-37
    assert np.abs(activation("tanh", np.linspace(-40, 40, 1600, dtype=np.float32))).max() <= 1.0


def test_the_process_still_has_denormals():
    library()
    assert float(torch.full((4,), 1e-40).mul(0.5)[0]) > 0
