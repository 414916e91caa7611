"""Generators of the user's own (torch's, NumPy's, Python's), which a module, a data set or a sampler holds."""

import ast
import hashlib
import importlib
import inspect
import random
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from rnnlab import streams
from rnnlab.import_path import drawing_alike
from rnnlab.runs.unseeded import IMPORTING, OTHERS

KINDS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
DEEP, MANY = 5, 100  # a data module's data set's subset's sampler
SHALLOW = 2  # in a module: an object's list
SHORT = 48  # bits; a seed from the system has more, the one that torch begins with has 46
# what all share, however it is reached: see rnnlab.runs.generators
GLOBAL: tuple[Any, ...] = (
    torch.default_generator,
    *(getattr(function, "__self__", None) for function in (random.random, np.random.rand)),
)
APART = ("trainer", "_trainer", "_iterator")  # what leads to all else, and a pass that has begun


def own_generators(things: dict[str, Any], deep: int = DEEP) -> dict[str, Any]:
    """The generators in the attributes of objects, by their places, each once."""
    found = dict(_walk(things, "", deep, set()))
    return {place: g for place, g in found.items() if not any(g is one for one in GLOBAL)}


class Came(NamedTuple):
    """A generator of a module, as it was when it was first seen."""

    generator: Any
    state: Any
    by_system: bool
    at: str


_came: dict[int, Came] = {}
_now: tuple[frozenset[str], int, tuple[int, ...]] = (
    frozenset(),
    0,
    (),
)  # the targets, seed and place of the run
UNSEEDED = ("Random()", "Random(None)", "Random(x=None)")


def of_modules(targets: Iterable[str]) -> dict[str, Any]:
    """The generators of a user's modules: of those of these dotted paths, and of those beside them. They stand in the
    modules, in their classes, in lists and dictionaries, and in objects of the user's own.
    """
    found: dict[str, Any] = {}
    belongs = _users(targets)
    for name, module in sorted(sys.modules.items()):
        if isinstance(module, types.ModuleType) and belongs(name):
            owners = [(name, module), *((f"{name}.{key}", value) for key, value in vars(module).items()
                                        if inspect.isclass(value) and value.__module__ == name)]  # fmt: skip
            for at, owner in owners:
                things = {
                    key: value
                    for key, value in vars(owner).items()
                    if not key.startswith("__")
                    and (isinstance(value, (*KINDS, dict, list, tuple)) or belongs(type(value).__module__))
                }
                held = own_generators(things, SHALLOW)
                found |= {f"{at}.{key}": value for key, value in held.items()}
    first = {id(generator): place for place, generator in reversed(found.items())}  # one may be imported
    found = {place: generator for place, generator in found.items() if first[id(generator)] == place}
    for at, generator in found.items():
        if id(generator) not in _came:
            _came[id(generator)] = Came(generator, state(generator), _made_by_system(at, generator), at)
    return found


def _users(targets: Iterable[str]) -> Callable[[str], bool]:
    """Whether a module is one of these dotted paths', or beside them."""
    named = {target.partition(".")[0] for target in targets} - OTHERS
    folders = {_folder(name) for name in named} - {None}
    known: dict[str, bool] = {}

    def belongs(name: str) -> bool:
        top = name.partition(".")[0]
        if top not in known:
            known[top] = top in named or _folder(top) in folders
        return known[top]

    return belongs


def _folder(top: str) -> Path | None:
    """The folder of a project with this module or package; None where it is no user's own."""
    file = getattr(sys.modules.get(top), "__file__", None)
    if file is None or top in OTHERS or "site-packages" in file:
        return None
    return Path(file).parents[Path(file).name == "__init__.py"]


def begin(targets: Iterable[str], seed: int, *place: int) -> None:
    """Sets the generators of modules for a run's beginning: as they came, or where the system seeded them by `seed`.

    Those of a module that a function of the user's imports later are set then (see `importing`).
    """
    for target in sorted(targets):
        # what cannot be named so is refused where it is built
        with suppress(ImportError, ValueError, TypeError), drawing_alike():
            importlib.import_module(target.rpartition(".")[0])
    reset(of_modules(targets).values(), seed, *place)
    come_to(targets, seed, *place)


def come_to(targets: Iterable[str], seed: int, *place: int) -> None:
    """Where the run is now: a module that is imported from now on begins there."""
    global _now
    _now = frozenset(targets), seed, place


@contextmanager
def importing(module: types.ModuleType) -> Iterator[None]:
    """Around the import of a module in a run: where it is the user's, its generators are set then."""
    targets, seed, place = _now
    if not _users(targets)(module.__name__):
        yield
        return
    known = set(_came)
    with drawing_alike():
        yield
    reset((g for g in of_modules(targets).values() if id(g) not in known), seed, *place)


IMPORTING.append(importing)


def reset(generators: Iterable[Any], seed: int, *place: int) -> None:
    """Sets generators of modules as they came, or by `seed` where the system seeded them."""
    for generator in generators:
        if _came[id(generator)].by_system:
            reseed(generator, first_seed(generator, seed), *place)
        else:
            restore(generator, _came[id(generator)].state)


def _made_by_system(at: str, generator: Any) -> bool:
    """Whether a generator was made without a seed: NumPy's and torch's tell by the size of the one that they have,
    unless the module has that number; of Python's the line tells that made it.
    """
    seed = _entropy(generator)
    if not isinstance(generator, random.Random) and seed.bit_length() <= SHORT:
        return False
    parts = at.split(".")
    name = next((n for i in range(len(parts), 0, -1) if (n := ".".join(parts[:i])) in sys.modules), "")
    with suppress(OSError, TypeError, SyntaxError, KeyError):
        source = ast.parse(inspect.getsource(sys.modules[name]))
        if isinstance(generator, random.Random):
            return any(f"{at}.".startswith(f"{name}.{one}.") for one in set(_unseeded(source.body)))
        numbers = [n.value for n in ast.walk(source) if isinstance(n, ast.Constant) and type(n.value) is int]
        return seed not in [*numbers, *(v for v in vars(sys.modules[name]).values() if type(v) is int)]
    return not isinstance(generator, random.Random)


def _entropy(generator: Any) -> int:
    """The seed of NumPy's and torch's; 0 where it is none that the system could have given, and of Python's."""
    if isinstance(generator, random.Random):
        return 0
    if isinstance(generator, torch.Generator):
        return generator.initial_seed()
    bits = getattr(generator, "bit_generator", None) or generator._bit_generator
    entropy = getattr(getattr(bits, "seed_seq", None), "entropy", 0)
    return entropy if isinstance(entropy, int) else 0


def _unseeded(body: Sequence[ast.AST]) -> Iterator[str]:
    """The names that get a `Random()`, by itself or in a list; also in classes, and inside `try` or `if`."""
    for statement in body:
        if isinstance(statement, ast.ClassDef):
            yield from (f"{statement.name}.{name}" for name in _unseeded(statement.body))
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            pairs: list[tuple[Any, Any]] = [(target, statement.value) for target in targets]
            for left, value in list(pairs):
                if isinstance(left, ast.Tuple) and isinstance(value, ast.Tuple):
                    pairs.remove((left, value))
                    pairs += zip(left.elts, value.elts, strict=False)
            for left, value in pairs:
                calls = (n for n in ast.walk(value or left) if isinstance(n, ast.Call))
                if any(ast.unparse(call).endswith(UNSEEDED) for call in calls):
                    yield ast.unparse(left)
        elif not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):  # whose names are its own
            for inner in ("body", "orelse", "finalbody", "handlers"):
                yield from _unseeded(getattr(statement, inner, []))


def _walk(thing: Any, at: str, deep: int, seen: set[int]) -> Iterator[tuple[str, Any]]:
    if isinstance(thing, random.SystemRandom):
        return  # has no state
    if isinstance(thing, KINDS):
        if id(thing) not in seen:
            seen.add(id(thing))
            yield at, thing
        return
    if (
        deep < 0
        or id(thing) in seen
        or isinstance(thing, torch.Tensor | np.ndarray | str | bytes | int | float)
    ):
        return
    if isinstance(thing, dict):
        inner = {str(key): value for key, value in islice(thing.items(), MANY)}
    elif isinstance(thing, list | tuple):
        inner = {str(i): value for i, value in enumerate(thing[:MANY])}
    elif isinstance(getattr(thing, "__dict__", None), dict) and not isinstance(
        thing, type | types.ModuleType | types.FunctionType
    ):
        inner = {key: value for key, value in vars(thing).items() if key not in APART}
    else:
        return
    seen.add(id(thing))
    for key, value in inner.items():
        yield from _walk(value, f"{at}.{key}" if at else key, deep - 1, seen)


def state(generator: Any) -> Any:
    """In plain types and tensors."""
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if isinstance(generator, random.Random):
        return list(generator.getstate())
    found = (
        generator.get_state(legacy=False)
        if isinstance(generator, np.random.RandomState)
        else generator.bit_generator.state
    )
    return _plain(found)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, np.ndarray):
        return {"uint64": torch.from_numpy(value.astype(np.uint64).view(np.int64)), "type": str(value.dtype)}
    return value.item() if isinstance(value, np.generic) else value


def _numpys(value: Any) -> Any:
    if isinstance(value, dict) and value.keys() == {"uint64", "type"}:
        return value["uint64"].numpy().view(np.uint64).astype(value["type"])
    return {key: _numpys(inner) for key, inner in value.items()} if isinstance(value, dict) else value


def restore(generator: Any, saved: Any) -> None:
    if isinstance(generator, torch.Generator):
        generator.set_state(saved)
    elif isinstance(generator, random.Random):
        version, words, gauss = saved
        generator.setstate((version, tuple(words), gauss))
    elif isinstance(generator, np.random.RandomState):
        generator.set_state(_numpys(saved))
    else:
        generator.bit_generator.state = _numpys(saved)


def by_system(generator: Any) -> bool:
    """Whether the system seeded it, anew in each process."""
    if (came := _came.get(id(generator))) is not None:
        return came.by_system
    return isinstance(generator, np.random.Generator) and _entropy(generator).bit_length() > 64


def first_seed(generator: Any, seed: int, nth: int = 0) -> int:
    """A seed that stands for the state in which a generator came: the user's own decides it.

    One that the system seeded gets one from the run's `seed` and its place in a module, or from which it is, the
    `nth`, of an object's.
    """
    if by_system(generator):
        came = _came.get(id(generator))
        place = str(nth or "") if came is None else came.at
        content = f"{seed} {place}".encode()
    else:
        found = state(generator)
        content = found.numpy().tobytes() if isinstance(found, torch.Tensor) else repr(found).encode()
    return int.from_bytes(hashlib.sha256(content).digest()[:7], "little")


def reseed(generator: Any, first: int, *place: int) -> None:
    """Sets a generator for a place in a run; `first` is its `first_seed`."""
    word = int(streams.philox(first, "user", *place).random_raw(1)[0]) >> 1
    if isinstance(generator, torch.Generator):
        generator.manual_seed(word)
    elif isinstance(generator, random.Random):
        generator.seed(word)
    elif isinstance(generator, np.random.RandomState):
        generator.seed(word & 0xFFFFFFFF)
    else:
        generator.bit_generator.state = type(generator.bit_generator)(word).state
