"""What a user changes through torch has its effect on the native engine, or stops the run before the step."""

import copy
import functools
import io
import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from torch import nn
from torch.nn.utils import parametrize, prune
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.overrides import TorchFunctionMode

from rnnlab import native
from rnnlab.cells import Cell
from rnnlab.data import Sine
from rnnlab.data.loader import Loader
from rnnlab.errors import UserError
from rnnlab.tasks import Forecaster

pytestmark = pytest.mark.skipif(
    native.obstacle() is not None, reason=f"the native engine cannot be had here: {native.obstacle()}"
)

CASES: dict[str, tuple[str, str, Callable]] = {}
"""What each does: the hook in which it acts, what becomes of it on native, the act."""
KINDS = ("honoured", "refused", "neutral")  # neutral: changes no number anywhere


def case(hook: str, kind: str):
    def enter(act: Callable) -> Callable:
        assert kind in KINDS
        CASES[act.__name__] = (hook, kind, act)
        return act

    return enter


WITHOUT_TORCH = ("parametrized_cell", "parametrization_changed_later")  # whose cell torch has no layer for


class Intervene(Callback):
    """Acts in one hook; but for hooks of a step once, behind the first epoch where it is one of epochs."""

    def __init__(self, name: str):
        self.name = name
        hook, _, act = CASES[name]
        setattr(self, hook, lambda trainer, task, *args, **_: act(self, trainer, task, *args))


class Half(nn.Module):
    def __init__(self):
        super().__init__()
        self.divisor = 2.0

    def forward(self, weight):
        return weight / self.divisor


# ---------------------------------------------------------------- parameters and their gradients


@case("on_train_start", "honoured")
def parameter_hook(self, trainer, task, *_):
    task.head.weight.register_hook(lambda g: 0.1 * g.sign())


@case("on_train_start", "neutral")
def parameter_hook_that_only_looks(self, trainer, task, *_):
    self.seen = []
    task.head.weight.register_hook(lambda g: self.seen.append(float(g.norm())))


@case("on_train_start", "honoured")
def accumulated_gradient_hook(self, trainer, task, *_):
    def zero(p):
        p.grad = torch.zeros_like(p)

    task.head.bias.register_post_accumulate_grad_hook(zero)


@case("on_train_start", "honoured")
def multi_gradient_hook(self, trainer, task, *_):
    def zero(_):
        task.head.weight.data.mul_(0.99)

    torch.autograd.graph.register_multi_grad_hook(list(task.parameters()), zero)


@case("on_before_optimizer_step", "honoured")
def replaced_gradient(self, trainer, task, *_):
    task.head.weight.grad = task.head.weight.grad.sign()


@case("on_after_backward", "honoured")
def gradient_in_place(self, trainer, task, *_):
    task.head.weight.grad.mul_(-1)


@case("on_before_optimizer_step", "honoured")
def no_gradient(self, trainer, task, *_):
    task.stack.layers[0].weight_hh.grad = None


@case("on_after_backward", "honoured")
def no_gradient_after_backward(self, trainer, task, *_):
    task.stack.layers[0].weight_hh.grad = None


@case("on_train_epoch_start", "honoured")
def frozen_later(self, trainer, task, *_):
    task.stack.requires_grad_(trainer.current_epoch != 1)


@case("on_fit_start", "honoured")
def frozen_before_the_fit(self, trainer, task, *_):
    task.stack.requires_grad_(False)


@case("on_train_epoch_start", "honoured")
def thawed_later(self, trainer, task, *_):
    task.head.requires_grad_(trainer.current_epoch > 0)


@case("on_train_epoch_start", "honoured")
def moved_data(self, trainer, task, *_):
    task.head.weight.data = 0.5 * task.head.weight.data


@case("on_train_epoch_start", "honoured")
def swapped_data(self, trainer, task, *_):
    """As recipes of averaged weights do: what was swapped out keeps its values, and comes back."""
    self.kept = getattr(self, "kept", None) or copy.deepcopy(task.head)
    self.kept.weight.data, task.head.weight.data = task.head.weight.data, self.kept.weight.data


@case("on_train_batch_end", "honoured")
def values_in_place(self, trainer, task, *_):
    with torch.no_grad():
        task.head.weight.clamp_(-0.1, 0.1)


@case("on_train_epoch_start", "refused")
def replaced_parameter(self, trainer, task, *_):
    task.head.weight = nn.Parameter(torch.zeros_like(task.head.weight))


@case("setup", "refused")
def parametrized(self, trainer, task, *_):
    if trainer.state.fn == "fit":
        parametrize.register_parametrization(task.head, "weight", Half())


@case("setup", "honoured")
def parametrized_cell(self, trainer, task, *_):
    if trainer.state.fn == "fit":
        parametrize.register_parametrization(task.stack.layers[0], "weight_hh", Half())


@case("setup", "refused")
def parametrization_changed_later(self, trainer, task, *_):
    if trainer.state.fn == "fit":
        parametrize.register_parametrization(task.stack.layers[0], "weight_hh", Half())
        half = task.stack.layers[0].parametrizations.weight_hh[0]
        self.on_train_epoch_start = lambda *_: setattr(half, "divisor", 2.0 + trainer.current_epoch)


@case("on_train_epoch_start", "refused")
def parametrized_later(self, trainer, task, *_):
    if trainer.current_epoch == 1:
        parametrize.register_parametrization(task.head, "weight", Half())


@case("setup", "refused")
def weight_norm(self, trainer, task, *_):
    if trainer.state.fn == "fit":
        nn.utils.parametrizations.weight_norm(task.head)


@case("on_fit_start", "refused")
def weight_norm_by_hooks(self, trainer, task, *_):
    nn.utils.weight_norm(task.head)


@case("on_fit_start", "refused")
def pruned(self, trainer, task, *_):
    prune.l1_unstructured(task.head, "weight", amount=0.5)


@case("on_train_epoch_start", "honoured")
def pruned_for_good(self, trainer, task, *_):
    prune.l1_unstructured(task.head, "weight", amount=0.5)
    prune.remove(task.head, "weight")


@case("on_train_start", "refused")
def values_shared(self, trainer, task, *_):
    layer = task.stack.layers[0]
    layer.bias_ih.data = layer.bias_hh.data


@case("setup", "honoured")
def values_held_since_before_the_fit(self, trainer, task, *_):
    held = task.head.weight.data
    self.on_train_batch_end = lambda *_: held.clamp_(-0.1, 0.1)


@case("on_before_optimizer_step", "honoured")
def gradients_swapped(self, trainer, task, *_):
    layer = task.stack.layers[0]
    layer.bias_ih.grad, layer.bias_hh.grad = 3 * layer.bias_hh.grad, layer.bias_ih.grad


@case("on_before_optimizer_step", "honoured")
def gradients_data(self, trainer, task, *_):
    task.head.weight.grad.data = torch.ones_like(task.head.weight)


@case("on_before_backward", "refused")
def values_behind_the_loss(self, trainer, task, *_):
    task.head.weight.data.mul_(0.99)


@case("on_train_epoch_end", "neutral")
def gradients_behind_a_validation(self, trainer, task, *_):
    assert task.head.weight.grad is None


# ---------------------------------------------------------------- modules


@case("on_fit_start", "refused")
def head_hook(self, trainer, task, *_):
    task.head.register_forward_hook(lambda module, args, out: 2 * out)


@case("on_train_epoch_start", "refused")
def stack_hook_later(self, trainer, task, *_):
    if trainer.current_epoch == 1:
        task.stack.register_forward_hook(lambda module, args, out: (2 * out[0], out[1]))


@case("on_train_start", "refused")
def head_pre_hook(self, trainer, task, *_):
    task.head.register_forward_pre_hook(lambda module, args: (2 * args[0],))


@case("on_train_start", "refused")
def full_backward_hook(self, trainer, task, *_):
    task.head.register_full_backward_hook(lambda module, ins, outs: tuple(3 * g for g in ins))


@case("on_train_start", "refused")
def full_backward_pre_hook(self, trainer, task, *_):
    task.head.register_full_backward_pre_hook(lambda module, outs: tuple(3 * g for g in outs))


@case("on_train_start", "refused")
def hook_of_all_modules(self, trainer, task, *_):
    def twice(module, args, out):
        return 2 * out if module is task.head else out

    self.handle = nn.modules.module.register_module_forward_hook(twice)
    HANDLES.append(self.handle)


@case("on_train_start", "refused")
def replaced_forward(self, trainer, task, *_):
    before = task.head.forward
    task.head.forward = lambda x: 2 * before(x)


@case("on_train_start", "refused")
def replaced_forward_of_the_task(self, trainer, task, *_):
    before = task.forward
    task.forward = lambda x: 2 * before(x)


@case("on_train_start", "refused")
def replaced_loss(self, trainer, task, *_):
    before = task.criterion
    task.criterion = lambda forecast, y: before(forecast, y) + forecast.square().mean()


@case("on_train_start", "refused")
def replaced_forward_of_the_stack(self, trainer, task, *_):
    before = task.stack.forward
    task.stack.forward = lambda *args, **more: (before(*args, **more)[0].tanh(), [])


@case("on_train_epoch_start", "refused")
def replaced_module(self, trainer, task, *_):
    task.head = copy.deepcopy(task.head)


@case("on_train_epoch_start", "refused")
def another_loss(self, trainer, task, *_):
    task.loss_name = "mae"


@case("on_train_start", "refused")
def saved_tensors(self, trainer, task, *_):
    hooks = torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t * 1.1 if t.dim() > 1 else t)
    hooks.__enter__()
    HANDLES.append(hooks)


# ---------------------------------------------------------------- the optimizer


@case("on_train_start", "honoured")
def before_the_update(self, trainer, task, *_):
    def halve(optimizer, args, more):
        for p in task.parameters():
            p.grad = p.grad.sign()

    trainer.optimizers[0].register_step_pre_hook(halve)


@case("on_train_start", "honoured")
def behind_the_update(self, trainer, task, *_):
    @torch.no_grad()
    def clamp(optimizer, args, more):
        for p in task.parameters():
            p.clamp_(-0.2, 0.2)

    trainer.optimizers[0].register_step_post_hook(clamp)


@case("on_train_start", "honoured")
def hook_of_all_optimizers(self, trainer, task, *_):
    @torch.no_grad()
    def clamp(optimizer, args, more):
        for p in task.parameters():
            p.clamp_(-0.2, 0.2)

    HANDLES.append(register_optimizer_step_post_hook(clamp))


@case("on_train_epoch_start", "honoured")
def maximized_later(self, trainer, task, *_):
    trainer.optimizers[0].param_groups[0]["maximize"] = trainer.current_epoch > 0


@case("on_train_epoch_start", "honoured")
def weight_decay_later(self, trainer, task, *_):
    trainer.optimizers[0].param_groups[0]["weight_decay"] = 0.5 * trainer.current_epoch


@case("on_train_batch_start", "honoured")
def rate_by_batch(self, trainer, task, *_):
    trainer.optimizers[0].param_groups[0]["lr"] = 0.001 * (1 + trainer.global_step)


@case("on_before_optimizer_step", "honoured")
def rate_before_the_update(self, trainer, task, *_):
    trainer.optimizers[0].param_groups[0]["lr"] = 0.001 * (1 + trainer.global_step)


@case("on_train_start", "honoured")
def groups(self, trainer, task, *_):
    (group,) = trainer.optimizers[0].param_groups
    head = list(task.head.parameters())
    group["params"] = [p for p in group["params"] if not any(p is h for h in head)]
    trainer.optimizers[0].add_param_group({"params": head, "lr": 0.5 * group["lr"]})
    schedule = task.lr_schedulers()
    schedule.lr_lambdas.append(schedule.lr_lambdas[0])
    schedule.base_lrs.append(0.5 * schedule.base_lrs[0])


@case("on_train_start", "honoured")
def left_out_of_the_optimizer(self, trainer, task, *_):
    trainer.optimizers[0].param_groups[0]["params"].pop()


@case("on_train_start", "honoured")
def replaced_update(self, trainer, task, *_):
    optimizer = trainer.optimizers[0]

    @torch.no_grad()
    def step(closure=None):
        loss = closure() if closure is not None else None
        for p in task.parameters():
            p -= 0.05 * p.grad
        return loss

    optimizer.step = step


@case("on_train_epoch_start", "honoured")
def forgotten_moments(self, trainer, task, *_):
    trainer.optimizers[0].state.clear()


@case("on_train_epoch_start", "honoured")
def one_moment_replaced(self, trainer, task, *_):
    state = trainer.optimizers[0].state
    assert len(state) == (0 if trainer.current_epoch == 0 else len(list(task.parameters())))
    if state:
        state[task.head.weight]["exp_avg"] = torch.ones_like(task.head.weight)


@case("on_train_epoch_start", "honoured")
def steps_counted_anew(self, trainer, task, *_):
    for state in trainer.optimizers[0].state.values():
        state["step"] = torch.zeros_like(state["step"])


@case("on_train_epoch_start", "honoured")
def optimizer_replaced(self, trainer, task, *_):
    if trainer.current_epoch == 1:
        trainer.optimizers = [torch.optim.SGD(task.parameters(), lr=0.05)]


@case("on_before_optimizer_step", "honoured")
def clipped_by_the_step(self, trainer, task, *_):
    task.optimization.clip_val = 0.01 * (1 + trainer.global_step)


@case("on_train_start", "refused")
def strategys_update(self, trainer, task, *_):
    before = trainer.strategy.optimizer_step

    def step(*args, **options):
        before(*args, **options)
        task.head.weight.data.mul_(0.9)

    trainer.strategy.optimizer_step = step


@case("on_train_start", "refused")
def mode_of_torchs(self, trainer, task, *_):
    class Halve(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), options=None):
            found = function(*args, **(options or {}))
            return found / 2 if function is nn.functional.linear else found

    mode = Halve()
    mode.__enter__()
    HANDLES.append(mode)


@case("on_train_epoch_start", "honoured")
def clipped_later(self, trainer, task, *_):
    task.optimization.clip_val = 1e-3 if trainer.current_epoch else None


@case("on_train_epoch_start", "honoured")
def trainers_clipping(self, trainer, task, *_):
    assert trainer.gradient_clip_val == (1e-3 if trainer.current_epoch else None)
    trainer.gradient_clip_val = 1e-3


@case("on_train_batch_start", "honoured")
def trainers_clipping_by_value(self, trainer, task, *_):
    trainer.gradient_clip_val, trainer.gradient_clip_algorithm = 1e-3, "value"


@case("on_before_optimizer_step", "honoured")
def trainers_clipping_by_the_step(self, trainer, task, *_):
    trainer.gradient_clip_val = 0.01 * (1 + trainer.global_step)


@case("on_train_epoch_start", "refused")
def trainers_accumulation(self, trainer, task, *_):
    trainer.accumulate_grad_batches = 2


# ---------------------------------------------------------------- batches, copies, averages


@case("on_train_epoch_start", "honoured")
def series_in_place(self, trainer, task, *_):
    trainer.datamodule.series.mul_(0.9)


@case("on_train_batch_start", "honoured")
def batch_in_place(self, trainer, task, batch, index):
    batch[0].mul_(0.5)


@case("on_train_batch_start", "honoured")
def targets_in_place(self, trainer, task, batch, index):
    batch[1].data.neg_()


@case("on_fit_start", "neutral")
def saved_and_copied(self, trainer, task, *_):
    copies(self, trainer, task)


@case("on_train_batch_end", "neutral")
def copies(self, trainer, task, *_):
    twin = copy.deepcopy(task)
    buffer = io.BytesIO()
    torch.save(task, buffer)
    buffer.seek(0)
    other = torch.load(buffer, weights_only=False)
    x = torch.ones(2, 20, 1)
    with torch.no_grad():
        expected = task(x)
        assert torch.equal(twin(x), expected) and torch.equal(other(x), expected)
        twin.head.weight.zero_()
    assert task.head.weight.abs().sum() > 0


@case("on_train_start", "refused")
def loaders_fetch(self, trainer, task, *_):
    loader, before = trainer.train_dataloader, trainer.train_dataloader.fetch
    loader.fetch = lambda batch: tuple(part / 2 for part in before(batch))


@case("on_train_batch_end", "honoured")
def averaged(self, trainer, task, *_):
    if not hasattr(self, "mean"):
        self.mean = torch.optim.swa_utils.AveragedModel(task.head)
    self.mean.update_parameters(task.head)
    if trainer.is_last_batch:
        task.head.load_state_dict(self.mean.module.state_dict())


@case("on_fit_start", "honoured")
def state_dict_hooks(self, trainer, task, *_):
    def scale(module, state, prefix, metadata):
        state[prefix + "bias"] = 2 * state[prefix + "bias"]

    task.head.register_state_dict_post_hook(scale)


@case("on_train_end", "neutral")
def double(self, trainer, task, *_):
    x = torch.ones(2, 20, 1)
    with torch.no_grad():
        single = task(x)
        twin = copy.deepcopy(task).double()
        twin.stack.engine = "auto"
        torch.testing.assert_close(twin(x.double()).float(), single, rtol=1e-4, atol=1e-5)


class Undo:
    """Gives a class or module its function back."""

    def __init__(self, owner, name, function):
        self.owner, self.name, self.before = owner, name, getattr(owner, name)
        setattr(owner, name, function)
        HANDLES.append(self)

    def remove(self):
        setattr(self.owner, self.name, self.before)


def patch(owner, name, around):
    before = getattr(owner, name)

    @functools.wraps(before)
    def replaced(*args, **options):
        return around(before(*args, **options))

    Undo(owner, name, replaced)


@case("setup", "refused")
def class_forward_replaced_before(self, trainer, task, *_):
    if trainer.state.fn == "fit":
        patch(nn.Linear, "forward", lambda y: 0.5 * y)


@case("on_train_epoch_start", "refused")
def class_forward_replaced_later(self, trainer, task, *_):
    if trainer.current_epoch == 1:
        patch(nn.Linear, "forward", lambda y: 0.5 * y)


@case("on_train_start", "refused")
def call_replaced(self, trainer, task, *_):
    patch(nn.Module, "__call__", lambda y: y)


@case("on_train_start", "refused")
def cells_step_replaced(self, trainer, task, *_):
    patch(type(task.stack.layers[0]), "step", lambda found: (0.9 * found[0], found[1]))


@case("on_train_start", "refused")
def loss_function_replaced(self, trainer, task, *_):
    patch(torch.nn.functional, "mse_loss", lambda loss: 2 * loss)


@case("on_train_start", "refused")
def tasks_loss_replaced(self, trainer, task, *_):
    patch(type(task), "loss", lambda loss: 2 * loss)


@case("setup", "honoured")
def optimizers_class_replaced(self, trainer, task, *_):
    before = torch.optim.Adam.step

    def step(self, closure=None):
        found = before(self, closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data.mul_(0.99)
        return found

    if trainer.state.fn == "fit":
        Undo(torch.optim.Adam, "step", step)


HANDLES: list = []


@pytest.fixture(autouse=True)
def nothing_left():
    yield
    let_go()


def let_go():
    while HANDLES:
        handle = HANDLES.pop()
        handle.remove() if hasattr(handle, "remove") else handle.__exit__(None, None, None)


def weights(run):
    state = torch.load(run.last_checkpoint, weights_only=True)["state_dict"]
    return np.concatenate([v.numpy().ravel() for v in state.values()])


@pytest.fixture
def trained(small, tmp_path):
    def train(engine: str, name: str | None, folder: str):
        added = (f"+callbacks.i._target_={__name__}.Intervene", f"+callbacks.i.name={name}") if name else ()
        asked = (f"model.engine={engine}", "optimizer.lr=0.01", "trainer.max_epochs=3", *added)
        try:
            return small(*asked, outputs=tmp_path / folder)
        finally:
            let_go()

    return train


@pytest.fixture(scope="module")
def plain_weights():
    """By engine, of the run in which nobody intervenes: the same for all cases."""
    return {}


@pytest.fixture
def untouched(trained, plain_weights):
    def untouched(engine: str) -> np.ndarray:
        if engine not in plain_weights:
            plain_weights[engine] = weights(trained(engine, None, f"{engine}-plain"))
        return plain_weights[engine]

    return untouched


@pytest.mark.parametrize("name", CASES)
def test_an_intervention_is_honoured_or_stops_the_run(trained, untouched, name):
    _, kind, _ = CASES[name]
    other = "reference" if name in WITHOUT_TORCH else "torch"
    if kind == "refused":
        able = (
            "model.engine=reference"
            if other == "reference"
            else "model.engine=torch or model.engine=reference"
        )
        with pytest.raises(UserError, match=re.escape(able)) as error:
            trained("native", name, "native")
        assert "\n" not in str(error.value)
        return
    plain, torchs = untouched(other), weights(trained(other, name, "torch"))
    ours = weights(trained("native", name, "native"))
    size = np.abs(plain).max()
    np.testing.assert_allclose(ours, torchs, rtol=5e-3, atol=2e-4 * size)
    if kind == "neutral":
        np.testing.assert_array_equal(torchs, plain)
        np.testing.assert_array_equal(ours, untouched("native"))
    else:  # a case that changes nothing would prove nothing
        assert np.abs(torchs - plain).max() > 2e-3 * size


def test_there_are_thirty_of_them():
    assert len(CASES) >= 30


def test_what_stops_a_run_stops_it_before_its_first_step(trained, tmp_path):
    with pytest.raises(UserError):
        trained("native", "head_hook", "native")
    (record,) = (tmp_path / "native").rglob("metrics.csv")
    assert "loss/train" not in record.read_text()


def test_batches_too_large_for_a_call_are_trained_in_python(small, monkeypatch):
    monkeypatch.setattr("rnnlab.training.native_obstacles.MAX_ROWS", 20)
    run = small("model.engine=native")
    assert "at most 20 rows" in run.record["engine"]["steps"] and run.status == "finished"


class Hooking(Forecaster):
    """A task of the user's own that the kernels serve, and that changes itself on the way."""

    def outline(self):
        return super().outline()

    def on_train_epoch_end(self):
        super().on_train_epoch_end()
        if self.current_epoch == 1:
            self.head.register_forward_hook(lambda module, given, said: 2 * said)


def test_a_task_that_changes_itself_is_looked_at(small):
    with pytest.raises(UserError, match="head has a hook"):
        small("model._target_=test_interventions.Hooking", "model.engine=native", "trainer.max_epochs=4")


class Hooked(Forecaster):
    def outline(self):
        return super().outline()

    def on_before_zero_grad(self, optimizer):
        self.zeroed = getattr(self, "zeroed", 0) + 1

    def on_after_backward(self):
        self.head.weight.grad.zero_()


def test_hooks_of_a_tasks_own_class_are_called(small):
    run = small("model._target_=test_interventions.Hooked", "model.engine=native", "trainer.max_epochs=1")
    assert "Hooked has its own on_before_zero_grad" in run.record["engine"]["steps"]
    longer = small("model._target_=test_interventions.Hooked", "model.engine=native", "trainer.max_epochs=2")
    assert run.model.head.weight.equal(longer.model.head.weight)  # without a gradient


class Halved(Sine):
    """Its batches are others than those that lie in memory."""

    def loader(self, split, shuffle=False):
        loader = super().loader(split, shuffle)
        return Loader(lambda batch: tuple(part / 2 for part in loader.fetch(batch)), loader.order)


def test_a_loader_of_ones_own_is_not_passed_over(small):
    run = small("data._target_=test_interventions.Halved", "model.engine=native")
    assert run.record["engine"]["steps"] == "in Python: Halved has a loader of its own"
    plain = small("model.engine=native")
    assert plain.record["engine"]["steps"] == "native"
    assert np.abs(weights(run) - weights(plain)).max() > 1e-3


class Fades(Callback):
    def on_train_epoch_start(self, trainer, task):
        trainer.datamodule.series[::3] *= 0.8


@pytest.mark.parametrize("scaling", ["window_last", "difference"])
def test_a_series_edited_in_place_is_seen_where_each_window_has_a_scale_of_its_own(small, tmp_path, scaling):
    values = 10 + np.sin(0.3 * np.arange(200))
    (tmp_path / "waves.csv").write_text("a\n" + "".join(f"{value:.5f}\n" for value in values))
    words = ("data=series", f"data.path={tmp_path / 'waves.csv'}", "data.target=a", f"data.scaling={scaling}",
             "data.window=12", "data.horizon=2", "model.hidden_size=6", "trainer.max_epochs=3", "optimizer.lr=0.01",
             "trainer.accelerator=cpu", "trainer.threads=1", "callbacks=none", "logger=none")  # fmt: skip

    def trained(engine, *more):
        return weights(
            small(f"model.engine={engine}", *more, outputs=tmp_path / f"{engine}{len(more)}", base=words)
        )

    fades = "+callbacks.fades._target_=test_interventions.Fades"
    plain, torchs, ours = trained("torch"), trained("torch", fades), trained("native", fades)
    np.testing.assert_allclose(ours, torchs, rtol=5e-3, atol=2e-4 * np.abs(plain).max())
    assert np.abs(torchs - plain).max() > 2e-3 * np.abs(plain).max()


class Partial(Sine):
    """Its loader says what lies in memory, by a function that no other loader has."""

    def loader(self, split, shuffle=False):
        loader = super().loader(split, shuffle)
        return Loader(functools.partial(loader.fetch), loader.order)

    def native_source(self, split):
        return super().native_source(split)


def test_a_fetch_that_is_no_function_is_trained_in_python(small):
    run = small("data._target_=test_interventions.Partial", "model.engine=native")
    assert "what the loader of Partial fetches" in run.record["engine"]["steps"]
    np.testing.assert_allclose(weights(run), weights(small("model.engine=torch")), rtol=5e-3, atol=1e-4)


class Forget(Callback):
    def __init__(self, how):
        self.how = how

    def on_train_epoch_start(self, trainer, task):
        if self.how == "epoch none":
            task.carry.state = None
        elif self.how == "epoch ones":
            task.carry.state = [(torch.ones(4, 6),)]

    def on_train_batch_start(self, trainer, task, *_):
        if not self.how.startswith("epoch") and (state := task.carry.state):
            task.carry.state = (
                None if self.how == "none" else [tuple(map(torch.zeros_like, s)) for s in state]
            )


def test_a_carry_that_was_replaced_is_taken(small, tmp_path):
    (tmp_path / "text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 40)
    words = ("data=chars", f"data.path={tmp_path / 'text.txt'}", "model.hidden_size=6", "data.segment=10",
             "data.batch_size=4", "trainer.max_epochs=2", "optimizer.lr=0.01", "trainer.accelerator=cpu",
             "trainer.threads=1", "callbacks=none", "logger=none")  # fmt: skip

    def trained(engine, how):
        asked = [f"+callbacks.f={{_target_:test_interventions.Forget,how:{how}}}"] if how else []
        return weights(
            small(f"model.engine={engine}", *asked, outputs=tmp_path / f"{engine}-{how}", base=words)
        )

    plain = trained("torch", None)
    for how in ("epoch none", "epoch ones"):  # an epoch begins with the initial state, whatever is there
        np.testing.assert_array_equal(trained("native", how), trained("native", None))
    for how in ("zeros", "none"):
        torchs, ours = (trained(engine, how) for engine in ("torch", "native"))
        np.testing.assert_allclose(ours, torchs, rtol=5e-3, atol=2e-4 * np.abs(plain).max())
        assert np.abs(torchs - plain).max() > 2e-3 * np.abs(plain).max()


class Scaled(Cell):
    gates, states = 1, 1

    def __init__(self, input_size, hidden_size, **common):
        super().__init__(input_size, hidden_size, **common)
        self.register_buffer("factor", torch.ones(hidden_size))

    def step(self, u, state):
        h = self.factor * torch.tanh(u + self.recur(state[0]))
        return h, (h,)


class Sloped(Cell):
    """Reads a number where attributes are not looked at."""

    def __init__(self, input_size, hidden_size, **common):
        super().__init__(input_size, hidden_size, **common)
        self.held = {"slope": 1.0}

    def step(self, u, state):
        h = torch.tanh(self.held["slope"] * (u + self.recur(state[0])))
        return h, (h,)


class Slopes(Callback):
    def __init__(self, hook):
        setattr(self, hook, self.act)

    def act(self, trainer, task, *_):
        for cell in task.stack.layers:
            cell.held["slope"] *= 0.5


@pytest.mark.parametrize("hook", ["on_train_start", "on_train_epoch_start", "on_validation_end"])
def test_a_step_that_reads_other_numbers_than_before_stops_the_run(small, hook):
    sloped = ("model.cell=test_interventions.Sloped", "model.engine=native")
    assert small(*sloped).record["engine"]["steps"] == "native"
    with pytest.raises(
        UserError, match=r"the step of Sloped was changed, .*; train with model.engine=reference"
    ):
        small(
            *sloped, "+callbacks.slopes._target_=test_interventions.Slopes", f"+callbacks.slopes.hook={hook}"
        )


class Shrink(Callback):
    def on_train_epoch_start(self, trainer, task):
        cell = task.stack.layers[0]
        cell.factor = 0.5 * cell.factor


def test_a_buffer_that_was_replaced_is_read_anew(small):
    def trained(engine, *more):
        return weights(small("model.cell=test_interventions.Scaled", f"model.engine={engine}", *more))

    shrinks = "+callbacks.shrink._target_=test_interventions.Shrink"
    plain, referenced, ours = (
        trained("reference"),
        trained("reference", shrinks),
        trained("native", shrinks),
    )
    np.testing.assert_allclose(ours, referenced, rtol=5e-3, atol=2e-4 * np.abs(plain).max())
    assert np.abs(referenced - plain).max() > 2e-3 * np.abs(plain).max()
