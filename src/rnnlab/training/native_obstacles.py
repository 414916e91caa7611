"""Decides whether the kernels can take a task's whole optimizer steps; if not, gives the reason."""

from typing import Any

import torch
from lightning.pytorch import LightningModule

from rnnlab.data.loader import Loader
from rnnlab.data.module import SequenceData
from rnnlab.native.sources import MAX_ROWS
from rnnlab.native.spec import obstacle
from rnnlab.recurrence.outline import Outline
from rnnlab.tasks.task import OVERRIDABLE, Task, redefined
from rnnlab.training.interventions import changed
from rnnlab.training.patched import is_foreign

PER_GRADIENT = ("on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step")
SKIPPED = (*PER_GRADIENT, "training_step", "backward", "manual_backward", "optimizer_step", "optimizer_zero_grad",
           "clip_gradients", "configure_gradient_clipping", "lr_scheduler_step")  # fmt: skip
SCORED = {
    "scores",
    "scoring",
    "output_and_truth",
    "scores_from_sums",
    "rank",
    "ranks",
    "validation_step",
    "test_step",
}


def steps_obstacle(task: LightningModule, data: Any) -> str | None:
    """Why the kernels cannot take a task's optimizer steps; None where they can.

    Depends on the task, its optimizer and the data, never on callbacks or loggers.
    """
    name = type(task).__name__
    if not isinstance(task, Task) or (model := task.outline()) is None:
        return f"{name} is not a task that the kernels know"
    # the outline of a class does not describe a subclass with another forward or loss
    outlined = next(kind for kind in type(task).__mro__ if "outline" in vars(kind))
    own = {method for method in redefined(type(task), outlined) if not method.startswith("on_")}
    if own := own - OVERRIDABLE - SCORED:
        return f"{name} has its own {min(own)}"
    replaced = {method for method in vars(task) if callable(getattr(type(task), method, None))}
    if replaced := replaced - OVERRIDABLE - SCORED:
        return f"{name}.{min(replaced)} was replaced"
    for method in SKIPPED:
        if is_foreign(getattr(type(task), method)):
            return f"{name} has its own {method}"
    if task.optimization.copied_rate != 1.0:
        return "the kernels have one rate for all parameters"
    if task.optimization.accumulate > 1:
        return "the kernels do not accumulate batches"
    if not isinstance(data, SequenceData) or type(data).native_source is SequenceData.native_source:
        return f"the kernels cannot read {type(data).__name__}"
    kinds = type(data).__mro__
    read, *others = (next(i for i, kind in enumerate(kinds) if method in vars(kind))
                     for method in ("native_source", "loader", "train_dataloader"))  # fmt: skip
    if min(others) < read:  # its batches differ from those of the `native_source` that it inherits
        return f"{type(data).__name__} has a loader of its own"
    first, second = (data.loader("train", shuffle=True) for _ in range(2))
    if code_of(getattr(first, "fetch", None)) is not code_of(getattr(second, "fetch", None)):
        return f"what the loader of {type(data).__name__} fetches is no function or method"
    if largest(data) > MAX_ROWS:
        return f"the kernels take batches of at most {MAX_ROWS:,} rows"
    if why := changed(task):
        return why
    if why := another_parameter(task, model):
        return why
    return obstacle(model, task.optimization.optimizer(task.parameters()))


def another_parameter(task: LightningModule, model: Outline) -> str | None:
    """Names a parameter of a task that its outline does not have; None where there is none."""
    known = {id(parameter) for _, parameter in model.named_parameters()}
    more = (name for name, parameter in task.named_parameters() if id(parameter) not in known)
    return next((f"{type(task).__name__} has a parameter {name}" for name in more), None)


def largest(data: SequenceData) -> int:
    """Rows of the largest training batch."""
    loader = data.loader("train")
    if not isinstance(loader, Loader):
        return 0
    return max((len(b) for b in loader.batches if isinstance(b, torch.Tensor)), default=0)


def code_of(function: Any) -> Any:
    """A key by which two `fetch` functions are compared: methods of two loaders share their code. A partial, or another
    callable object, equals no other.
    """
    return getattr(function, "__code__", function)
