"""Compares an object with another from the same constructor, except for random numbers and traces of a training."""

import datetime
import dis
import functools
import inspect
import re
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule
from torch import nn

from rnnlab.runs.kept_source import Unrecordable, target_of
from rnnlab.tasks.task import Task

# attributes that a Trainer sets on modules, data and callbacks
BY_TRAINER = {"training", "trainer", "_trainer", "_fabric", "_current_fx_name", "_metric_attributes",
              "_param_requires_grad_state"}  # fmt: skip
# objects without parts of their own, which == compares
VALUES = (str, bytes, bytearray, complex, set, frozenset, range, slice, Decimal, re.Pattern, np.dtype, torch.device,
          torch.dtype, datetime.date, datetime.time, datetime.timedelta)  # fmt: skip
TABLES = ("pandas", "polars", "pyarrow", "xarray")  # packages whose objects have a method `equals`
CALLED = {*dir(LightningModule), *dir(LightningDataModule), *dir(Callback)} - {
    *dir(object),
    "save_hyperparameters",
}


def difference(a: Any, b: Any, at: str = "", seen: dict[Any, Any] | None = None, exact: bool = False) -> str:
    """The place where two objects differ; "" where they are equal. Tensors are compared by shape, dtype, requires_grad
    and the count of changes in place: their numbers may be random, and a weight that was loaded or trained has a higher
    count. With `exact`, their numbers are compared, and so are attributes that a use of the objects has set.
    """
    seen = {} if seen is None else seen
    further = functools.partial(difference, seen=seen, exact=exact)
    if a is b or (id(a), id(b)) in seen:
        return ""
    seen[id(a), id(b)] = a, b  # kept, so that no other object gets their ids
    here = at or "it"
    a, b = (one.item() if isinstance(one, np.generic) else one for one in (a, b))
    if isinstance(a, str | Path) and isinstance(b, str | Path):
        return "" if str(a) == str(b) else here
    if isinstance(a, bool | int | float) and isinstance(b, bool | int | float):
        return "" if a == b or (a != a and b != b) else here
    if isinstance(a, list | tuple | deque) and isinstance(b, list | tuple | deque):
        if len(a) != len(b):
            return here
        pairs = enumerate(zip(a, b, strict=True))
        return next((d for i, (x, y) in pairs if (d := further(x, y, f"{at}[{i}]"))), "")
    if isinstance(a, partial) and isinstance(b, partial):  # of two classes, perhaps: Hydra has its own
        return further([a.func, a.args, a.keywords], [b.func, b.args, b.keywords], at)
    if not same_kind(a, b):
        return here
    if isinstance(a, torch.Tensor) and any(
        seen.setdefault((side, id(one)), other) is not other
        for side, one, other in (("a", a, b), ("b", b, a))
    ):
        return here  # tied weights on one side (one tensor in two places), two tensors on the other
    if isinstance(a, torch.Tensor) and exact:
        return "" if a.dtype == b.dtype and torch.equal(a, b) else here
    if isinstance(a, torch.Tensor):
        one, other = ((t.shape, t.dtype, t.requires_grad, t.is_inference() or t._version) for t in (a, b))
        return "" if one == other else here
    if isinstance(a, np.ndarray):
        return "" if np.array_equal(a, b, equal_nan=a.dtype.kind in "fc" and b.dtype.kind in "fc") else here
    if isinstance(a, dict):
        if a.keys() != b.keys():
            return f"{at}.{next(iter(a.keys() ^ b.keys()))}"
        return next((d for key in a if (d := further(a[key], b[key], f"{at}.{key}"))), "")
    if isinstance(a, VALUES):
        return "" if a == b else here
    if inspect.isroutine(a) or inspect.isclass(a):
        return "" if getattr(a, "__qualname__", a) == getattr(b, "__qualname__", b) else here
    if type(a).__module__.partition(".")[0] in TABLES and hasattr(a, "equals"):
        return "" if a.equals(b) else here
    if hasattr(a, "__dict__"):
        later = BY_TRAINER if exact else set(left_behind(a, vars(b)))
        if not vars(a).get("_hparams"):  # reading `hparams` creates an empty one
            later = later | {"_hparams"}
        if isinstance(a, Task):
            later = later | {"made_with"}
        mine, theirs = ({k: v for k, v in vars(one).items() if k not in later} for one in (a, b))
        return further(mine, theirs, at)
    return further(_slots(a), _slots(b), at)


def _slots(thing: Any) -> dict[str, Any]:
    """The attributes of an object without `__dict__`, of a class with `__slots__`; {} for others."""
    named = (vars(kind).get("__slots__", ()) for kind in type(thing).__mro__)
    names = [name for one in named for name in ([one] if isinstance(one, str) else one)]
    return {name: getattr(thing, name) for name in names if hasattr(thing, name)}


SCALE = 4.0  # standard deviations of two fresh weights with ENOUGH numbers differ by less than this factor
ENOUGH, MANY = 16, 256
REACH = 1.6  # with MANY numbers, the largest absolute value is at most this factor above that of the other weights
CHANCE = 2.9  # critical value of the Kolmogorov-Smirnov test: one fresh weight in ten million exceeds it
COMPARED = 50_000  # numbers of a weight that are compared, about


def edited(module: nn.Module, made: list[nn.Module]) -> str:
    """The first weight of a module that its constructor cannot have drawn; "" where there is none.

    `made` are modules that the constructor made. This finds edits through `.data`, which torch does not count as
    changes in place: the weight differs though all of `made` agree, or it is constant, not finite, or of another
    distribution.
    """
    drawn = [_tensors(one) for one in made]
    for name, tensor in _tensors(module).items():
        if not all(name in others for others in drawn) or nn.parameter.is_lazy(tensor):
            continue
        theirs = [others[name] for others in drawn]
        if all(torch.equal(one, theirs[0]) for one in theirs[1:]):
            if not torch.equal(tensor, theirs[0]):
                return name
        elif tensor.is_floating_point() and not _alike(*(_sample(one) for one in (tensor, *theirs))):
            return name
    return ""


def _tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: t.detach() for name, t in (*module.named_parameters(), *module.named_buffers())}


def _sample(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.flatten()[:: 1 + tensor.numel() // COMPARED].double().sort().values


def _alike(one: torch.Tensor, *others: torch.Tensor) -> bool:
    """Whether the numbers of one weight may come from the distribution of the others; all are sorted, of one size."""
    n = len(one)
    if not one.isfinite().all():
        return False
    if n < ENOUGH:
        return n < 2 or bool(one[0] != one[-1])
    if len(others) > 2 and any(_distance(other, others[0]) > CHANCE * (2 / n) ** 0.5 for other in others[1:]):
        return True  # the others differ among each other: their distribution is itself drawn at random
    spread = max(other.std() for other in others)
    if (
        not spread / SCALE <= one.std() <= spread * SCALE
        or (one.mean() - others[0].mean()).abs() > spread * SCALE
    ):
        return False
    if n >= MANY and one.abs().max() > REACH * max(other.abs().max() for other in others):
        return False
    bound = CHANCE * ((1 + 1 / len(others)) / n) ** 0.5
    return _distance(one, torch.cat(others).sort().values) <= bound


def _distance(one: torch.Tensor, other: torch.Tensor) -> float:
    """The Kolmogorov-Smirnov distance of two empirical distributions, from sorted numbers."""
    at = torch.cat([one, other])
    below = (torch.searchsorted(numbers, at, right=True) / len(numbers) for numbers in (one, other))
    return float((next(below) - next(below)).abs().max())


def same_kind(a: Any, b: Any) -> bool:
    """Whether two objects are of one class, or of two classes with the same name and source."""
    if type(a) is type(b):
        return True
    with suppress(Unrecordable, AttributeError):
        return type(a).__name__ == type(b).__name__ and target_of(type(a)) == target_of(type(b))
    return False


def left_behind(used: Any, made: dict[str, Any]) -> Iterator[str]:
    """The attributes that a use of an object sets: by a Trainer, or by methods that a Trainer calls (`setup`,
    `train_dataloader` ...). Also the collections, empty at first, that these methods may fill.
    """
    yield from BY_TRAINER
    kind: type = type(used)
    stored, loaded = used_by_hooks(kind)
    # no Trainer has had this object: an attribute that began with a value was changed by hand
    fresh = isinstance(used, LightningModule | LightningDataModule) and not any(
        vars(used).get(name) is not None for name in ("trainer", "_trainer")
    )
    yield from (name for name in stored if not fresh or _is_nothing(made.get(name)))
    yield from (name for name in loaded if isinstance(made.get(name), list | dict | set) and not made[name])


def filled_by_hooks(used: Any, made: dict[str, Any]) -> list[str]:
    """The attributes, empty at first, that methods called by a Trainer have set; without lists, to which each call may
    have added.
    """
    kind: type = type(used)
    stored, _ = used_by_hooks(kind)
    late = [name for name in stored & vars(used).keys() if _is_nothing(made.get(name))]
    return sorted(
        name for name in late if not _is_nothing(vars(used)[name]) and not isinstance(made.get(name), list)
    )


def _is_nothing(value: Any) -> bool:
    return value is None or value is False or (isinstance(value, list | dict | set | tuple) and not value)


@functools.cache
def used_by_hooks(kind: type) -> tuple[frozenset[str], frozenset[str]]:
    """The names of attributes that methods called by a Trainer set, and that they read, directly or through others."""
    stored, loaded = set[str](), set[str]()
    methods = {
        name: f for c in reversed(kind.__mro__) for name, f in vars(c).items() if inspect.isfunction(f)
    }
    waiting = [name for name in methods if name in CALLED and not _is_lightnings(methods[name])]
    done = {"__init__", *waiting}
    while waiting:
        for instruction in _instructions(inspect.unwrap(methods[waiting.pop()]).__code__):
            name = str(instruction.argval)
            if instruction.opname == "STORE_ATTR":
                stored.add(name)
            elif instruction.opname in ("LOAD_ATTR", "LOAD_METHOD"):
                loaded.add(name)
                if name in methods and name not in done and not _is_lightnings(methods[name]):
                    done.add(name)
                    waiting.append(name)
    return frozenset(stored), frozenset(loaded)


def _is_lightnings(function: Any) -> bool:
    """Whether a function is Lightning's or torch's own: such methods set attributes of the library."""
    return str(function.__module__).startswith(("lightning.pytorch.core.", "torch.", "lightning.fabric."))


def _instructions(code: CodeType) -> Iterator[dis.Instruction]:
    yield from dis.get_instructions(code)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _instructions(constant)
