"""Cells that nobody wrote kernels for: compiled from their own step, held to float64 autograd and to the same bits."""

import copy
import math
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from own_cells import OWN, UGRNN, LayerNormGRU
from programs import Case, built_with, relative_error, torchs_gradients
from torch import nn, tanh
from torch.nn import functional

from rnnlab import native
from rnnlab.cells import Cell
from rnnlab.errors import UserError
from rnnlab.native import bindings as library
from rnnlab.native import build, check
from rnnlab.native.kernels import kernels_of, source
from rnnlab.recurrence import Stack

CLOSE = 3e-6  # a relative error that float32 explains


def outcome(engine: str, dtype: torch.dtype, kind: type[Cell], **case) -> list[torch.Tensor]:
    """Outputs, final states and all gradients of one random loss."""
    batch, steps, hidden = case.get("batch", 5), case.get("steps", 9), case.get("hidden", 19)
    bidirectional = case.get("bidirectional", False)
    stack = Stack(
        kind, 3, hidden, case.get("layers", 1), engine=engine, bidirectional=bidirectional,
        bias=case.get("bias", "both"), initial_state=case.get("initial", "zero"),
    )  # fmt: skip
    draw = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw)

    with torch.no_grad():
        for parameter in stack.parameters():
            parameter += normal(*parameter.shape) / (2 * hidden**0.5)
    stack = stack.to(dtype)
    x = normal(batch, steps, 3).to(dtype).requires_grad_()
    wanted = [x, *stack.parameters()]
    state = None
    if case.get("given"):
        own = len(kind.state_blocks)  # the count of steps, behind them, is the same for all units
        state = [
            (*((0.5 * normal(*s.shape)).to(dtype).requires_grad_() for s in one[:own]), *one[own:])
            for one in stack.start(batch)
        ]
        wanted += [s for one in state for s in one[:own]]
    reset = torch.rand(batch, steps, generator=draw) < 0.2 if case.get("reset") else None
    ends = torch.randint(1, steps + 1, (batch,), generator=draw) if case.get("lengths") else None
    y, last = stack(x, state, reset=reset, lengths=ends)
    finals = [tensor for one in last for tensor in one]
    loss = sum((tensor * normal(*tensor.shape).to(dtype)).sum() for tensor in [y, *finals])
    gradients = torch.autograd.grad(loss, wanted, allow_unused=True)
    zeros = [torch.zeros_like(w) if g is None else g for g, w in zip(gradients, wanted, strict=True)]
    return [t.detach() for t in (y, *finals, *zeros)]


CASES = {
    "plain": {},
    "layers": {"layers": 3, "batch": 33, "hidden": 16},
    "resets": {"reset": True, "given": True, "initial": "learned", "steps": 40},
    "lengths": {"lengths": True, "bidirectional": True, "hidden": 33},
    "one": {"batch": 1, "steps": 1, "hidden": 1, "bias": "none", "given": True},
    "many": {"batch": 70, "steps": 12, "bias": "one", "hidden": 8},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", OWN, ids=lambda k: k.__name__)
def test_values_and_gradients(kind, case):
    truth = outcome("reference", torch.float64, kind, **CASES[case])
    found = outcome("native", torch.float32, kind, **CASES[case])
    # where a normalisation makes little numbers large, float32's own reference is the measure
    usual = relative_error(outcome("reference", torch.float32, kind, **CASES[case]), truth)
    assert relative_error(found, truth) <= 3 * usual + CLOSE


@pytest.mark.parametrize("task", ["series", "text", "labelled"])
@pytest.mark.parametrize("kind", OWN, ids=lambda k: k.__name__)
def test_whole_steps(kind, task):
    options = {"cell": f"own_cells.{kind.__name__}", "hidden_size": 18, "num_layers": 2}
    if task == "labelled":
        options["bidirectional"] = True
    case = Case(task, 37, 8, **options)
    name = case.names(1)[0]
    _, truth = torchs_gradients(case, name, torch.float64, "reference")
    program = case.program()
    program.gradients(name)
    found = [p.grad.double() for p in program.task.parameters()]
    _, usual = torchs_gradients(case, name, torch.float32, "reference")
    assert relative_error(found, truth) <= 3 * relative_error(usual, truth) + CLOSE


def trained(kind: type[Cell], per_call: int = 6, threads: int = 1) -> list[torch.Tensor]:
    case = Case("text", 40, 6, cell=f"own_cells.{kind.__name__}", hidden_size=21, num_layers=2, dropout=0.2)
    program = case.program(clip_val=1.0, threads=threads)
    losses = []
    for at in range(0, 6, per_call):
        names = case.names(6)[at : at + per_call]
        losses.append(program.run(names, [0.01] * len(names), at).losses)
    return [program.flat.parameters, program.carry, torch.cat(losses)]


@pytest.mark.parametrize("kind", OWN, ids=lambda k: k.__name__)
def test_the_same_bits_for_any_threads_and_steps_a_call(kind):
    usual = trained(kind)
    assert not usual[-1].isnan().any()
    for other in (trained(kind, threads=3), trained(kind, per_call=1), trained(kind, per_call=4)):
        assert all(torch.equal(a, b) for a, b in zip(usual, other, strict=True))


def test_the_same_bits_for_other_builds():
    usual = {kind: trained(kind) for kind in OWN}
    builds = [(("-O1",), None)]
    if library.status()["isa"] in ("AVX2", "AVX-512"):
        builds.append((("-march=x86-64-v3",), None))
    if (clang := shutil.which("clang")) and "clang" not in library.status()["compiler"]:
        builds.append(((), clang))
    for flags, compiler in builds:
        with built_with(*flags, compiler=compiler):
            for kind in OWN:
                assert all(torch.equal(a, b) for a, b in zip(usual[kind], trained(kind), strict=True)), kind


def test_a_parameter_that_the_step_does_not_use_stays_as_it_is():
    class Aside(UGRNN):
        def __init__(self, input_size, hidden_size, **common):
            super().__init__(input_size, hidden_size, **common)
            self.unused = nn.Parameter(torch.ones(hidden_size))

        def step(self, u, state):
            return super().step(u, state)

    case = Case("series", 8, 5, cell="own_cells.UGRNN", hidden_size=6)
    case.options["cell"] = Aside
    program = case.program(lambda p: torch.optim.AdamW(p, weight_decay=0.5))
    unused = program.task.stack.layers[0].unused
    before = unused.detach().clone()
    program.run(case.names(3), [0.1] * 3)
    assert torch.equal(unused, before)


# ------------------------------------------------------------------ what cannot be compiled


class Decides(Cell):
    gates = 1

    def step(self, u, state):
        (h,) = state
        if (h.sum(-1, keepdim=True) > 0) and True:
            h = tanh(u)
        return h, (h,)


class Items(Cell):
    gates = 1

    def step(self, u, state):
        (h,) = state
        h = tanh(u * h.mean(-1, keepdim=True).item())
        return h, (h,)


class Keeps(Cell):
    gates = 1

    def step(self, u, state):
        (h,) = state
        self.last = h = tanh(u + self.recur(h))
        return h, (h,)


class Remembers(Cell):
    gates = 1

    def __init__(self, *sizes, **common):
        super().__init__(*sizes, **common)
        self.seen = []

    def step(self, u, state):
        (h,) = state
        self.seen.append(h)
        h = tanh(u + self.recur(h) + self.seen[0])
        return h, (h,)


class Looks(Cell):
    """Keeps what it has seen under a private name, and adds to a list that it never reads."""

    gates = 1
    listed = False

    def __init__(self, *sizes, **common):
        super().__init__(*sizes, **common)
        self._opened, self.log = None, []

    def step(self, u, state):
        (h,) = state
        h = tanh(u + self.recur(h))
        if self.listed:
            self.log.append(h)
        else:
            self._opened = h
        return h, (h,)


class Lists(Looks):
    listed = True


class Bound(torch.autograd.Function):
    """Keeps gradients small (Graves 2013), which no random case of ordinary numbers shows."""

    @staticmethod
    def forward(ctx, x):
        return 1.0 * x

    @staticmethod
    def backward(ctx, gradient):
        return gradient.clamp(-10, 10)


class Clips(Cell):
    gates = 1

    def step(self, u, state):
        (h,) = state
        h = tanh(Bound.apply(u + self.recur(h)))
        return h, (h,)


class Floors(Cell):
    gates = 1

    def step(self, u, state):
        (h,) = state
        h = tanh(torch.div(u + self.recur(h), 0.5, rounding_mode="floor"))
        return h, (h,)


class Sizes(Cell):
    """Does something else for a batch of one row."""

    gates = 1

    def step(self, u, state):
        (h,) = state
        h = tanh(u + self.recur(h) * (2 if u.shape[0] == 1 else 1))
        return h, (h,)


class Single(Cell):
    """Computes in single precision wherever it runs, so that it cannot be compared in double precision."""

    gates = 1

    def step(self, u, state):
        (h,) = state
        h = tanh(u + self.recur(h.float()))
        return h, (h,)


class Locked(UGRNN):
    """Holds what cannot be copied."""

    def __init__(self, *sizes, **common):
        super().__init__(*sizes, **common)
        self.lock = threading.Lock()


class Draws(Cell):
    gates = 1

    def step(self, u, state):
        (h,) = state
        h = tanh(u + self.recur(h)) * torch.bernoulli(torch.tensor(0.5))
        return h, (h,)


class Sorts(Cell):
    gates = 1

    def step(self, u, state):
        (h,) = state
        h = tanh(u + self.recur(h)).sort(-1).values
        return h, (h,)


class Unregistered(Cell):
    gates = 1

    def __init__(self, input_size, hidden_size, **common):
        super().__init__(input_size, hidden_size, **common)
        self.mask = torch.ones(hidden_size)

    def step(self, u, state):
        (h,) = state
        h = tanh(u + self.recur(h)) * self.mask
        return h, (h,)


class InPlace(Cell):
    gates = 1

    def step(self, u, state):
        (h,) = state
        h = tanh(u + self.recur(h)).mul_(0.5)
        return h, (h,)


class Clock(Cell):
    """What tracing cannot see: every call has another equation."""

    gates = 1
    calls: ClassVar = [0]

    def step(self, u, state):
        (h,) = state
        self.calls[0] += 1
        h = tanh(u + self.recur(h)) * self.calls[0]
        return h, (h,)


class Detaches(Cell):
    """Torch makes no gradient for the parameter, and an optimizer then leaves it alone; a gradient of 0 is another."""

    gates = 1

    def __init__(self, input_size, hidden_size, **common):
        super().__init__(input_size, hidden_size, **common)
        self.decay = nn.Parameter(torch.ones(hidden_size))

    def step(self, u, state):
        (h,) = state
        h = tanh(u + self.recur(h)) * self.decay.detach()
        return h, (h,)


REFUSED = {
    Decides: "step: a decision that depends on data", Items: "item", Keeps: "keeps last on self",
    Remembers: "keeps seen on self", Looks: "keeps _opened on self", Lists: "keeps log on self",
    Clips: "autograd.Function with a gradient of its own", Floors: "div cannot be compiled as it is used",
    Sizes: "size of the batch", Single: "cannot be compared with its own step", Locked: "cannot be compared",
    Draws: "random", Sorts: "sort", Unregistered: "register_buffer",
    InPlace: "mul_", Detaches: "a parameter without its gradient", Clock: "changes from call to call",
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED, ids=lambda k: k.__name__)
def test_what_cannot_be_compiled_runs_on_the_reference_and_says_why(kind):
    stack = Stack(kind, 3, 5)
    assert stack.choice.engine == "reference"
    with pytest.raises(UserError, match=REFUSED[kind]) as refused:
        Stack(kind, 3, 5, engine="native")
    assert "\n" not in str(refused.value)
    if kind not in (Keeps, Remembers, Looks, Lists, Single, Locked, Clock):
        assert "test_own_cells.py, line " in str(refused.value)


class Chooses(Cell):
    """Torch's method takes the condition second, its function first; shapes are compared as torch compares them."""

    gates = 1

    def step(self, u, state):
        (h,) = state
        a = u + self.recur(h)
        h = tanh(a).where(a > 0, 0.5 * a) if u.shape == h.shape else 0 * h
        return h, (h,)


def test_where_as_a_method():
    assert Stack(Chooses, 3, 5).choice.engine == "native"
    truth, found = (outcome(*of, Chooses) for of in (("reference", torch.float64), ("native", torch.float32)))
    assert relative_error(found, truth) < CLOSE


# ------------------------------------------------------------------ where the numbers end


class Corners(Cell):
    gates = 1

    def step(self, u, state):
        (h,) = state
        h = torch.relu(u) + 0 * h
        return h, (h,)


class Squeezed(Cell):
    gates = 3

    def step(self, u, state):
        (h,) = state
        a, b, c = u.chunk(3, -1)
        h = torch.sigmoid(a) + torch.tanh(b) + functional.softplus(c) + 0 * h
        return h, (h,)


class Bounded(Cell):
    gates = 3

    def __init__(self, input_size, hidden_size, **common):
        super().__init__(input_size, hidden_size, **common)
        self.power = nn.Parameter(torch.zeros(hidden_size))

    def step(self, u, state):
        (h,) = state
        a, b, c = u.chunk(3, -1)
        h = (
            functional.hardtanh(a)
            + functional.softplus(b, threshold=0.5)
            + torch.pow(c.abs(), self.power)
            + 0 * h
        )
        return h, (h,)


@pytest.mark.parametrize("kind", [Corners, Squeezed, Bounded])
def test_nan_and_infinity_pass_as_in_torch(kind):
    values = [math.nan, math.inf, -math.inf, 1e38, -1e38, 0.0, -0.0, 90.0, -90.0, 1.0]
    found = {}
    for engine in ("native", "reference"):
        stack = Stack(kind, 1, 2, engine=engine, bias="none")
        with torch.no_grad():
            stack.layers[0].weight_ih.fill_(1.0)
        x = torch.tensor(values)[:, None, None].requires_grad_()
        y, _ = stack(x)
        (gradient,) = torch.autograd.grad(y.sum(), x)
        found[engine] = torch.cat([y.flatten(), gradient.flatten()]).detach()
    assert torch.allclose(found["native"], found["reference"], rtol=1e-5, atol=1e-30, equal_nan=True)


def test_the_grus_gradient_where_its_inputs_are_huge():
    found = {}
    for engine in ("native", "torch"):
        stack = Stack("gru", 1, 4, engine=engine)
        x = torch.tensor([1e38, -1e38, 3.0, -1e30])[:, None, None].expand(4, 3, 1).clone().requires_grad_()
        y, _ = stack(x)
        found[engine] = torch.autograd.grad(y.square().sum(), [x, *stack.parameters()])
    for ours, theirs in zip(found["native"], found["torch"], strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-6, equal_nan=True)


def test_a_view_that_only_promises_a_sign():
    stack = Stack("gru", 3, 4, engine="native")
    x = torch.randn(2, 5, 3, dtype=torch.complex64).conj().imag  # a negative view
    assert x.is_neg()
    assert torch.equal(stack(x)[0], stack(x.resolve_neg().clone())[0])


def test_weights_that_torch_computes():
    found = {}
    for engine, dtype in (("native", torch.float32), ("reference", torch.float64)):
        stack = Stack(UGRNN, 3, 6, engine="reference").to(dtype)
        nn.utils.parametrizations.weight_norm(stack.layers[0], "weight_hh")
        stack.engine = engine
        assert stack.choice.engine == engine
        x = torch.linspace(-1, 1, 2 * 5 * 3).view(2, 5, 3).to(dtype)
        y, _ = stack(x)
        found[engine] = [y.detach(), *torch.autograd.grad(y.square().sum(), list(stack.parameters()))]
    assert relative_error(found["native"], found["reference"]) < CLOSE


def test_a_copied_cell_shares_its_kernels():
    stack = Stack(UGRNN, 3, 6)
    twin = copy.deepcopy(stack)
    ours, theirs = (kernels_of(s.layers[0]) for s in (stack, twin))
    assert ours is theirs


def test_the_generated_c_compiles_without_a_warning(tmp_path):
    for kind in OWN:
        (tmp_path / "cell.c").write_text(source(kind(3, 7))[0])
        flags = [
            *build.FLAGS,
            "-O0",
            "-march=native",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-I",
            str(build.SOURCES),
        ]
        command = [
            build.find_compiler(),
            *flags,
            "-c",
            str(tmp_path / "cell.c"),
            "-o",
            str(tmp_path / "cell.o"),
        ]
        done = subprocess.run([c for c in command if c != "-shared"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_processes_that_want_one_cell_compile_it_once(tmp_path):
    library.status()
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from own_cells import MGU\n"
        "from rnnlab.native import check, kernels\n"
        "cell = MGU(2, 3)\n"
        "assert check.obstacle(cell) is None\n"
        "print(kernels.kernels_of(cell).built.seconds > 0)\n"
    )
    environment = os.environ | {"RNNLAB_CACHE": str(tmp_path)}
    shutil.copy(library.status()["library"], tmp_path)
    command = [sys.executable, "-c", program, str(Path(__file__).parent)]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
    said = [racer.communicate()[0].split() for racer in racers]
    assert all(len(words) == 1 for words in said)
    assert len(list(tmp_path.glob("cell-*.so"))) == 1 and not list(tmp_path.glob("*.partial*"))


def test_what_is_the_same_for_all_units_is_computed_once_a_row():
    text, _, _ = source(LayerNormGRU(3, 19))
    assert "row_div" in text and "row_sqrt" in text
    assert " / " not in text and "vec_sqrt" not in text


class Buffered(Cell):
    gates, states, buffer = 1, 1, torch.tensor(0.5)

    def __init__(self, input_size, hidden_size, **common):
        super().__init__(input_size, hidden_size, **common)
        self.register_buffer("tau", self.buffer.clone())

    def step(self, u, state):
        h = tanh(u + self.recur(state[0])) * self.tau
        return h, (h,)


def buffered(buffer: torch.Tensor) -> type[Buffered]:
    return type("One", (Buffered,), {"buffer": buffer})


@pytest.mark.parametrize("buffer", [torch.tensor(0.5).double(), torch.tensor(2), torch.arange(6) % 2 == 0])
def test_a_buffer_of_another_type_is_not_read_as_float32(buffer):
    assert Stack(buffered(torch.tensor(0.5)), 3, 6).choice.engine == "native"
    choice = Stack(buffered(buffer), 3, 6).choice
    assert choice.engine == "reference" and f"tau is {buffer.dtype}, and the kernels read" in choice.reason


def test_a_buffer_with_gaps_is_not_read_across_them():
    case = Case("series", 8, 5, cell=buffered(torch.rand(6)), hidden_size=6)
    task = case.task("native")
    task.stack.layers[0].tau = torch.rand(12)[::2]
    assert native.spec.obstacle(task.outline()) == "tau is not contiguous"


class Voting(Cell):
    """What all units share has no gradient, so that the gradients of the sums overwrite the sums themselves."""

    gates, states = 2, 1

    def __init__(self, input_size, hidden_size, **common):
        super().__init__(input_size, hidden_size, **common)
        self.a, self.b, self.c = (nn.Parameter(torch.full((hidden_size,), v)) for v in (1.0, 0.1, 0.5))

    def step(self, u, state):
        (h,) = state
        x, y = (u + self.recur(h)).chunk(2, dim=-1)
        vote = torch.sign(x).mean(-1, keepdim=True)
        h = vote * tanh(self.a * y + self.b) + self.c * h
        return h, (h,)


def test_gradients_overwrite_no_value_of_a_whole_row_that_is_still_read():
    case = Case("series", 8, 5, cell=Voting, hidden_size=40)
    name = case.names(1)[0]
    program = case.program()
    program.gradients(name)
    _, truth = torchs_gradients(case, name, torch.float64, "reference")
    assert relative_error([p.grad for p in program.task.parameters()], truth) < CLOSE


class Counting(Cell):
    """Conditions that are used as numbers, and numbers that are used as conditions."""

    gates = 1

    def step(self, u, state):
        (h,) = state
        a = u + self.recur(h)
        count = (
            (a > 0).float() + (h > 0.1).float() + (~(a < 0.2)) * 2 - (a.mean(-1, keepdim=True) > 0).float()
        )
        odd = torch.where(torch.where(a > 0.1, True, False) & (h < 0.3), -1, 2)
        h = tanh(a) * (1 - 0.1 * count) + torch.where(torch.logical_not(torch.relu(h)), 0.1 * a, 0.2) * odd
        return h, (h,)


def test_a_condition_may_be_a_number():
    assert Stack(Counting, 3, 5).choice.engine == "native"
    truth, found = (
        outcome(*of, Counting) for of in (("reference", torch.float64), ("native", torch.float32))
    )
    assert relative_error(found, truth) < CLOSE


def test_what_is_not_a_number_on_one_side_alone_is_a_difference_of_the_kernels():
    whole, gap = torch.ones(4).double(), torch.tensor([1.0, math.nan, 1.0, 1.0]).double()
    assert check._close(whole.float(), whole) and check._close(gap.float(), gap)
    assert not check._close(gap.float(), whole) and not check._close(whole.float(), gap)
