"""Finds changes that a user makes to a model through torch, which the kernels' optimizer steps would ignore.

Torch calls hooks, reads `requires_grad` and calls the module's own `forward`; the kernels do none of these. Before each
call of the kernels `Interventions` looks for such changes, in a few microseconds. Single steps honour some of them with
torch's help; the others stop the run with an error.
"""

from functools import cache
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook
from torch.nn.utils import parametrize
from torch.optim import optimizer as optimizers
from torch.overrides import _get_current_function_mode_stack
from torch.utils._device import DeviceContext
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from rnnlab.cells import Cell
from rnnlab.errors import UserError
from rnnlab.native import mirrored
from rnnlab.native.flat import Flat
from rnnlab.native.kernels import kernels_of
from rnnlab.native.spec import optimizer_obstacle
from rnnlab.recurrence import engines
from rnnlab.recurrence.stack import Stack
from rnnlab.tasks.task import Task
from rnnlab.training.patched import Functions, is_foreign

SIMPLE = (bool, int, float, str, type(None))


class Interventions:
    """The state of a model, its optimizer and torch's global settings when the kernels took over the steps."""

    def __init__(self, task: Task, flat: Flat, optimizer: torch.optim.Optimizer) -> None:
        self.task, self.flat, self.optimizer = task, flat, optimizer
        named = list(task.named_modules())
        self.names = [at or type(module).__name__ for at, module in named]
        self.modules = [module for _, module in named]
        self.classes: list[Any] = [type(module) for module in self.modules]
        self.hooks = [
            hooks
            for m in self.modules
            for hooks in (m._forward_hooks, m._forward_pre_hooks, m._backward_hooks, m._backward_pre_hooks)
        ]
        trainer = task.trainer
        self.owners: list[Any] = [*self.modules, trainer.strategy, trainer.precision_plugin]
        kinds: list[Any] = [*map(type, self.owners)]
        self.methods = [_methods(kind) for kind in kinds]
        self.names += ["trainer.strategy", "trainer.precision_plugin"]
        self.sizes = [-1] * len(self.owners)  # of each owner: how many attributes it had at the last look
        self.parts = [(m._modules, list(m._modules.items())) for m in self.modules]
        self.parts += [(m._parameters, list(m._parameters.items())) for m in self.modules]
        self.buffers = [
            (m, name, _place(m, name)) for m in self.modules for name, _ in m.named_buffers(recurse=False)
        ]
        self.simple = [(at, vars(m), _simple(m).items()) for at, m in named if m is not task]
        self.described = self._description()
        self.step = vars(optimizer).get("step")
        self.functions = Functions(self.modules)
        self.equations = [kernels_of(cell).address for cell in task.stack.cells]

    # ------------------------------------------------------------------ changes that the kernels would ignore

    def unseen(self, training: bool = True) -> str | None:
        """Names a change that the kernels' steps (or their evaluation) would ignore; None where there is none."""
        if any(self.hooks):
            return f"{self.names[next(i for i, hooks in enumerate(self.hooks) if hooks) // 4]} has a hook"
        if list(map(type, self.modules)) != self.classes:
            i = next(i for i, cls in enumerate(self.classes) if type(self.modules[i]) is not cls)
            return f"{self.names[i]} has become a {type(self.modules[i]).__name__}"
        for i, owner in enumerate(self.owners):
            if len(vars(owner)) != self.sizes[i]:
                if replaced := vars(owner).keys() & self.methods[i]:
                    return f"{self.names[i]}.{min(replaced)} was replaced"
                self.sizes[i] = len(vars(owner))
        for i, (parts, before) in enumerate(self.parts):
            for name, part in before:
                if parts.get(name) is not part:
                    owner = self.classes[i % len(self.modules)].__name__
                    return f"{name} of {owner} was replaced"
        for at, attributes, values in self.simple:
            if not values <= attributes.items():
                key, value = next((k, v) for k, v in values if attributes.get(k) != v)
                return f"{at}.{key} was changed from {value} to {attributes.get(key)}"
        if replaced := self.functions.replaced():
            return f"{replaced} was replaced for all"
        if self._description() != self.described:
            return "what the model minimises was changed"
        stack = self.task.stack
        if training and stack.noisy and not stack.training:
            return "the stack is in evaluation mode"
        for name, parameter in zip(self.flat.names, self.flat.views, strict=True) if self.moved() else ():
            if parameter.dtype != torch.float32 or parameter.device.type != "cpu":
                return f"{name} is {parameter.dtype} on {parameter.device}"
        if training and self.task.optimization.accumulate > 1:
            return "batches are accumulated"
        return surroundings()

    def other_step(self) -> str | None:
        """Names a cell of the user's whose step has other equations now, as where it reads a dictionary, an object or a
        global variable that was changed; None where there is none. Reading a step again takes milliseconds.
        """
        for cell, before in zip(self.task.stack.cells, self.equations, strict=True):
            try:
                if kernels_of(cell).address == before:
                    continue
            except ValueError as why:
                return str(why)
            return f"the step of {type(cell).__name__} was changed"
        return None

    def _description(self) -> tuple[Any, ...]:
        model = self.task.outline()
        assert model is not None
        subtracted = None if model.subtracted is None else model.subtracted.tolist()
        how = model.reads, model.loss, model.huber_delta, model.levels
        return *how, model.target, model.seed, model.indices, subtracted

    # ------------------------------------------------------------------ changes that single steps honour

    @property
    def on_gradients(self) -> bool:
        """Whether gradients must go through autograd: parameters have hooks, or are frozen."""
        return any(
            not p.requires_grad or p._backward_hooks or p._post_accumulate_grad_hooks for p in self.flat.views
        )

    def on_update(self, optimizer: torch.optim.Optimizer) -> bool:
        """Whether torch must make the update, because the kernels do not know this optimizer, or it was changed."""
        if optimizer is not self.optimizer or vars(optimizer).get("step") is not self.step:
            return True
        if optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:
            return True
        if optimizers._global_optimizer_pre_hooks or optimizers._global_optimizer_post_hooks:
            return True
        if optimizer_obstacle(optimizer) or is_foreign(type(optimizer).step):
            return True
        trained, ours = optimizer.param_groups[0]["params"], self.flat.views
        return len(trained) != len(ours) or any(a is not b for a, b in zip(trained, ours, strict=True))

    def moved(self) -> bool:
        """Whether the memory of a parameter or a buffer was replaced, as by `weight.data = ...`."""
        parameters = zip(self.flat.views, self.flat.addresses, strict=True)
        return any(p.data_ptr() != at for p, at in parameters) or any(
            _place(module, name) != at for module, name, at in self.buffers
        )


def _place(module: nn.Module, name: str) -> int | None:
    buffer = getattr(module, name, None)
    return buffer.data_ptr() if isinstance(buffer, Tensor) else None


@cache
def _methods(cls: Any) -> frozenset[str]:
    return frozenset(name for name in dir(cls) if callable(getattr(cls, name, None)) and name != "__class__")


def _simple(module: nn.Module) -> dict[str, Any]:
    return {
        key: value
        for key, value in vars(module).items()
        if (isinstance(value, SIMPLE) or (type(value) is tuple and all(isinstance(v, SIMPLE) for v in value)))
        and key != "training"
        and not key.startswith("_")
    }


def changed(task: nn.Module) -> str | None:
    """Names a property of a model that the kernels cannot take over, such as a hook; None where there is none."""
    parameters = list(task.named_parameters())
    for at, module in task.named_modules():
        if parametrize.is_parametrized(module) and not (
            isinstance(module, Cell) and mirrored.obstacle(module) is None
        ):
            return f"{at} is parametrized"
        if module._forward_hooks or module._forward_pre_hooks:
            return f"{at or type(task).__name__} has a hook"
    lies = sorted((p.data_ptr(), p.data_ptr() + 4 * p.numel(), name) for name, p in parameters if p.numel())
    for (_, end, name), (begin, _, other) in pairwise(lies):
        if begin < end:
            return f"{name} and {other} share their values"
    return None


def same_bits(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one.view(torch.int32), other.view(torch.int32))


def surroundings() -> str | None:
    """Names a global setting of torch that would change a step; None where there is none."""
    if _has_any_global_hook():
        return "all modules have a hook"
    if torch._C._autograd._top_saved_tensors_default_hooks(True) is not None:
        return "saved tensors have hooks"
    modes = [*_get_current_function_mode_stack(), *_get_current_dispatch_mode_stack()]
    if strange := [type(mode).__name__ for mode in modes if not isinstance(mode, DeviceContext)]:
        return f"{strange[0]} wants to see each operation"
    if torch.is_autocast_enabled("cpu"):
        return "autocast is on"
    if torch.is_anomaly_enabled():
        return "autograd looks for anomalies"
    return None


def refusal(stack: Stack, why: str) -> UserError:
    """The error for a change that the kernels' steps would ignore; it names the engines that honour it."""
    weight = next(stack.parameters())
    able = [
        f"model.engine={name}"
        for name in ("torch", "reference")
        if engines.engine(name).obstacle(
            cast(Cell, stack.layers[0]), weight.device, stack.precision or "32-true"
        )
        is None
    ]
    return UserError(f"{why}, which the native engine's steps would ignore; train with {' or '.join(able)}")


def same(one: Any, other: Any) -> bool:
    """Whether two batches hold the same tensors."""
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and one.shape == other.shape and torch.equal(one, other)
    if isinstance(one, tuple | list):
        return (
            isinstance(other, tuple | list)
            and len(one) == len(other)
            and all(same(a, b) for a, b in zip(one, other, strict=True))
        )
    return bool(one == other)
