"""Parameters, one-hot inputs, and that cells are pure enough to be lifted."""

import pytest
import torch
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from rnnlab.cells import CELLS, GRU, LSTM, Cell, Elman
from rnnlab.errors import UserError
from rnnlab.recurrence import Stack


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
    state = tuple(
        torch.full((2, 6, 3 * width), 0.2 + k, dtype=torch.float64)
        for k, width in enumerate(kind.state_blocks)
    )

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


class Wide(Cell):
    """Two states, of H and of 2H units, and no product with a state; it starts in a way of its own."""

    gates, recurrent_gates, state_blocks = 2, 0, (1, 2)

    def __init__(self, input_size, hidden_size, *, leak: float = 0.5, **common):
        super().__init__(input_size, hidden_size, **common)
        self.leak, self.decay = leak, torch.nn.Parameter(torch.zeros(hidden_size))

    def initialise(self, generator):
        self.decay.copy_(torch.from_numpy(generator.uniform(0.5, 0.9, self.hidden_size)))

    def step(self, u, state):
        h, wide = state
        wide = self.leak * wide + u
        a, b = wide.chunk(2, dim=-1)
        h = self.decay * h + a * b
        return h, (h, wide)


def test_states_of_other_widths_and_parameters_of_a_cells_own():
    assert (Wide.states, Cell.state_blocks, LSTM.state_blocks) == (2, (1,), (1, 1))
    stack = Stack(Wide, 2, 3, 2, initial_state="learned", options={"leak": 0.25}).double()
    first = stack.layers[0]
    assert first.weight_hh is None and first.bias_hh is None and first.initial.shape == (3, 3)
    assert first.leak == 0.25 and (first.decay >= 0.5).all() and (first.decay <= 0.9).all()
    assert not torch.equal(first.decay, stack.layers[1].decay)  # each layer has a draw of its own
    first.initial.data.copy_(torch.arange(9.0).view(3, 3))
    h, wide = first.start(2)
    assert h.tolist() == [[0, 1, 2]] * 2 and wide.tolist() == [[3, 4, 5, 6, 7, 8]] * 2
    x, reset = torch.ones(2, 6, 2, dtype=torch.float64), torch.zeros(2, 6, dtype=torch.bool)
    whole, end = stack(x)
    head, state = stack(x[:, :4])
    tail, last = stack(x[:, 4:], state)
    torch.testing.assert_close(torch.cat([head, tail], 1), whole, rtol=0, atol=1e-14)
    torch.testing.assert_close(last, end, rtol=0, atol=1e-14)
    reset[1, 4] = True
    torch.testing.assert_close(stack(x, reset=reset)[0][1, 4:], whole[1, :2], rtol=0, atol=1e-14)


def test_an_option_that_a_cell_does_not_have():
    with pytest.raises(UserError) as caught:
        Stack(Wide, 2, 3, options={"leek": 0.1})
    assert str(caught.value) == "model.options.leek: Wide has no such option. Did you mean leak?"
    with pytest.raises(UserError) as caught:
        Stack("gru", 2, 3, options={"leek": 0.1})
    assert str(caught.value) == "model.options.leek: GRU has no such option. It has none."
    assert Stack(Wide, 2, 3, options={"leak": None}).layers[0].leak == 0.5  # null is the cell's own
