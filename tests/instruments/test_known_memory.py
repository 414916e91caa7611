"""Instruments on models whose memory, gradient and spectrum are known beforehand."""

import math

import numpy as np
import pytest
import torch

from rnnlab.cells import Cell
from rnnlab.data import Sine
from rnnlab.instruments.probe import Probe, looking
from rnnlab.instruments.spectrum import RecurrentWeights, candidate
from rnnlab.instruments.through_time import ablated, gradient_norms, lag, reach
from rnnlab.tasks import Forecaster

LENGTH = 16


@pytest.fixture(scope="module")
def spec():
    data = Sine(n_points=200)
    data.setup()
    return data.spec


def linear(spec, recurrent, reads):
    """An Elman model that is linear where all is positive: h = relu(W h' + e_0 x), y = reads . h."""
    task = Forecaster(
        spec, cell="elman", nonlinearity="relu", hidden_size=len(recurrent), engine="reference"
    ).double()
    cell = task.stack.layers[0]
    with torch.no_grad():
        for parameter in task.parameters():
            parameter.zero_()
        cell.weight_hh.copy_(torch.tensor(recurrent))
        cell.weight_ih[0] = 1.0
        task.head.weight.copy_(torch.tensor(reads)[None])
    return task


def positive(seed=0):
    x = torch.rand(40, LENGTH, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return x + 0.1


@pytest.mark.parametrize("delay", [0, 4, 5, 14])
def test_a_delay_line_needs_as_many_steps_as_it_delays(spec, delay):
    """A shift register says what came in `delay` steps ago: of the input it needs delay + 1 steps, not one more."""
    shift = np.eye(delay + 1, k=-1)
    task = linear(spec, shift, np.eye(delay + 1)[delay])
    x = positive()
    wanted = x[:, -1 - delay].view(-1, 1, 1) + 0.01  # never met fully: within 1% of nothing would be nothing
    with looking(task):
        seen = Probe(x, wanted)
        kept, losses = ablated(task, seen)
        norms = gradient_norms(task, seen)
    assert reach(kept, losses) == delay + 1
    assert losses[-1] == pytest.approx(1e-4)
    # h_t reaches the end through the register as long as something of it is still in there: always with the same norm
    inside = norms[LENGTH - 1 - delay :]
    np.testing.assert_allclose(inside, inside[0])
    assert not norms[: LENGTH - 1 - delay].any() and lag(norms / norms[-1]) == delay + 1


@pytest.mark.parametrize("rho", [0.2, 0.5, 0.7, 1.0, 1.3])
def test_a_leak_loses_the_gradient_as_fast_as_it_leaks(spec, rho):
    task = linear(spec, np.array([[rho]]), np.array([1.0]))
    with looking(task):
        seen = Probe(positive(), torch.zeros(40, 1, 1, dtype=torch.float64))
        ratio = gradient_norms(task, seen)
    ratio = ratio / ratio[-1]
    np.testing.assert_allclose(ratio, rho ** np.arange(LENGTH)[::-1])
    expected = math.floor(math.log(0.01) / math.log(rho)) + 1 if rho < 1 else LENGTH
    assert lag(ratio) == min(expected, LENGTH)


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_the_gradient_is_that_of_torchs_own_layers(spec, cell):
    """dL/dh_T by a formula: of the squared error it is the head's weights times twice the error over their number."""
    task = Forecaster(spec, cell=cell, hidden_size=5, engine="reference").double()
    own = {"elman": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[cell](
        1, 5, batch_first=True
    ).double()
    own.load_state_dict({f"{name}_l0": p for name, p in task.stack.layers[0].named_parameters()})
    x, y = positive(), torch.rand(40, 1, 1, dtype=torch.float64)
    with torch.no_grad():
        forecast = own(x)[0][:, -1] @ task.head.weight.T + task.head.bias
        last = 2 * (forecast - y[:, 0]) / 40 * task.head.weight
    with looking(task):
        norms = gradient_norms(task, Probe(x, y))
    assert norms[-1] == pytest.approx(float(last.norm()))
    if cell == "lstm":  # its state is two tensors: what goes by c alone is no part of dL/dh_t
        return
    state = own(x[:, :-4])[1].detach().requires_grad_()
    loss = (own(x[:, -4:], state)[0][:, -1] @ task.head.weight.T + task.head.bias - y[:, 0]).square().mean()
    (gradient,) = torch.autograd.grad(loss, state)
    assert norms[-5] == pytest.approx(float(gradient.norm()))


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_eigenvalues_that_are_put_in_come_out(spec, cell):
    """A rotation by 1 radian that shrinks to 0.9, and a real eigenvalue of -0.3, seen from another basis."""
    turn = 0.9 * np.array([[math.cos(1), -math.sin(1), 0], [math.sin(1), math.cos(1), 0], [0, 0, -0.3 / 0.9]])
    basis = np.random.default_rng(0).normal(size=(3, 3))
    task = Forecaster(spec, cell=cell, hidden_size=3, engine="reference").double()
    weight = task.stack.layers[0].weight_hh
    place = {"elman": 0, "gru": 2, "lstm": 2}[cell]  # its place among torch's gates: r z n, i f g o
    with torch.no_grad():
        weight.normal_(0, 9, generator=torch.Generator().manual_seed(0))
        block = basis @ turn @ np.linalg.inv(basis)
        weight[3 * place : 3 * place + 3] = torch.from_numpy(block)
    instrument = RecurrentWeights()
    instrument.step = 0
    found = instrument.look(task, None, None)
    assert found["spectral_radius"] == pytest.approx(0.9)
    assert found["recurrent_norm"] == pytest.approx(np.sqrt(np.linalg.eigvalsh(block.T @ block).max()))
    expected = [0.9 * np.exp(-1j), -0.3, 0.9 * np.exp(1j)]
    np.testing.assert_allclose(sorted(instrument.values, key=lambda v: v.imag), expected)


def test_of_a_gated_cell_of_ones_own_the_first_block_is_taken():
    class Gated(Cell):
        gates, states = 2, 1

        def step(self, u, state):
            (h,) = state
            new, gate = (u + self.recur(h)).chunk(2, dim=-1)
            return (h := torch.sigmoid(gate) * new), (h,)

    cell = Gated(3, 5)
    np.testing.assert_array_equal(candidate(cell), cell.weight_hh[:5].detach().double().numpy())


def test_weights_that_are_no_numbers_have_no_eigenvalues_and_end_no_training(spec):
    """The next loss ends it, with the reason."""
    task = Forecaster(spec, cell="elman", hidden_size=3)
    with torch.no_grad():
        task.stack.layers[0].weight_hh[0] = torch.nan
    assert RecurrentWeights().look(task, None, None) == {}
