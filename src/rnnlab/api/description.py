"""Objects as nodes of a config: the dotted path of a class, with the arguments that the object was made with.

The arguments are read from the object: from `save_hyperparameters()`, else from the attributes that have the names of
the constructor's parameters. An argument that is an object becomes a node inside the node. To check the node, another
object is made from it; it must equal the first, except for random numbers. An object that fails this check is trained
as it is, and its run is marked as not reproducible.
"""

import copy
import enum
import inspect
import math
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import nn

from rnnlab.api.difference import difference, edited, filled_by_hooks
from rnnlab.cells.registry import resolve
from rnnlab.config.building import build
from rnnlab.config.inner import BY_NAME
from rnnlab.config.model_schema import CELLS, MODELS
from rnnlab.errors import UserError
from rnnlab.recurrence.stack import Stack
from rnnlab.runs.generators import left_alone
from rnnlab.runs.kept_source import Unrecordable, imported_as, target_of
from rnnlab.runs.objects import hand_over
from rnnlab.tasks.task import Task

OFFERED = ("spec", "seed", "optimizer", "scheduler")  # arguments of a module that the run itself passes
# argument: the attributes in which Lightning's loggers keep it
ALIASES = {"save_dir": ("_save_dir", "_root_dir")}
KEEP = "write self.{name} = {name} or self.save_hyperparameters() in its constructor, or give a functools.partial"


def node_of(thing: Any, at: str) -> dict[str, Any]:
    """The config node of a class, of a functools.partial of a class, or of an instance.

    An instance that cannot be recorded gets a node that stands for the object itself. Raises UserError where an
    argument of a class or a partial cannot be recorded, and for a module that torch.compile has wrapped.
    """
    if type(thing).__module__.startswith("torch._dynamo."):  # by name: importing torch._dynamo takes seconds
        raise UserError(
            f"{at}: torch.compile has wrapped it; call .compile() of its layers in its constructor instead"
        )
    if inspect.isclass(thing) or isinstance(thing, partial):
        made = thing if isinstance(thing, partial) else partial(thing)
        try:
            node = Description().call(made)
        except (Unrecordable, TypeError) as error:
            raise UserError(f"{at}: {made.func.__name__}: {error}; hand over an instance of it") from None
    else:
        try:
            node = recorded(thing)
        except Unrecordable as error:
            return hand_over(thing, str(error))
    if at != "module":
        return node
    # the config of every run with a task of rnnlab has this key, but no constructor takes it
    whole = {"init_from": None} if node["_target_"] in MODELS else {}
    return {key: value for key, value in node.items() if key not in OFFERED} | whole


def by_default(thing: Any) -> dict[str, Any]:
    """The default arguments of a thing's class as a node, without those that a config cannot hold."""
    made: Any = thing.func if isinstance(thing, partial) else thing if inspect.isclass(thing) else type(thing)
    return Description().call(partial(made))


class Description:
    """Makes the nodes of an object and of the objects in it. With `exact`, paths and tuples become nodes, too; without
    it they become texts and lists, as in any config. With `keywords`, saved hyperparameters that no parameter has the
    name of are the arguments of a **kwargs.
    """

    def __init__(self, exact: bool = False, keywords: bool = False) -> None:
        self.exact, self.keywords = exact, keywords
        self.held: dict[int, Any] = {}

    def instance(self, thing: Any) -> dict[str, Any]:
        """The node of an instance, read from its attributes. Raises Unrecordable where it lacks a needed argument."""
        kind: Any = type(thing)
        if id(thing) in self.held:
            raise Unrecordable(f"it holds the same {kind.__name__} twice")
        self.held[id(thing)] = thing
        if isinstance(thing, Task):
            args, kwargs = thing.made_with
            return self.call(partial(kind, *args, **kwargs))
        node: dict[str, Any] = {"_target_": target_of(kind)}
        kept = attributes(thing)
        try:
            parameters = inspect.signature(nn.RNNBase if isinstance(thing, nn.RNNBase) else kind).parameters
        except ValueError:
            raise Unrecordable(f"the arguments of {kind.__name__} are not known") from None
        for name, parameter in parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD and self.keywords:
                saved = dict(getattr(thing, "hparams_initial", None) or {})
                keywords = {
                    key: value for key, value in saved.items() if key not in parameters and is_key(key)
                }
                node |= {key: self.value(value, key) for key, value in keywords.items()}
            if parameter.kind is parameter.VAR_KEYWORD or (name == "mode" and isinstance(thing, nn.RNNBase)):
                continue
            if name == "proj_size" and not isinstance(thing, nn.LSTM):  # RNN and GRU do not take it back
                continue
            if parameter.kind is parameter.VAR_POSITIONAL:
                if kind is nn.Sequential and [*kept] == [str(i) for i in range(len(kept))]:
                    node["_args_"] = [self.value(layer, name) for layer in kept.values()]
                continue
            at = next((n for n in (name, f"_{name}", *ALIASES.get(name, ())) if n in kept), None)
            if at is not None:
                node[name] = self.value(kept[at], name)
            elif isinstance(thing, nn.ModuleList) and name == "modules":
                node[name] = [self.value(one, name) for one in thing]
            # such as bias= of torch's layers
            elif isinstance(thing, nn.Module) and isinstance(parameter.default, bool):
                if name in thing._parameters:
                    node[name] = thing._parameters[name] is not None
            elif parameter.default is parameter.empty:
                raise Unrecordable(f"its argument {name} is not kept on it: {KEEP.format(name=name)}")
        return node

    def call(self, made: partial[Any]) -> dict[str, Any]:
        """The node of a partial: its arguments by name, and the defaults that a config can hold."""
        signature = inspect.signature(made.func)
        bound = signature.bind_partial(*made.args, **made.keywords).arguments
        node: dict[str, Any] = {"_target_": target_of(made.func)}
        for name, parameter in signature.parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                given = bound.get(name, {})
                if node["_target_"] in MODELS:  # these go to its stack
                    given = of_stack() | given
                    if "cell" in given:
                        given["cell"] = name_of(given["cell"])
                node |= {key: self.value(value, key) for key, value in given.items()}
            elif parameter.kind is parameter.VAR_POSITIONAL and bound.get(name):
                raise Unrecordable("its arguments have no names")
            elif name in bound:
                node[name] = self.value(bound[name], name)
            elif parameter.default is not parameter.empty:
                with suppress(Unrecordable):
                    node[name] = self.value(parameter.default, name)
        return node

    def value(self, value: Any, name: str) -> Any:
        """A value as a config holds it: a number, text, list or mapping as such, anything else as a node.

        Raises Unrecordable for a value that cannot be made again.
        """
        if type(value).__module__ == "numpy" and hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
            value = value.item()
        if isinstance(value, float) and not math.isfinite(value):
            raise Unrecordable(f"its argument {name} is {value}")
        if isinstance(value, str) and "${" in value:
            raise Unrecordable(
                f"its argument {name} holds what a config would replace, a dollar sign with a brace"
            )
        if isinstance(value, enum.Enum):
            return {"_target_": target_of(type(value)), "value": self.value(value.value, name)}
        if value is None or type(value) in (bool, int, float, str):
            return value
        if isinstance(value, Path):
            return {"_target_": "pathlib.Path", "_args_": [str(value)]} if self.exact else str(value)
        if type(value) in (list, tuple):
            values = [self.value(v, name) for v in value]
            return (
                {"_target_": "builtins.tuple", "_args_": [values]}
                if self.exact and type(value) is tuple
                else values
            )
        if isinstance(value, dict) and all(map(is_key, value)):
            return {k: self.value(v, name) for k, v in value.items()}
        try:
            if isinstance(value, partial):
                given = {key: self.value(v, key) for key, v in value.keywords.items()}
                args = [self.value(v, name) for v in value.args]
                node = {"_target_": named(value.func), "_partial_": True} | given
                return node | {"_args_": args} if args else node
            if inspect.isclass(value) or inspect.isroutine(value) or isinstance(value, torch.dtype):
                return {"_target_": BY_NAME, "path": named(value)}
            if not isinstance(value, torch.Tensor) and hasattr(value, "__dict__"):
                return self.instance(value)
        except Unrecordable as error:
            raise Unrecordable(f"its argument {name}, {of_kind(value)}: {error}") from None
        raise Unrecordable(f"its argument {name} is {of_kind(value)}, which a config cannot hold")


def of_stack() -> dict[str, Any]:
    """The defaults of a stack's options, without those that are None."""
    known = inspect.signature(Stack).parameters
    return {name: one.default for name, one in known.items() if one.default not in (one.empty, None)}


def name_of(cell: Any) -> str:
    """A cell as `model.cell` names it."""
    if isinstance(cell, str):
        return cell
    return next((name for name in CELLS if resolve(name) is cell), None) or target_of(cell)


def is_key(key: Any) -> bool:
    """Whether Hydra reads this key of a mapping as it is: it takes `true` for a truth value, and no key in quotes."""
    named = isinstance(key, str) and key.isascii() and key.isidentifier() and key[0] != "_"
    return named and key.lower() not in ("true", "false", "null", "nan", "inf")


def of_kind(value: Any) -> str:
    return f"a {type(value).__name__}"


def named(value: Any) -> str:
    """The dotted path of a class or function. Raises Unrecordable where it has none."""
    if isinstance(value, torch.dtype):
        return str(value)
    if inspect.isclass(value) or inspect.isfunction(value):
        return target_of(value)
    if (path := imported_as(value)) is None:
        raise Unrecordable("it cannot be imported by a name")
    return path


def attributes(thing: Any) -> dict[str, Any]:
    """The attributes of an object by name: instance variables, submodules and saved hyperparameters."""
    inner = dict(thing.named_children()) if isinstance(thing, nn.Module) else {}
    if isinstance(thing, nn.Sequential | nn.ModuleList):
        return inner if isinstance(thing, nn.Sequential) else {}
    return {**vars(thing), **inner, **dict(getattr(thing, "hparams_initial", None) or {})}


def recorded(thing: Any) -> dict[str, Any]:
    """A node that makes an object equal to `thing`, except for random numbers.

    Raises Unrecordable where there is none: the object was changed after it was made, or keeps changed arguments.
    """
    node = Description().instance(thing)
    try:
        return checked(thing, node)
    except Unrecordable:
        tried = [node]
        for exact, keywords in ((True, False), (False, True), (True, True)):
            with suppress(Unrecordable):
                if (other := Description(exact, keywords).instance(thing)) not in tried:
                    tried.append(other)
                    return checked(thing, other)
        raise


def checked(thing: Any, node: dict[str, Any]) -> dict[str, Any]:
    """The node, if it makes an object equal to `thing`; raises Unrecordable if not.

    If one number differs, its negative is tried: EarlyStopping changes the sign of min_delta for some modes.
    """
    at = ""
    for _ in range(2):
        with left_alone():
            try:
                other = build(node, "it")
                others = [build(node, "it") for _ in range(copies(thing))]
            except Exception as error:
                cause = error.__cause__ if isinstance(error, UserError) and error.__cause__ else error
                raise Unrecordable(f"it cannot be made again: {type(cause).__name__}: {cause}") from error
        at = difference(thing, other).lstrip(".") or other_mode(thing, other)
        if not at and isinstance(thing, LightningDataModule) and thing.trainer is None:
            at = set_up_otherwise(thing, other)
        if not at and others:
            at = edited(thing, [other, *others])
        if not at:
            return node
        if not isinstance(value := node.get(at), int | float):
            break
        node = node | {at: -value}
    place = at.replace("_modules.", "").replace("_parameters.", "").replace("_buffers.", "")
    kind = type(thing)
    taken = inspect.signature(kind).parameters.values()
    named = [p.name for p in taken if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    lost = [name for name in named if name not in node]
    hint = f"; {lost[0]} is not kept on it: {KEEP.format(name=lost[0])}" if lost else ""
    if not lost and any(p.kind is p.VAR_KEYWORD for p in taken):
        hint = "; what it takes as **kwargs is recorded of a functools.partial, or after self.save_hyperparameters()"
    raise Unrecordable(f"it is not what {kind.__name__}({shown(node)}) makes: {place} differs{hint}")


def set_up_otherwise(thing: LightningDataModule, other: LightningDataModule) -> str:
    """The attribute of `thing` that was changed after its `setup`; "" where none was, or `setup` was not called.

    A change cannot be seen where `setup` draws the data at random.
    """
    if not (late := filled_by_hooks(thing, vars(other))):
        return ""
    found = ""
    for stage in ("fit", None):
        try:
            made = [copy.deepcopy(other) for _ in range(2)]
            with left_alone():
                for one in made:
                    one.prepare_data()
                    one.setup(stage)  # type: ignore[arg-type]
        except Exception:  # if the training meets the same error, it reports it
            continue
        first, second = ({name: vars(one).get(name) for name in late} for one in made)
        found = difference({name: vars(thing)[name] for name in late}, first, exact=True).lstrip(".")
        if not found or difference(first, second, exact=True):
            return ""
    return found


def other_mode(thing: Any, other: Any) -> str:
    """The first part of a module whose mode (training or evaluation) was changed without the rest; "" where there is
    none. A mode that all parts share is no difference: a use of the module sets it.
    """
    if not isinstance(thing, nn.Module):
        return ""
    pairs = zip(thing.named_modules(), other.modules(), strict=False)
    apart = ((at, a.training is thing.training, b.training is other.training) for (at, a), b in pairs)
    return next((f"{at}.training" for at, ours, theirs in apart if ours is not theirs), "")


def copies(thing: Any) -> int:
    """How many more objects are made to compare the weights with: 7, or 1 for a large module, 0 for no module."""
    if not isinstance(thing, nn.Module):
        return 0
    return 7 if sum(p.numel() for p in thing.parameters() if not nn.parameter.is_lazy(p)) < 1_000_000 else 1


def shown(node: dict[str, Any]) -> str:
    text = ", ".join(f"{k}={short(v)}" for k, v in node.items() if not k.startswith("_"))
    return text if len(text) < 80 else f"{text[:77]}..."


def short(value: Any) -> str:
    if isinstance(value, dict) and "_target_" in value:
        return f"{value['_target_'].rpartition('.')[2]}(...)"
    return repr(value)
