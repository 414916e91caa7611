"""The objects of tracing: symbols, which stand for tensors; matrices, with which they are multiplied; and the trace,
which replaces torch's functions by rules (rules.py).
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from rnnlab.cells import Cell
from rnnlab.native import expressions as ex
from rnnlab.native.expressions import Expression, constant

_NOT_THE_USERS = (str(Path(torch.__file__).parent), str(Path(__file__).parent))


class Untraceable(Exception):
    """A step cannot be traced; the message says why, in one line."""


def refuse(why: str) -> NoReturn:
    """Raises Untraceable, with the place in the user's code."""
    raise Untraceable(placed(traceback.extract_stack()[:-1], why))


def placed(frames: Sequence[traceback.FrameSummary], why: str) -> str:
    """`why`, after the innermost of these places that is in the user's code."""
    theirs = [f for f in frames if not f.filename.startswith(_NOT_THE_USERS)] or frames
    at = theirs[-1]
    return f"{Path(at.filename).name}, line {at.lineno}, {at.name}: {why}"


class Symbol:
    """Stands for a tensor (B, k*H); with `per_row` for (B, 1) or a number, equal for all units; without `batched` for
    (k*H,).
    """

    __array_priority__ = 1000

    def __init__(
        self, trace: Trace, blocks: Sequence[Expression], per_row: bool = False, batched: bool = True
    ) -> None:
        self.trace, self.blocks, self.per_row, self.batched = trace, tuple(blocks), per_row, batched

    @property
    def shape(self) -> tuple[Any, ...]:
        width = 1 if self.per_row else len(self.blocks) * self.trace.hidden
        return (ROWS, width) if self.batched else (width,)

    def is_last(self, dim: Any) -> bool:
        """Whether `dim` is the dimension of the units."""
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
        if name == "where":  # a method takes the condition second, the function first
            return lambda condition, other: self.trace.rule(name, (condition, self, other), {})
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
    """Stands for the batch size, on which a step must not depend."""

    def _refuse(self, *_: Any) -> Any:
        refuse("a number that depends on the size of the batch")

    __int__ = __index__ = __float__ = __add__ = __radd__ = __sub__ = __mul__ = __rmul__ = __truediv__ = (
        _refuse
    )
    __rtruediv__ = __bool__ = __lt__ = __gt__ = __le__ = __ge__ = _refuse
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return other is self or bool(self._refuse())


ROWS = _Rows()


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
    """A two-dimensional parameter, which may be used in matrix products only."""

    def __init__(self, name: str, rows: int, columns: int, flipped: bool = False) -> None:
        self.name, self.rows, self.columns, self.flipped = name, rows, columns, flipped


RANDOM = frozenset(
    [
        "rand",
        "randn",
        "randint",
        "randperm",
        "normal",
        "bernoulli",
        "dropout",
        "alpha_dropout",
        "feature_dropout",
        "rand_like",
        "randn_like",
        "uniform",
        "exponential",
        "multinomial",
        "poisson",
    ]
)


NUMBERS = ("__float__", "__int__", "__bool__", "__index__", "__complex__", "item", "tolist", "numpy")


class Trace(TorchFunctionMode):
    """Traces one step of a cell."""

    def __init__(self, cell: Cell, rules: Mapping[str, Callable[..., Any]]) -> None:
        super().__init__()
        self.cell, self.hidden, self.rules = cell, cell.hidden_size, rules
        self.tensors = tensors_of(cell)
        self.known = {id(t): name for name, t in self.tensors.items()}
        self.used: dict[str, None] = {}
        self.own: list[Tensor] = []  # tensors that the step makes: constants
        self.mask = Symbol(self, [ex.make("mask")]) if cell.recurrent_dropout else None

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.call(function, args, kwargs or {})

    def call(self, function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        full = getattr(function, "__name__", str(function))
        if full.endswith("_") and not full.endswith("__"):
            refuse(f"{full} changes a tensor in place")
        name = full.strip("_")
        if name == "get":  # reading an attribute of a parameter, such as its shape
            attribute = getattr(getattr(function, "__self__", None), "__name__", "")
            if attribute in ("T", "mT") and id(args[0]) in self.known:
                return self.rules["transpose"](self, args[0])
            return function(*args, **kwargs)
        given = list(flat((args, kwargs)))
        if any(isinstance(a, Symbol | Matrix) or id(a) in self.known for a in given):
            if full in NUMBERS:
                refuse("a number that depends on data, or on a parameter")
            if name in ("size", "dim", "numel", "is_floating_point") and isinstance(args[0], Tensor):
                return function(*args, **kwargs)
            if function is Tensor.where:
                args = (args[1], args[0], *args[2:])
            return self.rule(name, args, kwargs)
        if name in RANDOM:
            refuse(f"{name} draws random numbers")
        result = function(*args, **kwargs)
        if isinstance(result, Tensor) and all(self._made(a) for a in given if isinstance(a, Tensor)):
            self.own.append(result)
        return result

    def _made(self, tensor: Tensor) -> bool:
        return any(tensor is made for made in self.own)

    def rule(self, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
        rule = self.rules.get(name)
        if rule is None:
            refuse(f"torch's {name} cannot be compiled")
        if not torch.is_grad_enabled():
            refuse(f"{name} within torch.no_grad(), or an autograd.Function with a gradient of its own")
        try:
            return rule(self, *args, **kwargs)
        except (TypeError, AttributeError, ValueError, IndexError) as error:
            refuse(f"torch's {name} cannot be compiled as it is used here ({error})")

    # ------------------------------------------------------------------ arguments

    def symbol(self, value: Any) -> Symbol:
        """The operand of an operation (symbol, tensor or number) as a symbol."""
        if isinstance(value, Symbol):
            if value.trace is not self:
                refuse("a tensor kept from another step")
            return value
        if isinstance(value, bool | int | float):
            return Symbol(self, [constant(float(value))], per_row=True, batched=False)
        if isinstance(value, Tensor):
            name = self.known.get(id(value))
            if name is not None:
                return self._by_unit(name, value)
            if value.numel() == 1 and self._made(value):
                return Symbol(self, [constant(float(value))], per_row=True, batched=False)
            refuse(
                "a tensor that is neither a parameter nor a buffer of the cell; register_buffer makes it one"
            )
        refuse(f"a {type(value).__name__} where a tensor is needed")

    def _by_unit(self, name: str, value: Tensor) -> Symbol:
        if value.dim() == 0 or (value.numel() == 1 and self.hidden != 1):
            self.used[name] = None
            return Symbol(self, [ex.make("vector", name, -1)], per_row=True, batched=False)
        if value.dim() == 2 and value.shape[0] == 1:
            value = value[0]
        if value.dim() != 1 or value.shape[0] % self.hidden:
            refuse(f"{name} {tuple(self.tensors[name].shape)} is no multiple of {self.hidden} units")
        self.used[name] = None
        blocks = [ex.make("vector", name, k) for k in range(value.shape[0] // self.hidden)]
        return Symbol(self, blocks, batched=False)

    def matrix(self, value: Any) -> Matrix:
        if isinstance(value, Matrix):
            return value
        name = self.known.get(id(value)) if isinstance(value, Tensor) else None
        if name is None:
            refuse("a product with what is no parameter of the cell")
        if value.dim() != 2 or value.shape[0] % self.hidden or value.shape[1] % self.hidden:
            refuse(f"{name} {tuple(value.shape)} is not made of blocks of {self.hidden} x {self.hidden}")
        return Matrix(name, value.shape[0] // self.hidden, value.shape[1] // self.hidden)

    def broadcast(self, *values: Any) -> tuple[list[tuple[Expression, ...]], bool]:
        """The blocks of several operands, broadcast to each other, and whether all operands are per row."""
        symbols = [self.symbol(v) for v in values]
        wide = {len(s.blocks) for s in symbols if not s.per_row}
        if len(wide) > 1:
            refuse(f"operands of {' and '.join(str(n) for n in sorted(wide))} blocks of units")
        count = wide.pop() if wide else 1
        return [s.blocks * count if s.per_row else s.blocks for s in symbols], all(s.per_row for s in symbols)

    def each(self, f: Callable[..., Expression], *values: Any) -> Symbol:
        symbols = [self.symbol(v) for v in values]
        blocks, per_row = self.broadcast(*symbols)
        batched = any(s.batched for s in symbols)
        return Symbol(self, [f(*b) for b in zip(*blocks, strict=True)], per_row, batched)


def tensors_of(cell: Cell) -> dict[str, Tensor]:
    """{name: tensor} of parameters, buffers and parametrized weights.

    Call it within `parametrize.cached()`, so that the step uses the same tensors.
    """
    found = dict((*cell.named_parameters(), *cell.named_buffers()))
    for path, module in cell.named_modules():
        for name in getattr(module, "parametrizations", ()):
            found[f"{path}.{name}" if path else name] = getattr(module, name)
    return found


def flat(value: Any) -> Iterable[Any]:
    if isinstance(value, list | tuple):
        for v in value:
            yield from flat(v)
    elif isinstance(value, dict):
        yield from flat(list(value.values()))
    else:
        yield value
