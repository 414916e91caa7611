"""What stands for tensors while a step is followed: symbols, and the matrices that they are multiplied with."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import torch

from rnnlab.native.expressions import Expression

if TYPE_CHECKING:
    from rnnlab.native.tracing import Trace

_NOT_THE_USERS = (str(Path(torch.__file__).parent), str(Path(__file__).parent))


class Untraceable(Exception):
    """Why a step cannot be followed, in one line."""


def refuse(why: str) -> NoReturn:
    """Raises Untraceable with the place in the user's own code."""
    frames = traceback.extract_stack()[:-1]
    theirs = [f for f in frames if not f.filename.startswith(_NOT_THE_USERS)] or frames
    at = theirs[-1]
    raise Untraceable(f"{Path(at.filename).name}, line {at.lineno}, {at.name}: {why}")


class Symbol:
    """Stands for a tensor (B, k*H); `per_row` for one (B, 1) or a number, the same for all units; without `batched`
    for one (k*H,).
    """

    __array_priority__ = 1000

    def __init__(
        self, trace: Trace, blocks: Sequence[Expression], per_row: bool = False, batched: bool = True
    ) -> None:
        self.trace, self.blocks, self.per_row, self.batched = trace, tuple(blocks), per_row, batched

    @property
    def shape(self) -> tuple[Any, ...]:
        width = 1 if self.per_row else len(self.blocks) * self.trace.hidden
        return (_Rows(), width) if self.batched else (width,)

    def is_last(self, dim: Any) -> bool:
        """Whether a dimension is that of the units."""
        dims = (-1, 1) if self.batched else (-1, 0)
        return dim in dims or (isinstance(dim, list | tuple) and len(dim) == 1 and dim[0] in dims)

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        trace = next(a.trace for a in flat((args, kwargs or {})) if isinstance(a, Symbol))
        return trace.call(function, args, dict(kwargs or {}))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("trace", "blocks", "per_row", "batched"):
            raise AttributeError(name)
        if name in ("dtype", "device", "requires_grad", "ndim"):
            return {"dtype": torch.float32, "device": torch.device("cpu"), "requires_grad": True, "ndim": 2}[
                name
            ]
        if name not in self.trace.rules:
            refuse(f"a tensor's {name} cannot be compiled")
        return lambda *args, **kwargs: self.trace.rule(name, (self, *args), kwargs)

    def __bool__(self) -> bool:
        refuse("a decision that depends on data")

    def __float__(self) -> float:
        refuse("a number that depends on data")

    def __int__(self) -> int:
        refuse("a number that depends on data")

    def __iter__(self) -> Any:
        refuse("a loop over the rows of a batch")

    def __getitem__(self, key: Any) -> Symbol:
        return self.trace.rule("getitem", (self, key), {})

    def __setitem__(self, key: Any, value: Any) -> None:
        refuse("a tensor changed in place")

    def __pow__(self, other: Any) -> Any:
        return self.trace.rule("pow", (self, other), {})

    def __rpow__(self, other: Any) -> Any:
        return self.trace.rule("pow", (other, self), {})

    def __eq__(self, other: object) -> Any:
        return self.trace.rule("eq", (self, other), {})

    def __ne__(self, other: object) -> Any:
        return self.trace.rule("ne", (self, other), {})

    __hash__ = object.__hash__


class _Rows:
    """The size of a batch: a step must not depend on it."""

    def _refuse(self, *_: Any) -> Any:
        refuse("a number that depends on the size of the batch")

    __int__ = __index__ = __float__ = __add__ = __radd__ = __sub__ = __mul__ = __rmul__ = __truediv__ = (
        _refuse
    )
    __rtruediv__ = __bool__ = __lt__ = __gt__ = __le__ = __ge__ = _refuse


def _operator(name: str) -> Any:
    return lambda self, other: self.trace.rule(name, (self, other), {})


def _reflected(name: str) -> Any:
    return lambda self, other: self.trace.rule(name, (other, self), {})


for _name, _reverse in (("add", 1), ("sub", 1), ("mul", 1), ("truediv", 1), ("matmul", 1), ("and", 1), ("or", 1),
                        ("lt", 0), ("le", 0), ("gt", 0), ("ge", 0)):  # fmt: skip
    setattr(Symbol, f"__{_name}__", _operator(_name))
    if _reverse:
        setattr(Symbol, f"__r{_name}__", _reflected(_name))
for _name in ("neg", "abs", "invert"):
    setattr(Symbol, f"__{_name}__", lambda self, _name=_name: self.trace.rule(_name, (self,), {}))
for _name in ("iadd", "isub", "imul", "itruediv"):
    setattr(Symbol, f"__{_name}__", lambda self, other: refuse("a tensor changed in place"))


class Matrix:
    """A parameter of two dimensions: products alone may use it."""

    def __init__(self, name: str, rows: int, columns: int, flipped: bool = False) -> None:
        self.name, self.rows, self.columns, self.flipped = name, rows, columns, flipped


def flat(value: Any) -> Iterable[Any]:
    if isinstance(value, list | tuple):
        for v in value:
            yield from flat(v)
    elif isinstance(value, dict):
        yield from flat(list(value.values()))
    else:
        yield value
