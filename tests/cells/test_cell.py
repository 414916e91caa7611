"""Parameters, one-hot inputs, and that cells are pure enough to be lifted."""

import pytest
import torch
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from rnnlab.cells import CELLS, GRU, LSTM, Elman
from rnnlab.errors import UserError


def drawn(kind, *sizes, **options):
    cell = kind(*sizes, **options).double()
    generator = torch.Generator().manual_seed(1)
    for parameter in cell.parameters():
        parameter.data.uniform_(-0.7, 0.7, generator=generator)
    return cell


@pytest.mark.parametrize(
    ("kind", "bias", "initial", "count"),
    [
        (Elman, "one", "zero", 2080),  # Keras' SimpleRNN(32) on 32 inputs
        (Elman, "both", "zero", 2112),  # torch's nn.RNN(32, 32)
        (Elman, "none", "zero", 2048),
        (GRU, "both", "zero", 6336),
        (LSTM, "one", "zero", 8320),  # Keras' LSTM(32) on 32 inputs
        (LSTM, "both", "learned", 8448 + 64),
    ],
)
def test_parameter_counts(kind, bias, initial, count):
    cell = kind(32, 32, bias=bias, initial_state=initial)
    assert sum(p.numel() for p in cell.parameters()) == count


@pytest.mark.parametrize("kind", CELLS.values())
@pytest.mark.parametrize("bias", ["both", "none"])
def test_indices_project_as_explicit_one_hots(kind, bias):
    cell = drawn(kind, 5, 3, bias=bias)
    indices = torch.tensor([[0, 4, 4], [2, 0, 1]])
    upstream = torch.linspace(-1, 1, 6 * 3 * kind.gates, dtype=torch.float64).view(2, 3, -1)

    def value_and_gradients(x):
        cell.zero_grad()
        u = cell.project(x)
        (u * upstream).sum().backward()
        return [u.detach(), *(p.grad.clone() for p in cell.parameters() if p.grad is not None)]

    by_index = value_and_gradients(indices)
    by_product = value_and_gradients(functional.one_hot(indices, 5).double())
    assert len(by_index) == len(by_product)
    for a, b in zip(by_index, by_product, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-14)


@pytest.mark.parametrize("kind", CELLS.values())
def test_vmap_lifts_a_step_and_its_gradient_over_many_models(kind):
    cells = [drawn(kind, 4, 3), kind(4, 3).double()]
    for p in cells[1].parameters():
        p.data.fill_(0.1)
    packed = {
        name: torch.stack([c.get_parameter(name).data for c in cells])
        for name, _ in cells[0].named_parameters()
    }
    x = torch.linspace(-2, 2, 2 * 6 * 4, dtype=torch.float64).view(2, 6, 4)
    state = tuple(torch.full((2, 6, 3), 0.2 + k, dtype=torch.float64) for k in range(kind.states))

    def loss(parameters, x, state):
        y, after = functional_call(cells[0], parameters, (x, state))
        return (y**2).sum() + after[-1].sum()

    lifted = vmap(grad(loss))(packed, x, state)
    for k, cell in enumerate(cells):
        y, after = cell(x[k], tuple(s[k] for s in state))
        ((y**2).sum() + after[-1].sum()).backward()
        for name, parameter in cell.named_parameters():
            torch.testing.assert_close(lifted[name][k], parameter.grad, rtol=0, atol=1e-13)


def test_a_learned_initial_state_is_shared_by_all_rows():
    cell = drawn(LSTM, 2, 3, initial_state="learned")
    h, c = cell.start(4)
    (h.sum() + 2 * c.sum()).backward()
    assert torch.equal(h, cell.initial[0].expand(4, 3)) and torch.equal(c, cell.initial[1].expand(4, 3))
    assert cell.initial.grad.tolist() == [[4.0] * 3, [8.0] * 3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bias": "bot"}, "model.bias=bot: not one of both, one, none. Did you mean both?"),
        (
            {"initial_state": "learnt"},
            "model.initial_state=learnt: not one of zero, learned. Did you mean learned?",
        ),
        ({"nonlinearity": "sin"}, "model.nonlinearity=sin: not one of tanh, relu."),
    ],
)
def test_a_wrong_option_says_what_is_possible(options, message):
    with pytest.raises(UserError) as caught:
        Elman(2, 3, **options)
    assert str(caught.value) == message
