"""Builds objects from config nodes, and reports an error of a constructor in one line."""

import builtins
import copy
import difflib
import importlib
import inspect
import re
import sys
import traceback
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from functools import cache, partial
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from rnnlab.errors import RunFailed, UserError, nearest
from rnnlab.import_path import drawing_alike

WITHOUT_DRAWS = (
    "rnnlab",
    "torch",
    "lightning",
)  # packages that draw no random numbers when they are imported


def build(node: Mapping[str, Any] | DictConfig, at: str, **kwargs: Any) -> Any:
    """Calls `node._target_` with the node's other keys and `kwargs`; returns the result.

    With `_partial_: true` the result is a callable that takes the missing arguments. `at` is the node's
    place in the config, for errors. The node's values are passed as plain lists and dictionaries, `kwargs` as they are.
    Nested nodes with a `_target_` are built first, by Hydra's rules. A key with null that the class does not take, left
    over from another class, is left out: `~KEY` cannot do so, because to Hydra a key with null does not exist. Raises
    UserError, now or when the partial is called, for a `_target_` that does not exist and for an error of its
    constructor, with the place, the value if it is known, and the cause.
    """
    plain: Any = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else dict(node)
    target = plain.get("_target_")
    if not isinstance(target, str):
        raise UserError(f"{at}: has no _target_, the class to build")
    found = locate(target, at)
    plain = {key: value for key, value in plain.items()
             if value is not None or key.startswith("_") or takes(found, key)}  # fmt: skip
    is_partial = plain.get("_partial_", False)
    flat = {k: v for k, v in plain.items() if k not in ("_target_", "_partial_")}
    if target in _INSTANTIATED and all(map(_is_flat, flat, flat.values())):
        make = partial(found, **{k: copy.copy(v) for k, v in flat.items()})
    else:
        # always as a partial, so that Hydra does not see kwargs: it would read dictionaries in them as config
        try:
            make = instantiate({"_convert_": "all", **plain, "_partial_": True})
        except InstantiationException as error:
            raise _named(error, at, plain) from error
        _INSTANTIATED.add(target)
    if lines := list(_words_for_functions(flat, found, at)):
        raise UserError(*lines)
    call = Call(partial(make, **kwargs), at, plain)
    return call if is_partial else call()


# targets that Hydra has accepted before: for plain values it only makes a partial, which takes it 2 ms
_INSTANTIATED: set[str] = set()


def _is_flat(key: str, value: Any) -> bool:
    """Whether Hydra would pass a value on unchanged."""
    if isinstance(value, list):
        return all(isinstance(v, (int, float, type(None))) for v in value)
    if isinstance(value, dict):  # a cell's options
        return not key.startswith("_") and all(
            isinstance(k, str) and not isinstance(v, dict) and _is_flat(k, v) for k, v in value.items()
        )
    plain = not (isinstance(value, str) and ("${" in value or value == "???"))
    return plain and not key.startswith("_")


def parameters(found: Any) -> Mapping[str, inspect.Parameter]:
    """The parameters of a constructor. Raises ValueError or TypeError if its signature is not known."""
    try:
        hash(found)
    except TypeError:  # such as an instance of a dataclass
        return inspect.signature(found).parameters
    return _parameters(found, found.__init__ if inspect.isclass(found) else None)


@cache
def _parameters(found: Any, init: Any) -> Mapping[str, inspect.Parameter]:
    """`init` is part of the key: a notebook may replace a class's constructor."""
    return inspect.signature(found).parameters


def takes(found: Any, key: str) -> bool:
    """Whether a constructor takes an argument; true if its signature is not known."""
    try:
        taken = parameters(found)
    except (ValueError, TypeError):
        return True
    return key in taken or any(one.kind is inspect.Parameter.VAR_KEYWORD for one in taken.values())


class Call:
    """A constructor whose errors name its place in the config."""

    def __init__(self, make: partial[Any], at: str, node: Mapping[str, Any]) -> None:
        self.make, self.at, self.node = make, at, node

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return self.make(*args, **kwargs)
        except RunFailed:
            raise
        except Exception as error:
            raise _named(error, self.at, self.node, (*self.make.keywords, *kwargs)) from error


def _named(error: BaseException, at: str, node: Mapping[str, Any], given: tuple[str, ...] = ()) -> UserError:
    """The error as a UserError that begins with its place in the config; of an error of Hydra, its innermost cause.

    `given` are the names of the arguments that were passed to the constructor.
    """
    where = at
    while isinstance(error, InstantiationException) and error.__cause__ is not None:
        if nested := re.search(r"full_key: (\S+)", str(error)):  # the error is in a nested node
            where = f"{at}.{nested[1]}"
        error = error.__cause__
    if isinstance(error, ImportError) and "Error loading" in str(error):
        try:
            locate(_node_at(node, where, at).get("_target_", ""), where)
        except UserError as readable:
            return readable
    if isinstance(error, UserError):
        message = str(error)
        # many of rnnlab's own errors already begin with the place
        return error if message.startswith(at) else UserError(f"{where}: {message}")
    node = _node_at(node, where, at)
    if isinstance(error, InstantiationException):  # Hydra's own error, such as for a blocklisted target
        return UserError(f"{where}: {' '.join(str(error).split())}")
    if isinstance(error, TypeError) and (lines := list(_misfits(node, where, given if where == at else ()))):
        return UserError(*lines)
    cause = " ".join(str(error).split()) or type(error).__name__
    if not isinstance(error, (ValueError, TypeError)):
        frame = traceback.extract_tb(error.__traceback__)[-1:]
        place = f" ({Path(frame[0].filename).name}, line {frame[0].lineno})" if frame else ""
        cause = (f"{type(error).__name__}: {cause}" if str(error) else cause) + place
    return UserError(f"{where}: {node.get('_target_')}({_blamed(node, cause)}): {cause}")


def _misfits(node: Mapping[str, Any], where: str, given: tuple[str, ...]) -> Iterator[str]:
    """A line for each key of a node that its constructor does not take, and for each missing key that it needs.

    A key that it does not take may come from a file of conf/ that sets it for another class.
    """
    try:
        found = locate(str(node.get("_target_")), where)
        taken = parameters(found)
    except (UserError, ValueError, TypeError):
        return
    name = getattr(found, "__name__", node.get("_target_"))  # an object that can be called has none
    kinds = {parameter.kind for parameter in taken.values()}
    for key in node if inspect.Parameter.VAR_KEYWORD not in kinds else ():
        if not key.startswith("_") and key not in taken:
            # a key for another class has no similar name here
            close = difflib.get_close_matches(key, taken, n=1, cutoff=0.8)
            near = f" Did you mean {close[0]}?" if close else ""
            yield f"{where}.{key}: {name} has no such argument.{near} ~{where}.{key} leaves it out"
    given_later = node.get("_partial_", False)  # the first argument comes later, such as the parameters
    named = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    for i, (key, parameter) in enumerate(taken.items()):
        needed = parameter.default is inspect.Parameter.empty and parameter.kind in named
        if needed and key not in (*node, *given) and not (given_later and i == 0):
            yield f"{where}.{key}: {name} needs it: +{where}.{key}=VALUE"


def _words_for_functions(node: Mapping[str, Any], found: Any, where: str) -> Iterator[str]:
    """A line for each argument that must be a function but is a word: a config names functions in another way."""
    try:
        taken = parameters(found)
    except (ValueError, TypeError):
        return
    name = getattr(found, "__name__", node.get("_target_"))
    for key in [key for key in node if key in taken and _is_function(taken[key].annotation)]:
        for word in node[key] if isinstance(node[key], list) else [node[key]]:
            if isinstance(word, str):
                path = (
                    word if "." in word else f"{'builtins' if hasattr(builtins, word) else 'MODULE'}.{word}"
                )
                named = f"{{_target_: hydra.utils.get_object, path: {path}}}"
                yield f"{where}.{key}={word}: {name} needs a function: {named}"


def _is_function(wanted: Any) -> bool:
    """Whether an annotation allows a function, or several, but no text."""
    if isinstance(wanted, str):  # torch's schedules have their annotations as text
        return "Callable[" in wanted and not re.search(r"\b(str|Any)\b", wanted)
    kinds = get_args(wanted) if get_origin(wanted) in (Union, types.UnionType) else (wanted,)
    return any(get_origin(kind) is Callable for kind in kinds) and not {str, Any} & set(kinds)


def _node_at(node: Mapping[str, Any], where: str, at: str) -> Mapping[str, Any]:
    for key in where.removeprefix(at).strip(".").split("."):
        node = node.get(key, node) if key else node
    return node


def _blamed(node: Mapping[str, Any], cause: str) -> str:
    """The arguments that an error mentions, by value or by name; "..." if it mentions none."""
    values = {k: v for k, v in node.items() if not k.startswith("_")}
    words = set(cause.replace("'", " ").replace(",", " ").replace(":", " ").replace("=", " ").split())
    by_value = [k for k, v in values.items() if str(v) in words and not isinstance(v, (bool, type(None)))]
    # by value first: "Invalid learning rate: -1" means lr
    named = by_value or [k for k in values if k in words]
    return ", ".join(f"{k}={values[k]}" for k in named) or "..."


def locate(target: str, at: str) -> Any:
    """The class or function at a dotted path. Raises UserError, which names the part that fails, if there is none."""
    asked, parts = f"{at}._target_={target}", target.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise UserError(f"{asked}: must be a dotted path, such as package.module.Class")
    found: Any = None
    for i, part in enumerate(parts):
        if i and hasattr(found, part):
            found = getattr(found, part)
            continue
        path, parent = ".".join(parts[: i + 1]), ".".join(parts[:i])
        absent = f"{asked}: {parent} has no {part}.{_like(part, found)}"
        if i and not inspect.ismodule(found):
            raise UserError(absent)
        try:
            with nullcontext() if path in sys.modules or parts[0] in WITHOUT_DRAWS else drawing_alike():
                found = importlib.import_module(path)
        except Exception as error:
            # the module exists, but its import fails
            if not isinstance(error, ModuleNotFoundError) or error.name != path:
                why = f"{type(error).__name__}: {error}"
                raise UserError(f"{asked}: importing {path}: {why}") from error
            nowhere = f"{asked}: there is no Python module {part}; is its folder on PYTHONPATH?"
            raise UserError(absent if i else nowhere) from error
    if not callable(found):
        raise UserError(f"{asked}: is neither a class nor a function (its type: {type(found).__name__})")
    return found


def _like(part: str, owner: Any) -> str:
    hint = nearest(part, [n for n in dir(owner) if not n.startswith("_")])
    return hint if hint.startswith(" Did") else ""
