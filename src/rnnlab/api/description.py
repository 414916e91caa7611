"""Objects as nodes of a config: a class by its dotted path, with the arguments that it was called with.

These are read from the object: from `save_hyperparameters()`, else from the attributes that have the names of its
constructor's parameters. The object is made again from them, and must be the same but for random numbers. One that is
not is handed over as it is, and its run is marked as not reproducible.
"""

import inspect
import math
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rnnlab.errors import UserError
from rnnlab.runs.generators import left_alone
from rnnlab.runs.kept_source import Unrecordable, target_of
from rnnlab.runs.objects import hand_over

OFFERED = ("spec", "seed", "optimizer", "scheduler")  # arguments of a module that the run itself gives
ALIASES = {"save_dir": ("_save_dir", "_root_dir")}  # where Lightning's loggers keep it
KEEP = "self.{name} = {name} or self.save_hyperparameters() in its constructor does, functools.partial says it, too"


def node_of(thing: Any, at: str) -> dict[str, Any]:
    """The node of a class, of a functools.partial of one, or of an instance.

    Raises UserError where a partial's argument cannot be recorded: only an instance is trained as it is.
    """
    if inspect.isclass(thing) or isinstance(thing, partial):
        made = thing if isinstance(thing, partial) else partial(thing)
        try:
            return {"_target_": target_of(made.func)} | {
                k: v for k, v in named(made).items() if given_by_user(at, k)
            }
        except (Unrecordable, TypeError) as error:
            raise UserError(f"{at}: {made.func.__name__}: {error}; hand over an instance of it") from None
    kind = type(thing)
    try:
        target, arguments = target_of(kind), checked(thing, kind, called_with(thing))
    except Unrecordable as error:
        return hand_over(thing, str(error))
    return {"_target_": target} | {k: v for k, v in arguments.items() if given_by_user(at, k)}


def by_default(thing: Any) -> dict[str, Any]:
    """The defaults of what `node_of` makes a node of, as far as a config can hold them."""
    made: Any = thing.func if isinstance(thing, partial) else thing if inspect.isclass(thing) else type(thing)
    return named(partial(made))


def given_by_user(at: str, name: str) -> bool:
    return at != "module" or name not in OFFERED


def named(made: partial[Any]) -> dict[str, Any]:
    """The arguments of a partial by name, with the defaults that a config can hold."""
    signature = inspect.signature(made.func)
    bound = signature.bind_partial(*made.args, **made.keywords).arguments
    found: dict[str, Any] = {}
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            found |= {key: plain(value, key) for key, value in bound.get(name, {}).items()}
        elif parameter.kind is parameter.VAR_POSITIONAL and bound.get(name):
            raise Unrecordable("its arguments have no names")
        elif name in bound:
            found[name] = plain(bound[name], name)
        elif parameter.default is not parameter.empty:
            with suppress(Unrecordable):
                found[name] = plain(parameter.default, name)
    return found


def called_with(thing: Any) -> dict[str, Any]:
    """What the constructor was called with, as far as the object tells. Raises Unrecordable where it does not."""
    kept: dict[str, Any] = {**vars(thing), **dict(getattr(thing, "hparams_initial", None) or {})}
    found = {}
    for name, parameter in inspect.signature(type(thing)).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        at = next((n for n in (name, f"_{name}", *ALIASES.get(name, ())) if n in kept), None)
        if at is not None:
            found[name] = plain(kept[at], name)
        elif parameter.default is parameter.empty:
            raise Unrecordable(f"its argument {name} is not kept on it: {KEEP.format(name=name)}")
    return found


def plain(value: Any, name: str) -> Any:
    """A value as a config holds it: numbers, texts, lists and mappings of them. Raises Unrecordable for another."""
    if isinstance(value, Path):
        return str(value)
    if type(value).__module__ == "numpy" and hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        raise Unrecordable(f"its argument {name} is {value}")
    if isinstance(value, str) and "${" in value:
        raise Unrecordable(
            f"its argument {name} holds what a config would replace, a dollar sign with a brace"
        )
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, list | tuple):
        return [plain(v, name) for v in value]
    if isinstance(value, dict) and all(
        isinstance(k, str) and k.isidentifier() and k[0] != "_" for k in value
    ):
        return {k: plain(v, name) for k, v in value.items()}
    raise Unrecordable(f"its argument {name} is a {type(value).__name__}, and not numbers or text")


def checked(thing: Any, kind: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments with which another object is the same as `thing` but for random numbers.

    Raises Unrecordable where there are none: it was changed since, or keeps its arguments changed (a sign is tried, for
    EarlyStopping keeps that of min_delta as its mode has it).
    """
    at = ""
    for _ in range(2):
        with left_alone():
            try:
                other = kind(**arguments)
            except Exception as error:
                raise Unrecordable(f"it cannot be made again: {type(error).__name__}: {error}") from error
        if not (at := difference(thing, other).lstrip(".")):
            return arguments
        if not isinstance(value := arguments.get(at), int | float):
            break
        arguments = arguments | {at: -value}
    place = at.replace("_modules.", "").replace("_parameters.", "").replace("_buffers.", "")
    lost = [name for name in inspect.signature(kind).parameters if name not in arguments]
    hint = f"; {lost[0]} is not kept on it: {KEEP.format(name=lost[0])}" if lost else ""
    raise Unrecordable(f"it is not what {kind.__name__}({shown(arguments)}) makes: {place} differs{hint}")


def shown(arguments: dict[str, Any]) -> str:
    text = ", ".join(f"{k}={v!r}" for k, v in arguments.items())
    return text if len(text) < 80 else f"{text[:77]}..."


def difference(a: Any, b: Any, at: str = "", seen: dict[Any, Any] | None = None) -> str:
    """Where two objects differ, "" where nowhere. Tensors are compared by shape, type, and how often they were changed
    in place: their numbers may be random, and a weight that was loaded or trained has changed more often.
    """
    seen = {} if seen is None else seen
    if a is b or (id(a), id(b)) in seen:
        return ""
    seen[id(a), id(b)] = a, b  # kept, so that no other object gets their ids
    here = at or "it"
    a, b = (one.item() if isinstance(one, np.generic) else one for one in (a, b))
    if isinstance(a, str | Path) and isinstance(b, str | Path):
        return "" if str(a) == str(b) else here
    if isinstance(a, bool | int | float) and isinstance(b, bool | int | float):
        return "" if a == b or (a != a and b != b) else here
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        if len(a) != len(b):
            return here
        return next(
            (
                d
                for i, (x, y) in enumerate(zip(a, b, strict=True))
                if (d := difference(x, y, f"{at}[{i}]", seen))
            ),
            "",
        )
    if type(a) is not type(b):
        return here
    if isinstance(a, torch.Tensor):
        one, other = ((t.shape, t.dtype, t.requires_grad, t.is_inference() or t._version) for t in (a, b))
        return "" if one == other else here
    if isinstance(a, np.ndarray):
        return "" if np.array_equal(a, b) else here
    if isinstance(a, dict):
        if a.keys() != b.keys():
            return f"{at}.{next(iter(a.keys() ^ b.keys()))}"
        return next((d for key in a if (d := difference(a[key], b[key], f"{at}.{key}", seen))), "")
    if inspect.isroutine(a) or inspect.isclass(a):
        return "" if getattr(a, "__qualname__", a) == getattr(b, "__qualname__", b) else here
    if hasattr(a, "__dict__"):
        mine, theirs = (
            {k: v for k, v in vars(one).items() if k != "training"} for one in (a, b)
        )  # a fit sets it
        if (
            not at and hasattr(a, "train_dataloader") and not hasattr(a, "training_step")
        ):  # set up, it has more
            mine = {key: value for key, value in mine.items() if key in theirs}
        return difference(mine, theirs, at, seen)
    return "" if a == b or not isinstance(a, str | bytes | complex | set | frozenset) else here
