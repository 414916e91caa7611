"""Derivatives that the kernels do not have: an error that names the engine which does, never a number."""

import pytest
import torch
from torch.autograd import forward_ad

from rnnlab import Stack, native
from rnnlab.errors import UserError

pytestmark = pytest.mark.skipif(
    native.obstacle() is not None, reason=f"the native engine cannot be had here: {native.obstacle()}"
)


def stack(cell="gru", engine="native", **options):
    return Stack(cell, 3, 5, engine=engine, **options)


def penalised(net, x, wanted):
    """The gradient of a penalty on a gradient."""
    y, _ = net(x)
    (slope,) = torch.autograd.grad(y.square().sum(), wanted, create_graph=True)
    (y.sum() + slope.square().sum()).backward()


def functional(net, x):
    weights = dict(net.named_parameters())
    torch.func.grad(lambda w: torch.func.functional_call(net, w, (x,))[0].sum())(weights)


def forward_mode(net, x):
    with forward_ad.dual_level():
        net(forward_ad.make_dual(x, torch.ones_like(x)))


def total(net):
    return lambda x: net(x)[0].square().sum()


def from_state(net, x):
    net.requires_grad_(False)
    h = [tuple(s.requires_grad_() for s in one) for one in net.start(x.shape[0])]
    y, _ = net(x, h)
    (slope,) = torch.autograd.grad(y.square().sum(), h[0][0], create_graph=True)
    slope.square().sum().backward()


ASKING = {
    "penalty on the input's gradient": lambda net, x: penalised(net, x.requires_grad_(), x),
    "penalty on a weight's gradient": lambda net, x: penalised(net, x, net.layers[0].weight_hh),
    "penalty on a bias's gradient": lambda net, x: penalised(net, x, net.layers[0].bias_hh),
    "state alone": from_state,
    "hessian": lambda net, x: torch.autograd.functional.hessian(total(net), x),
    "hvp": lambda net, x: torch.autograd.functional.hvp(total(net), x, torch.ones_like(x)),
    "gradgradcheck": lambda net, x: torch.autograd.gradgradcheck(total(net), x.requires_grad_()),
    "torch.func.grad": lambda net, x: torch.func.grad(total(net))(x),
    "torch.func.hessian": lambda net, x: torch.func.hessian(total(net))(x),
    "torch.func.vmap": lambda net, x: torch.func.vmap(total(net))(x[None]),
    "torch.func.grad of the weights": functional,
    "torch.func.jvp": lambda net, x: torch.func.jvp(total(net), (x,), (x,)),
    "forward mode": forward_mode,
    "forward mode without gradients": lambda net, x: torch.no_grad()(forward_mode)(net, x),
}


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
@pytest.mark.parametrize("asking", ASKING)
def test_a_derivative_that_the_kernels_lack_is_an_error_that_names_the_reference(cell, asking):
    torch.manual_seed(0)
    x = torch.randn(2, 4, 3)
    with pytest.raises(UserError, match=r"model\.engine=reference") as error:
        ASKING[asking](stack(cell, num_layers=2), x)
    assert "\n" not in str(error.value)


def test_a_graph_of_first_derivatives_has_the_references_numbers():
    """create_graph alone asks for nothing that is not there."""
    x = torch.randn(2, 4, 3, requires_grad=True)
    found = []
    for engine in ("native", "reference"):
        net = stack(engine=engine)
        y, _ = net(x)
        wanted = (x, *net.parameters())
        found.append(torch.autograd.grad(y.square().sum(), wanted, create_graph=True))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_an_expanded_input_has_the_references_gradient():
    x = torch.randn(1, 4, 3, requires_grad=True)
    found = []
    for engine in ("native", "reference"):
        y, _ = stack(engine=engine)(x.expand(5, 4, 3))
        found.append(torch.autograd.grad(y.square().sum(), x)[0])
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_more_rows_than_a_call_takes_are_several_calls(monkeypatch, cell):
    torch.manual_seed(0)
    x, found = torch.randn(20, 4, 3), []
    for engine in ("native", "reference"):
        net = stack(cell, engine, num_layers=2)
        reset = torch.arange(80).reshape(20, 4) % 5 == 0
        monkeypatch.setattr("rnnlab.native.engine.MAX_ROWS", 7)
        y, state = net(x, net.start(20), reset=reset)
        (y.square().sum() + state[0][0].sum()).backward()
        found.append([y, *state[0], *state[1], *(p.grad for p in net.parameters())])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_under_autocast_another_engine_runs_the_stack():
    x = torch.randn(2, 4, 3)
    net = stack(engine="auto")
    expected, _ = net(x)
    assert net.choice.engine == "native"
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, _ = net(x)
        assert net.choice.engine != "native"
        y.float().sum().backward()
    torch.testing.assert_close(y.float(), expected, rtol=3e-2, atol=3e-2)
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(UserError, match="native"):
        stack()(x)


def test_a_stack_that_became_double_is_run_in_double():
    net, x = stack(engine="auto"), torch.randn(2, 4, 3)
    net.precision = "32-true"  # as a task is told
    expected, _ = net(x)
    y, _ = net.double()(x.double())
    assert y.dtype == torch.float64
    torch.testing.assert_close(y.float(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("engine", ["native", "auto"])
def test_a_parametrized_cell_runs_on_its_values(engine):
    class Half(torch.nn.Module):
        def forward(self, weight):
            return weight / 2

    x, found = torch.randn(2, 4, 3), []
    for name in (engine, "reference"):
        net = stack(engine=name)
        torch.nn.utils.parametrize.register_parametrization(net.layers[0], "weight_hh", Half())
        y, _ = net(x)
        y.square().sum().backward()
        found.append([y, *(p.grad for p in net.parameters())])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
