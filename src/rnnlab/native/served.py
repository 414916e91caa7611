"""Which tasks and optimizers have their whole steps on the kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rnnlab.native import bindings as lib
from rnnlab.native.engine import SERVED
from rnnlab.native.flat import BUFFERS

if TYPE_CHECKING:
    from rnnlab.tasks.task import Task


def obstacle(task: Task, optimizer: torch.optim.Optimizer | None = None) -> str | None:
    """Why whole steps of a task cannot run on the kernels; None where they can.

    Asks for the three tasks of rnnlab themselves, for the cells that the kernels know in float32 on the CPU, all
    parameters trained, and one group of a plain Adam, AdamW, SGD or RMSprop.
    """
    from rnnlab.tasks import CharLM, Classifier, Forecaster

    if type(task) not in (Forecaster, CharLM, Classifier):
        return f"{type(task).__name__} is not a task that the kernels know"
    for method in ("forward", "loss", "criterion", "training_step", "carried_loss"):
        if method in vars(task):
            return f"{type(task).__name__}.{method} was replaced"
    if task.stack.kind not in SERVED:
        return f"the native engine has no kernels for {task.stack.kind.__name__}"
    if len(task.stack.layers) > lib.MAX_CELLS:
        return f"the kernels take at most {lib.MAX_CELLS} cells (layers times directions)"
    for name, parameter in task.named_parameters():
        if parameter.dtype != torch.float32 or parameter.device.type != "cpu":
            return f"{name} is {parameter.dtype} on {parameter.device}"
        if not parameter.requires_grad:
            return f"{name} is frozen"
    if optimizer is not None and (why := _optimizer_obstacle(optimizer)):
        return why
    return lib.obstacle()


def _optimizer_obstacle(optimizer: torch.optim.Optimizer) -> str | None:
    if type(optimizer) not in BUFFERS:
        return f"the kernels have no {type(optimizer).__name__}"
    if len(optimizer.param_groups) != 1:
        return "the optimizer has several groups of parameters"
    group = optimizer.param_groups[0]
    for option in ("amsgrad", "maximize", "capturable", "differentiable"):
        if group.get(option):
            return f"the kernels have no {type(optimizer).__name__} with {option}"
    for option, value in group.items():
        if option != "params" and isinstance(value, Tensor):
            return f"the optimizer's {option} is a tensor"
    return None
