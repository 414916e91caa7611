"""Finds and seeds the user's own random generators (torch's, NumPy's, Python's), held by modules, data or samplers."""

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
from torch.utils.data import Dataset

from rnnlab import streams
from rnnlab.import_path import drawing_alike
from rnnlab.runs.unseeded import IMPORTING, OTHERS

KINDS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
DEEP, MANY = 5, 100  # levels of attributes, and items of a list, that are searched
SHALLOW = 2  # the same levels for a Python module
SHORT = 48  # bits: a seed from the system has more, and torch's default seed has 46
# the global generators, which rnnlab.runs.generators handles
GLOBAL: tuple[Any, ...] = (
    torch.default_generator,
    *(getattr(function, "__self__", None) for function in (random.random, np.random.rand)),
)
APART = ("trainer", "_trainer", "_iterator")  # not searched: the Trainer, and a pass under way


def own_generators(things: dict[str, Any], deep: int = DEEP) -> dict[str, Any]:
    """{dotted place: generator} of the generators in the attributes of objects, each once, without the global ones."""
    found = dict(_walk(things, "", deep, {}))
    return {place: g for place, g in found.items() if not any(g is one for one in GLOBAL)}


class Came(NamedTuple):
    """A generator of a Python module, and its state when it was first seen."""

    generator: Any
    state: Any
    by_system: bool
    at: str


_came: dict[int, Came] = {}
# targets, seed and place of the run, for modules that are imported later
_now: tuple[frozenset[str], int, tuple[int, ...]] = (frozenset(), 0, ())
UNSEEDED = ("Random()", "Random(None)", "Random(x=None)")


def of_modules(targets: Iterable[str]) -> dict[str, Any]:
    """{place: generator} of the user's modules: those of these dotted paths, and other modules in the same folders.
    Searched are the modules' variables and classes, lists and dictionaries in them, and objects of the user's classes.
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
    first = {id(generator): place for place, generator in reversed(found.items())}  # some are imported
    found = {place: generator for place, generator in found.items() if first[id(generator)] == place}
    for at, generator in found.items():
        if id(generator) not in _came:
            _came[id(generator)] = Came(generator, state(generator), _made_by_system(at, generator), at)
    return found


def _users(targets: Iterable[str]) -> Callable[[str], bool]:
    """A function: whether a module is that of one of these dotted paths, or lies in the same folder."""
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
    """The folder that holds this module or package; None where it is not the user's own."""
    file = getattr(sys.modules.get(top), "__file__", None)
    if file is None or top in OTHERS or "site-packages" in file:
        return None
    return Path(file).parents[Path(file).name == "__init__.py"]


def begin(targets: Iterable[str], seed: int, *place: int) -> None:
    """Sets the generators of modules for the beginning of a run: to their initial states, or, where the system seeded
    them, by `seed`.

    Generators of a module that is imported later are set at the import (`importing`).
    """
    for target in sorted(targets):
        # a target that cannot be imported is refused when it is built
        with suppress(Exception), drawing_alike():
            importlib.import_module(target.rpartition(".")[0])
    reset(of_modules(targets).values(), seed, *place)
    come_to(targets, seed, *place)


def come_to(targets: Iterable[str], seed: int, *place: int) -> None:
    """Sets the place in the run for generators of modules that are imported from now on."""
    global _now
    _now = frozenset(targets), seed, place


@contextmanager
def importing(module: types.ModuleType) -> Iterator[None]:
    """Wraps the import of a module during a run: the generators of a user's module are set after the import."""
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
    """Sets generators of modules to their initial states, or by `seed` where the system seeded them."""
    for generator in generators:
        if _came[id(generator)].by_system:
            reseed(generator, first_seed(generator, seed), *place)
        else:
            restore(generator, _came[id(generator)].state)


def _made_by_system(at: str, generator: Any) -> bool:
    """Whether a generator was made without a seed. NumPy's and torch's: by the size of their seed, unless the module's
    source contains that number. Python's: by the line of the source that makes it.
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
    """The seed of a generator of NumPy or torch; 0 for Python's, and for seeds that are not one integer."""
    if isinstance(generator, random.Random):
        return 0
    if isinstance(generator, torch.Generator):
        return generator.initial_seed()
    bits = getattr(generator, "bit_generator", None) or generator._bit_generator
    entropy = getattr(getattr(bits, "seed_seq", None), "entropy", 0)
    return entropy if isinstance(entropy, int) else 0


def _unseeded(body: Sequence[ast.AST]) -> Iterator[str]:
    """The names that are assigned a `Random()`, alone or in a list; also in classes, and inside `try` or `if`."""
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
        elif not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):  # its names are local
            for inner in ("body", "orelse", "finalbody", "handlers"):
                yield from _unseeded(getattr(statement, inner, []))


def _walk(
    thing: Any, at: str, deep: int, seen: dict[int, int], many: int | None = MANY
) -> Iterator[tuple[str, Any]]:
    """`seen`: {id of an object: how many levels below it were searched}; a shorter way to it may lead deeper."""
    if isinstance(thing, random.SystemRandom):
        return  # SystemRandom has no state
    if isinstance(thing, KINDS):
        if id(thing) not in seen:
            seen[id(thing)] = 0
            yield at, thing
        return
    if (
        deep < 0
        or seen.get(id(thing), -1) >= deep
        or isinstance(thing, torch.Tensor | np.ndarray | str | bytes | int | float)
    ):
        return
    if isinstance(thing, dict):
        inner = {}
        for key, value in islice(thing.items(), many):
            inner[str(key) if str(key) not in inner else f"{type(key).__name__} {key}"] = value  # 1 and "1"
    elif isinstance(thing, list | tuple):
        inner = {str(i): value for i, value in enumerate(thing[:many])}
    elif isinstance(getattr(thing, "__dict__", None), dict) and not isinstance(
        thing, type | types.ModuleType | types.FunctionType
    ):
        inner = {key: value for key, value in vars(thing).items() if key not in APART}
    else:
        return
    seen[id(thing)] = deep
    for key, value in inner.items():
        below, among = _below(thing, key, value, deep)
        yield from _walk(value, f"{at}.{key}" if at else key, below, seen, among)


def _below(thing: Any, key: str, value: Any, deep: int) -> tuple[int, int | None]:
    """The level of an attribute, and how many items of it are searched: modules in a module, and data sets in a data
    set, are on its own level, and all of them are searched.
    """
    if (isinstance(thing, torch.nn.Module) and key == "_modules" and isinstance(value, dict)) or (
        isinstance(thing, Dataset) and key == "datasets" and isinstance(value, list | tuple | dict)
    ):
        return deep + 1, None
    return (deep if isinstance(thing, Dataset) and key == "dataset" else deep - 1), MANY


def state(generator: Any) -> Any:
    """The state of a generator, in plain types and tensors."""
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
    """Whether the system seeded the generator, differently in each process."""
    if (came := _came.get(id(generator))) is not None:
        return came.by_system
    numpys = isinstance(generator, np.random.Generator | np.random.RandomState)
    return numpys and _entropy(generator).bit_length() > 64


def first_seed(generator: Any, seed: int, nth: int = 0) -> int:
    """A seed that represents the initial state of a generator, so that the user's own seed decides it.

    For a generator that the system seeded, it comes from the run's `seed` and the generator's place in its module, or,
    for one held by an object, its number `nth`.
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
    """Seeds a generator for a `place` in a run; `first` is its `first_seed`."""
    word = int(streams.philox(first, "user", *place).random_raw(1)[0]) >> 1
    if isinstance(generator, torch.Generator):
        generator.manual_seed(word)
    elif isinstance(generator, random.Random):
        generator.seed(word)
    elif isinstance(generator, np.random.RandomState):
        kind = type(generator._bit_generator)
        if kind is np.random.MT19937:
            generator.seed(word & 0xFFFFFFFF)
        else:  # NumPy seeds no other anew
            generator.set_state({**kind(word).state, "has_gauss": 0, "gauss": 0.0})
    else:
        generator.bit_generator.state = type(generator.bit_generator)(word).state
