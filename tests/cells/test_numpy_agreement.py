"""The cells against the recurrences in plain NumPy, which share no code with them."""

import numpy as np
import pytest
import torch

from rnnlab.recurrence import Stack, initialise
from rnnlab.unroll import numpy_loop


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


@pytest.mark.parametrize(("nonlinearity", "f"), [("tanh", np.tanh), ("relu", lambda a: np.maximum(a, 0))])
def test_elman_is_its_numpy_loop(inputs, nonlinearity, f):
    x, h, _ = inputs
    stack = stack_of("elman", nonlinearity=nonlinearity)
    y, _ = stack(torch.tensor(x)[None], [(torch.tensor(h)[None],)])
    expected = [step.h for step in numpy_loop.elman(x, h, *weights(stack), f)]
    np.testing.assert_allclose(y[0].detach(), expected, rtol=0, atol=1e-14)


def test_gru_is_its_numpy_loop(inputs):
    x, h, _ = inputs
    stack = stack_of("gru")
    y, _ = stack(torch.tensor(x)[None], [(torch.tensor(h)[None],)])
    np.testing.assert_allclose(y[0].detach(), numpy_loop.gru(x, h, *weights(stack)), rtol=0, atol=1e-14)


def test_lstm_is_its_numpy_loop(inputs):
    x, h, c = inputs
    stack = stack_of("lstm")
    y, [(_, memory)] = stack(torch.tensor(x)[None], [(torch.tensor(h)[None], torch.tensor(c)[None])])
    hidden, cell = numpy_loop.lstm(x, h, c, *weights(stack))
    np.testing.assert_allclose(y[0].detach(), hidden, rtol=0, atol=1e-14)
    np.testing.assert_allclose(memory[0].detach(), cell[-1], rtol=0, atol=1e-14)
