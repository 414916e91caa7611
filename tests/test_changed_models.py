"""A model that its user has changed is trained as it is, never by kernels that know another one."""

import functools
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import nn

import rnnlab
from rnnlab import Cell, native
from rnnlab.cells import Elman
from rnnlab.data import Chars, Sine
from rnnlab.native.kernels import kernels_of
from rnnlab.recurrence import Stack, engines
from rnnlab.runs.objects import GIVEN
from rnnlab.tasks import CharLM, Forecaster

pytestmark = pytest.mark.skipif(native.obstacle() is not None, reason="no native engine here")
ASKED = ("trainer.accelerator=cpu", "trainer.threads=1", "trainer.max_epochs=2", "callbacks=none", "logger=none",
         "name=changed", "optimizer.lr=0.01")  # fmt: skip
SCRIPT = Path(__file__).parents[1] / "scripts" / "changed_models.py"
TEXT = "the quick brown fox jumps over the lazy dog. " * 12


class Squashed(nn.Linear):
    def forward(self, x):
        return torch.tanh(super().forward(x))


class Halved(Elman):
    def step(self, u, state):
        h, _ = super().step(u, state)
        return h / 2, (h / 2,)


def head(make):
    def change(task):
        made = make(task.head.in_features, task.head.out_features)
        made.load_state_dict(task.head.state_dict(), strict=False)
        task.head = made

    return change


def second_layer(make):
    def change(task):
        made = make(task.stack.layers[1].input_size, task.stack.hidden_size)
        made.load_state_dict(task.stack.layers[1].state_dict(), strict=False)
        task.stack.layers[1] = made

    return change


def embedding(**options):
    def change(task):
        made = nn.Embedding(*task.embedding.weight.shape, **options)
        made.load_state_dict(task.embedding.state_dict())
        task.embedding = made

    return change


def fixed(module, name):
    """A parameter becomes a buffer."""
    value = getattr(module, name).detach().clone()
    delattr(module, name)
    module.register_buffer(name, value)


SERIES = {
    "a head with a function": (head(Squashed), "the head is a Squashed"),
    "a head of two layers": (lambda task: setattr(task, "head", nn.Sequential(task.head)), "the head is a Sequential"),
    "a head without bias": (head(functools.partial(nn.Linear, bias=False)), "native"),
    "another function in a layer": (second_layer(functools.partial(Elman, nonlinearity="relu")), "different equations"),
    "a subclass in a layer": (second_layer(Halved), "different equations"),
    "a bias less in a layer": (second_layer(functools.partial(Elman, bias="one")), "different equations"),
    "zoneout in a layer": (lambda task: setattr(task.stack.layers[1], "zoneout", (0.5,)), "different equations"),
    "dropout in a layer": (
        lambda task: setattr(task.stack.layers[1], "recurrent_dropout", 0.5), "different equations"),
    "a parameter more": (lambda task: setattr(task, "gain", nn.Parameter(torch.ones(()))), "has a parameter gain"),
    "another forecast": (lambda task: setattr(task, "head_output", lambda y: 2 * task.head(y)[:, None]),
                         "head_output was replaced"),
}  # fmt: skip
SERIES |= {
    "layers that share a weight": (
        lambda task: setattr(task.stack.layers[1], "weight_hh", task.stack.layers[0].weight_hh),
        "stack.layers.0.weight_hh and stack.layers.1.weight_hh are one parameter",
    ),
    "a weight that is a buffer": (
        lambda task: fixed(task.stack.layers[0], "weight_hh"),
        "different equations",
    ),
    "a bias that is a buffer": (lambda task: fixed(task.head, "bias"), "head.bias is no parameter"),
    "no bias": (lambda task: setattr(task.head, "bias", None), "native"),
    "a frozen weight": (lambda task: task.stack.layers[0].weight_hh.requires_grad_(False), "native"),
}
TEXTS = {
    "tied weights": (lambda task: setattr(task.head, "weight", task.embedding.weight), "native"),
    "a row that stays": (embedding(padding_idx=1), "no embedding with padding_idx"),
    "rows of a norm": (embedding(max_norm=0.5), "no embedding with max_norm"),
    "rows by their number": (embedding(scale_grad_by_freq=True), "no embedding with scale_grad_by_freq"),
}


def trained(folder, kind, data, change, engine, **options):
    data.setup("fit")
    task = kind(data.spec, seed=0, hidden_size=7, num_layers=2, engine=engine, **options)
    change(task)
    monitor = "monitor=loss/val"
    run = rnnlab.train(*ASKED, monitor, f"paths.outputs={folder}", module=task, data=data, quiet=True)
    weights = torch.load(run.last_checkpoint, weights_only=True)["state_dict"]
    return run, torch.cat([weights[name].flatten() for name, _ in task.named_parameters()])


def unchanged(task):
    pass


def check(make, change, why, folder):
    run, weights = make(folder / "auto", change=change, engine="auto")
    truth, known = make(folder / "reference", change=change, engine="reference")
    if change is not unchanged:  # made again it would be without the change
        assert run.config["model"]["_target_"] == GIVEN
    assert run.record["engine"]["name"] == "native" and why in run.record["engine"]["steps"]
    assert run.results["last"]["metrics"]["loss/val"] == pytest.approx(
        truth.results["last"]["metrics"]["loss/val"], rel=1e-4
    )
    torch.testing.assert_close(weights, known, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", SERIES)
def test_a_changed_forecaster(tmp_path, name):
    make = functools.partial(trained, kind=Forecaster, data=Sine(n_points=300), cell="elman")
    check(make, *SERIES[name], tmp_path)


@pytest.mark.parametrize("name", TEXTS)
def test_a_changed_character_model(tmp_path, name):
    (tmp_path / "text.txt").write_text(TEXT)
    data = Chars(path=str(tmp_path / "text.txt"), segment=8, batch_size=4)
    make = functools.partial(trained, kind=CharLM, data=data, cell="elman", embedding_size=7)
    check(make, *TEXTS[name], tmp_path)


def test_models_changed_at_random():
    done = subprocess.run([sys.executable, SCRIPT, "models=8"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("8 models (")


# ---------------------------------------------------------------------- a subclass of a task


class Named(Forecaster):
    """What is looked at is another thing; what is trained is the same."""

    metrics: ClassVar[tuple[str, ...]] = (*Forecaster.metrics, "percent")

    def __init__(self, spec, seed=0, **options):
        super().__init__(spec, seed, **options)
        self.seen = 0

    def reported(self, means):
        return super().reported(means | {"percent": 100 * means["mae"]})

    def percent(self):
        return "%"


class Heard(Named):
    def on_train_epoch_end(self):
        super().on_train_epoch_end()
        self.seen += 1
        self.log("seen", float(self.seen))


class Weighed(Named):
    def criterion(self, forecast, y):
        return super().criterion(2 * forecast, y)


def test_a_subclass_that_changes_no_step_is_trained_by_the_kernels(tmp_path):
    found = {}
    for kind in (Forecaster, Named, Heard, Weighed):
        make = functools.partial(trained, kind=kind, data=Sine(n_points=300), cell="elman", engine="auto")
        found[kind] = make(tmp_path / kind.__name__, change=unchanged)
    base, weights = found[Forecaster]
    for kind in (Named, Heard):
        run, theirs = found[kind]
        assert run.record["engine"]["steps"] == "native" and torch.equal(weights, theirs)
        last, own = base.results["last"]["metrics"], run.results["last"]["metrics"]
        assert last.items() <= own.items() and own["metric/percent"] == 100 * last["metric/mae"]
    assert found[Heard][0].metrics["seen"][1].tolist() == [1.0, 2.0]
    assert "Weighed has its own criterion" in found[Weighed][0].record["engine"]["steps"]
    assert not torch.equal(found[Weighed][1], weights)


# ---------------------------------------------------------------------- a cell of one's own


FACTOR = 1.0


class Own(Cell):
    gates, states = 1, 1
    slope: ClassVar[float] = 1.0

    def __init__(self, input_size, hidden_size, *, act="tanh", private=1.0, closed=1.0, **common):
        super().__init__(input_size, hidden_size, **common)
        self.act = {"tanh": nn.Tanh, "sigmoid": nn.Sigmoid}[act]()
        self._private = private
        self.scaled = lambda h: closed * h

    def step(self, u, state):
        (h,) = state
        h = FACTOR * self.slope * self._private * self.scaled(self.act(u + self.recur(h)))
        return h, (h,)


class ByWidth(Cell):
    gates, states = 1, 1

    def __init__(self, input_size, hidden_size, **common):
        super().__init__(input_size, hidden_size, **common)
        self.share = input_size**-0.5

    def step(self, u, state):
        (h,) = state
        h = torch.tanh(self.share * u + self.recur(h))
        return h, (h,)


def outcomes(kind, **options):
    """What the native engine and the reference say of one stack, each with its gradient."""
    stack = Stack(kind, 3, 6, 2, options=options)
    x = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0))
    assert stack.choice.engine == "native", stack.choice.reason
    said = []
    for name in ("native", "reference"):
        stack.engine = name
        y, _ = stack(x)
        said.append((y.detach(), torch.autograd.grad(y.square().sum(), stack.layers[0].weight_ih)[0]))
    return said


@pytest.mark.parametrize("how", ["a module", "a private attribute", "a closure", "its class", "a global"])
def test_the_kernels_of_a_cell_follow_all_that_decides_its_step(how, monkeypatch):
    first, _ = outcomes(Own)
    options = {
        "a module": {"act": "sigmoid"},
        "a private attribute": {"private": 0.5},
        "a closure": {"closed": 0.5},
    }
    if how == "its class":
        monkeypatch.setattr(Own, "slope", 0.5)
    elif how == "a global":
        monkeypatch.setattr(f"{__name__}.FACTOR", 0.5)
    found, truth = outcomes(Own, **options.get(how, {}))
    for one, other in zip(found, truth, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found[0], first[0])


class Moody(Own):
    def step(self, u, state):
        h, _ = super().step(u, state)
        return (h, (h,)) if self.training else (h / 2, (h / 2,))


class Counted(Own):
    def __init__(self, input_size, hidden_size, **common):
        super().__init__(input_size, hidden_size, **common)
        self.gain = nn.Parameter(torch.tensor(0.5))

    def step(self, u, state):
        h, _ = super().step(u, state)
        return h * float(self.gain), (h,)


class Wrong(Own):
    def step(self, u, state):
        h, _ = super().step(u, state)
        return h, (h, {}["missing"])


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (Moody, "depends on self.training"),
        (Counted, "a number that depends on data"),
        (Wrong, "KeyError: 'missing'"),
    ],
)
def test_what_cannot_be_compiled_is_left_to_the_reference(kind, why):
    stack = Stack(kind, 3, 6)
    assert stack.choice.engine == "reference" and why in stack.choice.reason
    assert "test_changed_models.py, line" in stack.choice.reason or kind is Moody


def test_layers_that_derive_something_from_their_width_are_not_the_first_ones(tmp_path):
    for one, other in zip(*outcomes(ByWidth), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    make = functools.partial(trained, kind=Forecaster, data=Sine(n_points=300), cell=ByWidth)
    check(make, unchanged, "different equations", tmp_path)


def test_layers_that_only_hold_a_function_each_share_their_kernels():
    stack = Stack(Own, 3, 6, 2)
    assert kernels_of(stack.cells[0]) is kernels_of(stack.cells[1])


@pytest.mark.parametrize("engine", ["auto", "torch", "reference"])
@pytest.mark.parametrize("where", ["stack.layers.1", "stack", "head", ""])
def test_hooks_are_called_on_every_engine(tmp_path, where, engine):
    def hooked(task):
        task.get_submodule(where).register_forward_hook(doubled)

    make = functools.partial(trained, kind=Forecaster, data=Sine(n_points=300), cell="gru")
    run, weights = make(tmp_path / "hooked", change=hooked, engine=engine)
    plain, others = make(tmp_path / "plain", change=unchanged, engine=engine)
    assert not torch.allclose(weights, others)
    assert run.results["last"]["metrics"]["loss/val"] != plain.results["last"]["metrics"]["loss/val"]
    if engine == "auto":
        check(make, hooked, "has a hook", tmp_path)


def doubled(module, given, said):
    return (2 * said[0], *said[1:]) if isinstance(said, tuple) else 2 * said


def test_a_cells_hooks_see_whole_sequences():
    stack, seen = Stack("lstm", 3, 4, 2), []
    stack.layers[1].register_forward_hook(lambda cell, given, said: seen.append((cell, given, said)))
    x = torch.randn(2, 5, 3)
    y, states = stack(x)
    ((cell, (below, state), (above, last)),) = seen
    assert cell is stack.layers[1] and below.shape == above.shape == (2, 5, 4) and len(state) == 2
    assert torch.equal(above, y) and all(map(torch.equal, last, states[1]))


def test_an_engine_is_asked_about_every_cell():
    stack = Stack("gru", 3, 4, 2, engine="torch")
    stack(torch.zeros(2, 5, 3))
    stack.cells[1].zoneout = (0.5,)
    with pytest.raises(rnnlab.errors.UserError, match="torch's fused layers have no zoneout"):
        stack(torch.zeros(2, 5, 3), dropout_at=(0, 0))
    assert (
        stack.noisy and engines.choose("auto", stack.cells, torch.device("cpu"), "32-true").engine == "native"
    )
