"""Each cell against its paper's recurrence in NumPy, against torchrecurrent, and by finite differences."""

import warnings

import numpy as np
import papers
import pytest
import torch
from papers import sigmoid
from torch.nn.utils import parametrize

from rnnlab.cells import CATALOGUE
from rnnlab.cells.minimal import share
from rnnlab.errors import UserError
from rnnlab.recurrence import Carry, Stack

# tested in test_against_torch.py
torch_layers = [name for name, cell in CATALOGUE.items() if cell.torch_layer]
OPTIONS = [
    *((name, {}) for name in CATALOGUE if name not in torch_layers),
    *(("peepholelstm", {"variant": v}) for v in ("nig", "nfg", "nog", "niaf", "noaf", "np", "cifg", "fgr")),
    ("janet", {"beta": 0.25}),
    ("rhn", {"depth": 1}),
    ("rhn", {"depth": 4}),
    ("antisymmetricrnn", {"epsilon": 0.7, "gamma": 0.2}),
    ("gatedantisymmetricrnn", {"epsilon": 0.7, "gamma": 0.2}),
    ("mingru", {"candidate": "positive"}),
    ("minlstm", {"candidate": "positive"}),
    ("lru", {"eigenvalues": "real"}),
    ("s4d", {"pairs": 2, "discretisation": "bilinear"}),
    ("s5", {"discretisation": "bilinear"}),
    ("cornn", {"dt": 0.3, "gamma": 1.5, "epsilon": 0.5}),
    ("lem", {"dt": 0.5}),
    ("cfc", {"dt": 0.5}),
    ("slstm", {"forget": "exp"}),
]
IDS = [" ".join([name, *map(str, options.values())]) for name, options in OPTIONS]
both = pytest.mark.parametrize(("name", "options"), OPTIONS, ids=IDS)


def drawn(name, inputs=3, hidden=4, layers=1, bias="both", **options):
    """A stack whose every parameter is drawn anew, so that none is 0 or 1 by its start."""
    stack = Stack(name, inputs, hidden, layers, bias=bias, engine="reference", options=options).double()
    generator = torch.Generator().manual_seed(3)
    for parameter in stack.parameters():
        parameter.data.copy_(torch.empty_like(parameter).uniform_(-0.9, 0.9, generator=generator))
    return stack


def sample(stack, rows=1, steps=7, seed=5):
    """Inputs, and a state that is none's start; a normaliser lies above 0."""
    rng, cell = np.random.default_rng(seed), stack.layers[0]
    x = rng.standard_normal((rows, steps, stack.input_size))
    state = [rng.standard_normal((rows, k * stack.hidden_size)) for k in cell.state_blocks]
    if "n" in cell.named_states:
        state[2] = np.abs(state[2]) + 0.5
    return torch.from_numpy(x), tuple(map(torch.from_numpy, state))


@both
@pytest.mark.parametrize("bias", ["both", "one", "none"])
def test_a_cell_is_its_papers_recurrence(name, options, bias):
    stack = drawn(name, bias=bias, **options)
    x, state = sample(stack)
    p = {n: parameter.detach().numpy() for n, parameter in stack.layers[0].named_parameters()}
    assert hasattr(papers, name), f"write {name} in tests/cells/papers.py, in NumPy and from its paper"
    expected, last = getattr(papers, name)(p, x[0].numpy(), [s[0].numpy() for s in state], **options)
    with torch.no_grad():
        y, [end] = stack(x, [state])
    np.testing.assert_allclose(y[0], expected, rtol=0, atol=1e-12)
    if name == "slstm":  # it holds c and n divided by exp(m)
        m = np.exp(end[3][0].numpy())
        end, last = (end[0], *(torch.from_numpy(m * s[0].numpy())[None] for s in end[1:3])), last[:3]
    assert len(end) == len(last)
    for ours, theirs in zip(end, last, strict=True):
        np.testing.assert_allclose(ours[0], theirs, rtol=1e-12, atol=1e-12)


@both
def test_gradients_are_the_finite_differences(name, options):
    stack = drawn(name, inputs=2, hidden=2, **options)
    cell = stack.layers[0]
    x, state = sample(stack, rows=2, steps=3)
    names = [n for n, _ in cell.named_parameters()]

    def run(x, *tensors):
        weights, begin = dict(zip(names, tensors, strict=False)), tensors[len(names) :]
        with parametrize.cached():
            y = torch.func.functional_call(
                stack, {f"layers.0.{n}": w for n, w in weights.items()}, (x, [begin])
            )
        return y[0], *y[1][0]

    tensors = [p.detach() for _, p in cell.named_parameters()]
    assert torch.autograd.gradcheck(run, [t.clone().requires_grad_() for t in (x, *tensors, *state)])


@both
def test_a_carried_state_goes_on_where_it_was(name, options):
    """Two layers, cut after every step and saved in between, against the sequence in one piece."""
    stack = Stack(name, 3, 4, 2, engine="reference", options=options).double()
    x, _ = sample(stack, rows=2, steps=9)
    whole, end = stack(x)
    carry, outputs = Carry(), []
    for k, piece in enumerate(x.split(2, dim=1)):
        y, state = stack(piece, carry.take(first=k == 0))
        carry.keep(state)
        carry = carry.copy()
        outputs.append(y)
    torch.testing.assert_close(torch.cat(outputs, 1), whole, rtol=0, atol=1e-14)
    torch.testing.assert_close(
        carry.state, [tuple(s.detach() for s in one) for one in end], rtol=0, atol=1e-13
    )


@both
def test_the_gates_that_are_shown_are_those_of_the_step(name, options):
    stack = drawn(name, **options)
    cell = stack.layers[0]
    x, state = sample(stack)
    found = cell.activations(cell.project(x[:, 0]), state)
    assert list(found) == [gate.name for gate in cell.named_gates]
    ranges = {"sigmoid": (0, 1), "tanh": (-1, 1), "relu": (0, np.inf), "exp": (0, np.inf)}
    for gate in cell.named_gates:
        low, high = ranges.get(gate.squeeze, (-np.inf, np.inf))
        assert found[gate.name].shape == (1, 4)
        assert (found[gate.name] >= low).all() and (found[gate.name] <= high).all()


# ------------------------------------------------------------------ against another library

# not LEM, whose h sees the old z there; the paper has the new one
COPIES = {  # torchrecurrent's class and its arguments
    "mgu": ("MGUCell", {}),
    "ugrnn": ("UGRNNCell", {}),
    "janet": ("JANETCell", {}),
    "peepholelstm": ("PeepholeLSTMCell", {}),
    "multiplicativelstm": ("MultiplicativeLSTMCell", {}),
    "cornn": ("coRNNCell", {"dt": 0.042, "gamma": 2.7, "epsilon": 4.7}),
    "indrnn": ("IndRNNCell", {"nonlinearity": "relu"}),
    "fastgrnn": ("FastGRNNCell", {"nonlinearity": "sigmoid"}),
    "antisymmetricrnn": ("AntisymmetricRNNCell", {"epsilon": 0.1, "gamma": 0.1}),
}


def theirs(name, cell):
    """torchrecurrent's cell with a copy of the weights, its second biases 0 where we have none."""
    torchrecurrent = pytest.importorskip(
        "torchrecurrent", reason="pip install rnnlab[dev]: nothing to compare with"
    )
    kind, arguments = COPIES[name]
    other = getattr(torchrecurrent, kind)(cell.input_size, cell.hidden_size, **arguments).double()
    p, H = {n: w.detach() for n, w in cell.named_parameters()}, cell.hidden_size
    for parameter in other.parameters():
        parameter.data.zero_()
    weights = {"weight_ih": p["weight_ih"], "bias_ih": p["bias_ih"]}
    weights["weight_hh"] = p.get("parametrizations.weight_hh.original", p.get("weight_hh"))
    weights["bias_hh"] = p.get("bias_hh")
    if name == "mgu":
        weights["weight_hh"] = torch.cat([p["weight_hh"], p["weight_hn"]])
        weights["bias_hh"] = torch.cat([p["bias_hh"], torch.zeros(H)])
    elif name == "peepholelstm":
        weights["weight_ph"] = torch.cat([p[f"peephole_{s}"] for s in "ifo"])
    elif name == "janet":
        weights["beta"] = torch.tensor(1.0)
    elif name == "multiplicativelstm":  # m stands first there
        for n in ("weight_ih", "bias_ih"):
            weights[n] = torch.cat([p[n][4 * H :], p[n][: 4 * H]])
        weights["weight_mh"] = p["weight_hm"]
    elif name == "cornn":
        weights["weight_ch"] = p["weight_hz"]
    elif name == "indrnn":
        weights |= {"vector_u": p["recurrent"]}
    elif name == "fastgrnn":
        weights["bias_ih"] = torch.cat([p["bias_ih"] + p["bias_z"], p["bias_ih"]])
        weights["bias_hh"] = torch.cat([p["bias_hh"], p["bias_hh"]])
        weights |= {"zeta": p["zeta"], "nu": p["nu"]}
    for n, weight in weights.items():
        if weight is not None:
            getattr(other, n).data.copy_(weight.reshape(getattr(other, n).shape))
    return other


@pytest.mark.parametrize("name", COPIES)
def test_a_cell_is_torchrecurrents(name):
    stack = drawn(name)
    other = theirs(name, stack.layers[0])
    x, state = sample(stack, rows=3)
    y, _ = stack(x, [state])
    expected, now = [], state if len(state) > 1 else (state[0], state[0]) if name == "janet" else state[0]
    for x_t in x.unbind(1):
        now = other(x_t, now)
        expected.append(now[0] if isinstance(now, tuple) else now)
    torch.testing.assert_close(y, torch.stack(expected, 1), rtol=0, atol=1e-13)


def test_torchrecurrent_is_here_to_be_compared_with():
    if not __import__("importlib.util").util.find_spec("torchrecurrent"):
        warnings.warn(
            "torchrecurrent is not installed: nine cells are compared with NumPy loops alone", stacklevel=1
        )


# ------------------------------------------------------------------ known traps


def test_slstm_stays_finite_where_its_exponentials_do_not():
    """Input gates of exp(±400) and a forget gate that never forgets, in float32, carried over from step to step."""
    stack = Stack("slstm", 1, 2, engine="reference", bias="none")
    with torch.no_grad():
        for parameter in stack.parameters():
            parameter.zero_()
        stack.layers[0].weight_ih[:2] = 400.0
        stack.layers[0].weight_ih[2:6] = 1.0
    x = torch.tensor([[[-1.0], [1.0], [0.5], [-1.0], [0.9], [1.0]]])
    carry, outputs = Carry(), []
    for k, piece in enumerate(x.split(1, dim=1)):
        y, state = stack(piece, carry.take(first=k == 0))
        carry.keep(state)
        outputs.append(y)
    y = torch.cat(outputs, 1)
    y.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in stack.parameters())
    exact = []  # in exact arithmetic, by the logarithms of weights that sum to 1
    logs, values = np.array([]), np.array([])
    for v in x[0, :, 0].double().numpy():
        logs = np.append(logs + np.log(sigmoid(v)), 400 * v)
        values = np.append(values, np.tanh(v))
        w = np.exp(logs - logs.max())
        exact.append(0.5 * (w * values).sum() / w.sum())
    np.testing.assert_allclose(y[0, :, 0].detach(), exact, rtol=1e-5)


def test_slstms_stabiliser_does_not_change_what_is_shown():
    """h depends on c / n alone: m may be moved, if c and n move with it."""
    stack = drawn("slstm")
    x, (h, c, n, m) = sample(stack, rows=2)
    y, _ = stack(x, [(h, c, n, m)])
    moved, _ = stack(x, [(h, c * np.exp(-3), n * np.exp(-3), m + 3)])
    torch.testing.assert_close(moved, y, rtol=0, atol=1e-13)


def test_minlstm_with_both_gates_shut():
    """f / (f + i) of two gates that are 0 in float32: their ratio is exp(5) all the same."""
    stack = Stack("minlstm", 1, 1, engine="reference")
    with torch.no_grad():
        for parameter in stack.parameters():
            parameter.zero_()
        stack.layers[0].bias_ih.copy_(torch.tensor([-200.0, -205.0, 1.0]))
    y, _ = stack(torch.zeros(1, 3, 1), [(torch.full((1, 1), -2.0),)])
    kept, h, expected = sigmoid(5.0), -2.0, []
    for _ in range(3):
        h = kept * h + (1 - kept)
        expected.append(h)
    np.testing.assert_allclose(y[0, :, 0].detach(), expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("sums", [(-12.0, -12.0), (-40.0, -44.0), (3.0, -20.0)])
def test_minlstms_ratio_of_gates_in_half_precision(dtype, sums):
    exact = [torch.tensor([v], dtype=torch.float64, requires_grad=True) for v in sums]
    half = [torch.tensor([v], dtype=dtype, requires_grad=True) for v in sums]
    results = [share(*gates) for gates in (exact, half)]
    for result in results:
        result.sum().backward()
    close = {"rtol": 0.01, "atol": 1e-4, "check_dtype": False}
    torch.testing.assert_close(results[1], results[0], **close)
    for one, other in zip(half, exact, strict=True):
        torch.testing.assert_close(one.grad, other.grad, **close)


@pytest.mark.parametrize("name", ["s4d", "s5"])
def test_a_finer_discretisation_ends_where_a_coarse_one_does(name):
    """With an input that is held, zero-order hold is exact: half the step, twice as often, gives the same."""
    coarse, fine = drawn(name), drawn(name)
    with torch.no_grad():
        fine.layers[0].log_dt -= np.log(2.0)
    x, state = sample(coarse, rows=2, steps=5)
    y, [end] = coarse(x, [state])
    twice, [at_end] = fine(x.repeat_interleave(2, dim=1), [state])
    torch.testing.assert_close(twice[:, 1::2], y, rtol=0, atol=1e-12)
    torch.testing.assert_close(at_end, end, rtol=0, atol=1e-12)


def test_rglru_has_a_gradient_where_nothing_is_forgotten():
    stack = Stack("rglru", 1, 2, engine="reference")
    with torch.no_grad():
        stack.layers[0].bias_ih[:2] = -200.0  # r is 0, and a is 1
    y, _ = stack(torch.ones(1, 3, 1))
    y.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in stack.parameters())


# ------------------------------------------------------------------ how they start


@pytest.mark.parametrize("scheme", ["uniform", "orthogonal"])
def test_an_orthogonal_network_is_and_stays_orthogonal(scheme):
    from rnnlab.recurrence import initialise

    stack = Stack("exprnn", 3, 7).double()
    initialise(stack, [], scheme=scheme, seed=1)
    optimizer = torch.optim.SGD(stack.parameters(), lr=0.01)
    for _ in range(3):
        w = stack.layers[0].weight_hh
        torch.testing.assert_close(w @ w.T, torch.eye(7, dtype=torch.float64), rtol=0, atol=1e-10)
        angles = torch.linalg.eigvals(w).angle().abs().sort().values
        assert angles[0] < 1e-7 < angles[1:].min()  # one real eigenvalue of seven, three rotations
        optimizer.zero_grad()
        y, _ = stack(torch.ones(2, 5, 3, dtype=torch.float64))
        (y**2).sum().backward()
        optimizer.step()


@pytest.mark.parametrize(
    ("option", "value"),
    [("r_min", 0.95), ("r_min", -0.1), ("r_max", 1.5), ("max_phase", 0.0), ("max_phase", -1.0)],
)
def test_a_ring_that_is_none_is_refused(option, value):
    with pytest.raises(UserError, match=f"model.options.{option}={value}"):
        Stack("lru", 3, 4, options={"r_max": 0.9, option: value})


def test_starts_of_their_own():
    def first(name, hidden=200, **options):
        return Stack(name, 3, hidden, options=options).layers[0]

    assert torch.equal(first("irnn", scale=0.5).weight_hh, 0.5 * torch.eye(200))
    assert 0 < first("irnn").weight_ih.std() < 0.0015 and not first("irnn").bias_hh.any()
    lru = first("lru", r_min=0.5, r_max=0.9, max_phase=0.3)
    modulus, phase = torch.exp(-torch.exp(lru.log_nu)), torch.exp(lru.log_theta)
    assert modulus.min() >= 0.4999 and modulus.max() <= 0.9001 and phase.max() <= 0.3001
    torch.testing.assert_close(torch.exp(lru.log_gamma), torch.sqrt(1 - modulus**2), rtol=1e-4, atol=0)
    # uniform on the ring: the modulus's square is
    assert ((modulus**2).mean() - (0.25 + 0.81) / 2).abs() < 0.04
    decay = torch.sigmoid(first("rglru").decay) ** 8
    assert decay.min() > 0.8999 and decay.max() < 0.9991
    s4d = first("s4d", pairs=3)
    poles = (-torch.exp(s4d.log_damping) + 1j * s4d.frequency).view(3, 200)
    for n in range(3):
        torch.testing.assert_close(poles[n], torch.full((200,), -0.5 + 1j * np.pi * n), rtol=1e-5, atol=1e-5)
    assert torch.exp(s4d.log_dt).min() >= 0.00099 and torch.exp(s4d.log_dt).max() <= 0.101
    rhn = first("rhn", depth=3)
    for bias in (rhn.bias_ih, rhn.bias_h2, rhn.bias_h3):
        assert (bias[200:] == -2).all() and (bias[:200] != -2).all()
    assert first("indrnn").recurrent.min() > 0 and first("indrnn").recurrent.max() < 1


def test_s5_starts_from_the_eigenvalues_of_hippos_normal_part():
    n = np.arange(12)
    p = np.sqrt(2 * n + 1)
    hippo = -np.tril(np.outer(p, p), -1) - np.diag(n + 1.0)
    normal = hippo + 0.5 * np.outer(p, p)
    poles = np.linalg.eigvals(normal)
    expected = np.sort(poles.imag[poles.imag > 0])
    np.testing.assert_allclose(poles.real, -0.5, atol=1e-9)
    np.testing.assert_allclose(Stack("s5", 3, 6).layers[0].frequency.detach(), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "peepholelstm",
            {"variant": "cfig"},
            "model.options.variant=cfig: must be one of vanilla, .* mean cifg",
        ),
        ("rhn", {"depth": 0}, "model.options.depth=0: must be a whole number of at least 1"),
        ("s4d", {"pairs": 0}, "model.options.pairs=0: must be"),
        (
            "lru",
            {"r_min": 0.9, "r_max": 0.5},
            "model.options.r_min=0.9, model.options.r_max=0.5: both lie between 0 and 1",
        ),
        ("lru", {"max_phase": -1.0}, "model.options.max_phase=-1.0: must be above 0"),
        ("s4d", {"discretisation": "zo"}, "Did you mean zoh"),
        ("lru", {"eigenvalues": "reel"}, "Did you mean real"),
        ("minlstm", {"candidate": "linaer"}, "Did you mean linear"),
    ],
)
def test_a_wrong_option_says_what_is_possible(name, options, message):
    with pytest.raises(UserError, match=message):
        Stack(name, 2, 3, options=options)


def test_a_gate_that_a_variant_leaves_out_has_no_bias_to_set():
    from rnnlab.recurrence import initialise

    with pytest.raises(UserError, match="PeepholeLSTM has no forget gate"):
        initialise(Stack("peepholelstm", 2, 3, options={"variant": "cifg"}), [], forget_bias=1.0, seed=0)
    stack = Stack("multiplicativelstm", 2, 3)  # whose W_hh has no block for it
    initialise(stack, [], forget_bias=1.0, seed=0)
    assert (stack.layers[0].bias_ih[3:6] == 1).all()


def test_a_phase_of_real_eigenvalues_is_refused_in_a_new_run_alone():
    """Older runs have it, without an effect, and are still loaded."""
    from rnnlab.config import check, compose

    Stack("lru", 3, 4, options={"eigenvalues": "real", "max_phase": 0.5})
    asked = ["data=sine", "model=forecaster", "model.cell=lru", "name=x", "+model.options.max_phase=0.5"]
    with pytest.raises(UserError) as caught:
        check(compose([*asked, "+model.options.eigenvalues=real"]))
    assert caught.value.args == ("model.options.max_phase=0.5: real eigenvalues have no phase",)
    check(compose(asked))
    for neutral in ("6.283185307179586", "null"):
        check(
            compose([*asked[:-1], "+model.options.eigenvalues=real", f"+model.options.max_phase={neutral}"])
        )
