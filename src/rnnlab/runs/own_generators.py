"""Generators of the user's own (torch's, NumPy's, Python's), which a module, a data set or a sampler holds."""

import hashlib
import random
import types
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch

from rnnlab import streams

KINDS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
DEEP, MANY = 5, 100  # a data module's data set's subset's sampler
# what all share, however it is reached: see rnnlab.runs.generators
GLOBAL: tuple[Any, ...] = (
    torch.default_generator,
    *(getattr(function, "__self__", None) for function in (random.random, np.random.rand)),
)
APART = ("trainer", "_trainer", "_iterator")  # what leads to all else, and a pass that has begun


def own_generators(things: dict[str, Any]) -> dict[str, Any]:
    """The generators in the attributes of objects, by their places, each once."""
    found = dict(_walk(things, "", DEEP, set()))
    return {place: g for place, g in found.items() if not any(g is one for one in GLOBAL)}


def _walk(thing: Any, at: str, deep: int, seen: set[int]) -> Iterator[tuple[str, Any]]:
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


def first_seed(generator: Any, seed: int) -> int:
    """A seed that stands for the state in which a generator came: the user's own decides it.

    One that the system seeded, anew in each process, gets the run's `seed`.
    """
    if isinstance(generator, np.random.Generator):
        entropy = getattr(generator.bit_generator.seed_seq, "entropy", 0)
        if isinstance(entropy, int) and entropy.bit_length() > 64:
            return seed
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
