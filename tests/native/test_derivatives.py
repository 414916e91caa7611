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
