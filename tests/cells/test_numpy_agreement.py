"""The cells against the recurrences in plain NumPy, which share no code with them."""

import numpy as np
import pytest
import torch

from rnnlab.recurrence import Stack, initialise
from rnnlab.unroll import numpy_cells


def weights(stack):
    cell = stack.layers[0]
    return [p.detach().numpy() for p in (cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh)]


@pytest.fixture
def inputs():
    rng = np.random.default_rng(5)
    return rng.standard_normal((7, 4)), rng.standard_normal(3), rng.standard_normal(3)


def stack_of(name, **options):
    stack = Stack(name, 4, 3, engine="reference", **options).double()
    initialise(stack, [], seed=11)
    return stack


def by_hand(step, x, state, stack):
    """The states after each step, one array (T, H) for each."""
    return [
        np.array(s)
        for s in zip(*(s.state for s in numpy_cells.run(step, x, state, *weights(stack))), strict=True)
    ]


@pytest.mark.parametrize(
    ("nonlinearity", "step"), [("tanh", numpy_cells.elman), ("relu", numpy_cells.elman_relu)]
)
def test_elman_is_its_numpy_loop(inputs, nonlinearity, step):
    x, h, _ = inputs
    stack = stack_of("elman", nonlinearity=nonlinearity)
    y, _ = stack(torch.tensor(x)[None], [(torch.tensor(h)[None],)])
    np.testing.assert_allclose(y[0].detach(), by_hand(step, x, (h,), stack)[0], rtol=0, atol=1e-14)


def test_gru_is_its_numpy_loop(inputs):
    x, h, _ = inputs
    stack = stack_of("gru")
    y, _ = stack(torch.tensor(x)[None], [(torch.tensor(h)[None],)])
    np.testing.assert_allclose(y[0].detach(), by_hand(numpy_cells.gru, x, (h,), stack)[0], rtol=0, atol=1e-14)


def test_lstm_is_its_numpy_loop(inputs):
    x, h, c = inputs
    stack = stack_of("lstm")
    y, [(_, memory)] = stack(torch.tensor(x)[None], [(torch.tensor(h)[None], torch.tensor(c)[None])])
    hidden, cell = by_hand(numpy_cells.lstm, x, (h, c), stack)
    np.testing.assert_allclose(y[0].detach(), hidden, rtol=0, atol=1e-14)
    np.testing.assert_allclose(memory[0].detach(), cell[-1], rtol=0, atol=1e-14)
