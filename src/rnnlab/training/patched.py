"""Finds functions of torch and rnnlab that were replaced globally, as by `nn.Linear.forward = ...`.

A function is recognised by its source file: torch's own lie in torch's folder.
"""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import lightning
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import clip_grad

import rnnlab

# where original functions are defined; contextlib wraps those that are context managers
ORIGINAL = (
    *(str(Path(str(package.__file__)).parent) for package in (torch, lightning, rnnlab)),
    contextlib.__file__,
    "<",  # a built-in module, or generated code
)
PACKAGES = ("torch", "lightning", "rnnlab")
# functions that a training step looks up in a module, when it calls them
FUNCTIONS: dict[str, tuple[Any, str]] = {
    f"{owner.__name__}.{name}": (owner, name)
    for owner, names in (
        (functional, ("linear", "embedding", "mse_loss", "l1_loss", "huber_loss", "cross_entropy",
                      "binary_cross_entropy_with_logits", "dropout")),
        (clip_grad, ("clip_grad_norm_", "clip_grad_value_")),
        (torch, ("sigmoid", "tanh", "relu")),
        (torch.Tensor, ("backward", "chunk", "sigmoid", "tanh")),
    )
    for name in names
}  # fmt: skip


class Functions:
    """The functions that a step of these modules calls, as they were when this object was made."""

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        classes = {c for module in modules for c in type(module).__mro__ if c is not object}
        self.own = [c for c in classes if str(c.__module__).split(".")[0] in PACKAGES]
        self.before = next(self._foreign(), None)
        called = ("forward", "__call__", "step", "recur", "project", "advance", "loss", "criterion", "said")
        self.watched = [
            (vars(c), c, name, vars(c)[name]) for c in classes for name in called if name in vars(c)
        ]
        self.watched += [(vars(o), o, name, getattr(o, name)) for o, name in FUNCTIONS.values()]

    def replaced(self) -> str | None:
        """The name of a function that was replaced, before this object was made or since; None where there is none."""
        for now, owner, name, function in self.watched:
            if now.get(name, function) is not function:
                return named(owner, name)
        return self.before

    def _foreign(self) -> Iterator[str]:
        for owner in self.own:
            for name, value in vars(owner).items():
                if type(value) is FunctionType and is_foreign(value):
                    yield named(owner, name)
        for owner, name in FUNCTIONS.values():
            if is_foreign(getattr(owner, name)):
                yield named(owner, name)


def named(owner: Any, name: str) -> str:
    return f"{owner.__name__}.{name}"


def is_foreign(function: Any) -> bool:
    """Whether a function, or one that it wraps, is defined outside torch, Lightning and rnnlab.

    A built-in function has no file, and counts as original.
    """
    while function is not None:
        code = getattr(function, "__code__", None)
        if code is not None and not code.co_filename.startswith(ORIGINAL):
            return True
        if getattr(function, "__globals__", {}).get("__name__") == "__main__":  # a notebook's has no file
            return True
        function = getattr(function, "__wrapped__", None)
    return False
