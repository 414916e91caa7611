"""A cell's own `step`, run once on symbols: what comes out are its equations.

A symbol stands for a tensor (B, k*H) and holds k expressions; parameters and buffers become symbols where torch's
functions meet them. What cannot be followed is named by file, line and function.
"""

from __future__ import annotations

import copy
import math
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode

from rnnlab.cells import Cell
from rnnlab.cells.masks import Masks
from rnnlab.native import expressions as ex
from rnnlab.native.expressions import ONE, ZERO, Expression, add, apply, constant, div, mul, neg, select, sub

_NOT_THE_USERS = (str(Path(torch.__file__).parent), str(Path(__file__).parent))


class Untraceable(Exception):
    """Why a step cannot be followed, in one line."""


def _refuse(why: str) -> NoReturn:
    frames = traceback.extract_stack()[:-1]
    theirs = [f for f in frames if not f.filename.startswith(_NOT_THE_USERS)] or frames
    at = theirs[-1]
    raise Untraceable(f"{Path(at.filename).name}, line {at.lineno}, {at.name}: {why}")


@dataclass(frozen=True)
class Traced:
    """A step as equations, block by block."""

    output: Expression
    states: tuple[Expression, ...]
    """The next states; a state (B, k*H) is k of them."""
    names: tuple[str, ...]
    """Parameters and buffers that the step uses, beside weight_ih, bias_ih and initial."""
    gates: int
    buffers: frozenset[str]
    """Those of the names that have no gradient."""


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
        trace = next(a.trace for a in _flat((args, kwargs or {})) if isinstance(a, Symbol))
        return trace.call(function, args, dict(kwargs or {}))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("trace", "blocks", "per_row", "batched"):
            raise AttributeError(name)
        if name in ("dtype", "device", "requires_grad", "ndim"):
            return {"dtype": torch.float32, "device": torch.device("cpu"), "requires_grad": True, "ndim": 2}[
                name
            ]
        if name not in RULES:
            _refuse(f"a tensor's {name} cannot be compiled")
        return lambda *args, **kwargs: self.trace.rule(name, (self, *args), kwargs)

    def __bool__(self) -> bool:
        _refuse("a decision that depends on data")

    def __float__(self) -> float:
        _refuse("a number that depends on data")

    def __int__(self) -> int:
        _refuse("a number that depends on data")

    def __iter__(self) -> Any:
        _refuse("a loop over the rows of a batch")

    def __getitem__(self, key: Any) -> Symbol:
        return self.trace.rule("getitem", (self, key), {})

    def __setitem__(self, key: Any, value: Any) -> None:
        _refuse("a tensor changed in place")

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
        _refuse("a number that depends on the size of the batch")

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
    setattr(Symbol, f"__{_name}__", lambda self, other: _refuse("a tensor changed in place"))


class Matrix:
    """A parameter of two dimensions: products alone may use it."""

    def __init__(self, name: str, rows: int, columns: int, flipped: bool = False) -> None:
        self.name, self.rows, self.columns, self.flipped = name, rows, columns, flipped


class Trace(TorchFunctionMode):
    """Follows one step of a cell."""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell, self.hidden = cell, cell.hidden_size
        self.tensors = tensors_of(cell)
        self.known = {id(t): name for name, t in self.tensors.items()}
        self.used: dict[str, None] = {}
        self.own: list[Tensor] = []  # made by the step itself: constants
        self.mask = Symbol(self, [ex.make("mask")]) if cell.recurrent_dropout else None

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.call(function, args, kwargs or {})

    def call(self, function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        full = getattr(function, "__name__", str(function))
        if full.endswith("_") and not full.endswith("__"):
            _refuse(f"{full} changes a tensor in place")
        name = full.strip("_")
        if name == "get":  # an attribute of a parameter, such as its shape
            attribute = getattr(getattr(function, "__self__", None), "__name__", "")
            if attribute in ("T", "mT") and id(args[0]) in self.known:
                return _transposed(self, args[0])
            return function(*args, **kwargs)
        flat = list(_flat((args, kwargs)))
        if any(isinstance(a, Symbol | Matrix) or id(a) in self.known for a in flat):
            if name in ("size", "dim", "numel", "is_floating_point") and isinstance(args[0], Tensor):
                return function(*args, **kwargs)
            return self.rule(name, args, kwargs)
        if name in RANDOM:
            _refuse(f"{name} draws random numbers")
        result = function(*args, **kwargs)
        if isinstance(result, Tensor) and all(self._made(a) for a in flat if isinstance(a, Tensor)):
            self.own.append(result)
        return result

    def _made(self, tensor: Tensor) -> bool:
        return any(tensor is made for made in self.own)

    def rule(self, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
        rule = RULES.get(name)
        if rule is None:
            _refuse(f"torch's {name} cannot be compiled")
        try:
            return rule(self, *args, **kwargs)
        except (TypeError, AttributeError, ValueError, IndexError) as error:
            _refuse(f"torch's {name} cannot be compiled as it is used here ({error})")

    # ------------------------------------------------------------------ arguments

    def symbol(self, value: Any) -> Symbol:
        """A symbol of whatever an operation was given."""
        if isinstance(value, Symbol):
            if value.trace is not self:
                _refuse("a tensor kept from another step")
            return value
        if isinstance(value, bool | int | float):
            return Symbol(self, [constant(float(value))], per_row=True, batched=False)
        if isinstance(value, Tensor):
            name = self.known.get(id(value))
            if name is not None:
                return self._by_unit(name, value)
            if value.numel() == 1 and self._made(value):
                return Symbol(self, [constant(float(value))], per_row=True, batched=False)
            _refuse(
                "a tensor that is neither a parameter nor a buffer of the cell; register_buffer makes it one"
            )
        _refuse(f"a {type(value).__name__} where a tensor is needed")

    def _by_unit(self, name: str, value: Tensor) -> Symbol:
        if value.dim() == 0 or (value.numel() == 1 and self.hidden != 1):
            self.used[name] = None
            return Symbol(self, [ex.make("vector", name, -1)], per_row=True, batched=False)
        if value.dim() == 2 and value.shape[0] == 1:
            value = value[0]
        if value.dim() != 1 or value.shape[0] % self.hidden:
            _refuse(f"{name} {tuple(self.tensors[name].shape)} is no multiple of {self.hidden} units")
        self.used[name] = None
        blocks = [ex.make("vector", name, k) for k in range(value.shape[0] // self.hidden)]
        return Symbol(self, blocks, batched=False)

    def matrix(self, value: Any) -> Matrix:
        if isinstance(value, Matrix):
            return value
        name = self.known.get(id(value)) if isinstance(value, Tensor) else None
        if name is None:
            _refuse("a product with what is no parameter of the cell")
        if value.dim() != 2 or value.shape[0] % self.hidden or value.shape[1] % self.hidden:
            _refuse(f"{name} {tuple(value.shape)} is not made of blocks of {self.hidden} x {self.hidden}")
        return Matrix(name, value.shape[0] // self.hidden, value.shape[1] // self.hidden)

    def together(self, *values: Any) -> tuple[list[tuple[Expression, ...]], bool]:
        """The blocks of several operands, broadcast against each other, and whether all are per row."""
        symbols = [self.symbol(v) for v in values]
        wide = {len(s.blocks) for s in symbols if not s.per_row}
        if len(wide) > 1:
            _refuse(f"operands of {' and '.join(str(n) for n in sorted(wide))} blocks of units")
        count = wide.pop() if wide else 1
        return [s.blocks * count if s.per_row else s.blocks for s in symbols], all(s.per_row for s in symbols)

    def each(self, f: Callable[..., Expression], *values: Any) -> Symbol:
        symbols = [self.symbol(v) for v in values]
        blocks, per_row = self.together(*symbols)
        batched = any(s.batched for s in symbols)
        return Symbol(self, [f(*b) for b in zip(*blocks, strict=True)], per_row, batched)


def _flat(value: Any) -> Iterable[Any]:
    if isinstance(value, list | tuple):
        for v in value:
            yield from _flat(v)
    elif isinstance(value, dict):
        yield from _flat(list(value.values()))
    else:
        yield value


# ------------------------------------------------------------------ rules, by the names of torch's functions

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


def _linear(t: Trace, x: Any, weight: Any, bias: Any = None) -> Symbol:
    x, matrix = t.symbol(x), t.matrix(weight)
    if matrix.flipped:
        _refuse(f"a product with {matrix.name} transposed")
    if x.per_row or len(x.blocks) != matrix.columns:
        _refuse(f"{len(x.blocks)} blocks of units times {matrix.name}, which takes {matrix.columns}")
    t.used[matrix.name] = None
    if t.mask is not None:
        x = t.each(mul, x, Symbol(t, t.mask.blocks * len(x.blocks)))
    rows = []
    for k in range(matrix.rows):
        e = ZERO
        for j, source in enumerate(x.blocks):
            e = add(e, ex.make("product", matrix.name, k, j, source))
        rows.append(e)
    result = Symbol(t, rows)
    return result if bias is None else t.each(add, result, bias)


def _transposed(t: Trace, value: Any, *_: Any) -> Matrix:
    m = t.matrix(value)
    return Matrix(m.name, m.rows, m.columns, not m.flipped)


def _matmul(t: Trace, x: Any, weight: Any) -> Symbol:
    m = t.matrix(weight)
    if not m.flipped:
        _refuse(f"x @ {m.name}: write functional.linear(x, {m.name}), or x @ {m.name}.T")
    return _linear(t, x, Matrix(m.name, m.rows, m.columns))


def _blockwise(t: Trace, size: int) -> int:
    if size % t.hidden:
        _refuse(f"a cut at {size}, which is no multiple of the {t.hidden} units")
    return size // t.hidden


def _last(x: Symbol, dim: Any) -> None:
    if not x.is_last(dim):
        _refuse("a dimension other than the last")


def _chunk(t: Trace, x: Any, chunks: int, dim: int = 0) -> tuple[Symbol, ...]:
    x = t.symbol(x)
    _last(x, dim)
    n = len(x.blocks)
    if n % chunks or x.per_row:
        _refuse(f"{n} blocks of units in {chunks} chunks")
    size = n // chunks
    return tuple(Symbol(t, x.blocks[i * size : (i + 1) * size], batched=x.batched) for i in range(chunks))


def _split(t: Trace, x: Any, split_size: Any = None, dim: int = 0, **named: Any) -> tuple[Symbol, ...]:
    x = t.symbol(x)
    _last(x, dim)
    size = split_size if split_size is not None else named["split_size_or_sections"]
    if isinstance(size, int):
        one = _blockwise(t, size)
        sizes = [min(one, len(x.blocks) - i) for i in range(0, len(x.blocks), one)]
    else:
        sizes = [_blockwise(t, s) for s in size]
    if sum(sizes) != len(x.blocks):
        _refuse("parts that do not make up the whole")
    parts, at = [], 0
    for n in sizes:
        parts.append(Symbol(t, x.blocks[at : at + n], batched=x.batched))
        at += n
    return tuple(parts)


def _cat(t: Trace, tensors: Any, dim: int = 0) -> Symbol:
    parts = [t.symbol(x) for x in tensors]
    _last(parts[0], dim)
    if any(p.per_row for p in parts):
        _refuse("numbers by row put beside units")
    return Symbol(t, [b for p in parts for b in p.blocks], batched=parts[0].batched)


class _Stacked:
    """Symbols side by side in a dimension of their own."""

    def __init__(self, parts: Sequence[Symbol]) -> None:
        self.parts = tuple(parts)

    def unbind(self, dim: int = 0) -> tuple[Symbol, ...]:
        return self.parts

    def __iter__(self) -> Any:
        return iter(self.parts)

    def __getitem__(self, index: int) -> Symbol:
        return self.parts[index]


def _unflatten(t: Trace, x: Any, dim: int, sizes: Sequence[int]) -> _Stacked:
    x = t.symbol(x)
    _last(x, dim)
    if len(sizes) != 2 or sizes[1] not in (-1, t.hidden):
        _refuse(f"sizes {tuple(sizes)}; (k, {t.hidden}) can be compiled")
    return _Stacked([Symbol(t, [b], batched=x.batched) for b in x.blocks])


def _getitem(t: Trace, x: Any, key: Any) -> Symbol:
    x = t.symbol(x)
    if isinstance(key, tuple) and len(key) == 2 and key[0] in (slice(None), Ellipsis):
        key = key[1]
        if x.per_row and key == slice(None, 1):
            return x
    elif x.batched and not (isinstance(key, slice) and key == slice(None)):
        _refuse("rows of a batch picked out")
    if not isinstance(key, slice) or key.step not in (None, 1) or x.per_row:
        _refuse("single units picked out")
    width = len(x.blocks) * t.hidden
    start, stop, _ = key.indices(width)
    return Symbol(t, x.blocks[_blockwise(t, start) : _blockwise(t, stop)], batched=x.batched)


def _mean(t: Trace, x: Any, dim: Any = None, keepdim: bool = False, **_: Any) -> Symbol:
    x = t.symbol(x)
    _reduced(x, dim, keepdim)
    return Symbol(t, [_average(t, x.blocks)], per_row=True)


def _reduced(x: Symbol, dim: Any, keepdim: bool) -> None:
    if not x.is_last(dim):
        _refuse("a sum over the rows of a batch")
    if not keepdim:
        _refuse("a sum over the units without keepdim=True")


def _average(t: Trace, blocks: Sequence[Expression]) -> Expression:
    e = ZERO
    for b in blocks:
        e = add(e, b)
    return mul(ex.total(e), constant(1 / (len(blocks) * t.hidden)))


def _sum(t: Trace, x: Any, dim: Any = None, keepdim: bool = False, **_: Any) -> Symbol:
    x = t.symbol(x)
    _reduced(x, dim, keepdim)
    e = ZERO
    for b in x.blocks:
        e = add(e, b)
    return Symbol(t, [ex.total(e)], per_row=True)


def _variance(t: Trace, blocks: Sequence[Expression], correction: int) -> tuple[list[Expression], Expression]:
    centre = _average(t, blocks)
    away = [sub(b, centre) for b in blocks]
    n = len(blocks) * t.hidden
    return away, mul(_average(t, [mul(a, a) for a in away]), constant(n / max(n - correction, 1)))


def _var(
    t: Trace, x: Any, dim: Any = None, unbiased: Any = None, keepdim: bool = False, **named: Any
) -> Symbol:
    x = t.symbol(x)
    _reduced(x, dim, keepdim)
    correction = named.get("correction", 1 if unbiased is None or unbiased else 0)
    return Symbol(t, [_variance(t, x.blocks, correction)[1]], per_row=True)


def _layer_norm(
    t: Trace, x: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> Symbol:
    x = t.symbol(x)
    if list(normalized_shape) != [len(x.blocks) * t.hidden]:
        _refuse(f"layer_norm over {list(normalized_shape)} of {len(x.blocks) * t.hidden} units")
    away, variance = _variance(t, x.blocks, 0)
    scale = div(ONE, apply("sqrt", add(variance, constant(eps))))
    y = Symbol(t, [mul(a, scale) for a in away])
    if weight is not None:
        y = t.each(mul, y, weight)
    return y if bias is None else t.each(add, y, bias)


def _clamp(t: Trace, x: Any, min: Any = None, max: Any = None) -> Symbol:
    y = t.symbol(x)
    for limit, name in ((min, "low"), (max, "high")):
        if limit is None:
            continue
        f = _at_least if name == "low" else _at_most
        y = t.each(f, y, limit)
    return y


def _at_least(a: Expression, low: Expression) -> Expression:
    return select(apply("less", a, low), low, a)


def _at_most(a: Expression, high: Expression) -> Expression:
    return select(apply("less", high, a), high, a)


def _power(t: Trace, a: Any, b: Any) -> Symbol:
    if isinstance(b, int | float):
        return t.each(lambda x: _constant_power(x, float(b)), a)
    if isinstance(a, int | float) and a > 0:
        return t.each(lambda x: apply("exp", mul(x, constant(math.log(a)))), b)
    return t.each(lambda x, y: apply("power", x, y), a, b)


def _constant_power(x: Expression, n: float) -> Expression:
    if n == 0:
        return ONE
    if n < 0:
        return div(ONE, _constant_power(x, -n))
    if n == 0.5:
        return apply("sqrt", x)
    if n == int(n) and n <= 16:
        half = _constant_power(x, n // 2) if n > 1 else ONE
        square = mul(half, half)
        return mul(square, x) if n % 2 else square
    return apply("power", x, constant(n))


def _unary(f: Callable[[Expression], Expression]) -> Callable[..., Symbol]:
    return lambda t, x, **_: t.each(f, x)


def _named(op: str) -> Callable[..., Symbol]:
    return _unary(lambda a: apply(op, a))


def _binary(f: Callable[[Expression, Expression], Expression]) -> Callable[..., Symbol]:
    def rule(t: Trace, a: Any, b: Any, *, alpha: float = 1, **_: Any) -> Symbol:
        if alpha != 1:
            b = t.each(lambda x: mul(x, constant(float(alpha))), b)
        return t.each(f, a, b)

    return rule


def _gelu(t: Trace, x: Any, approximate: str = "none") -> Symbol:
    def exact(a: Expression) -> Expression:
        return mul(mul(constant(0.5), a), add(ONE, apply("erf", mul(a, constant(math.sqrt(0.5))))))

    def by_tanh(a: Expression) -> Expression:
        inner = mul(constant(math.sqrt(2 / math.pi)), add(a, mul(constant(0.044715), mul(a, mul(a, a)))))
        return mul(mul(constant(0.5), a), add(ONE, apply("tanh", inner)))

    return t.each(by_tanh if approximate == "tanh" else exact, x)


def _elu(t: Trace, x: Any, alpha: float = 1.0, inplace: bool = False) -> Symbol:
    def elu(a: Expression) -> Expression:
        low = select(apply("less", ZERO, a), ZERO, a)  # nothing overflows in the branch that is not taken
        return select(apply("less", ZERO, a), a, mul(constant(alpha), apply("expm1", low)))

    return t.each(elu, x)


def _leaky_relu(t: Trace, x: Any, negative_slope: float = 0.01, inplace: bool = False) -> Symbol:
    return t.each(lambda a: select(apply("less", ZERO, a), a, mul(constant(negative_slope), a)), x)


def _softplus(t: Trace, x: Any, beta: float = 1.0, threshold: float = 20.0) -> Symbol:
    return t.each(lambda a: mul(apply("softplus", mul(a, constant(beta))), constant(1 / beta)), x)


_log_sigmoid = _unary(lambda a: neg(apply("softplus", neg(a))))


def _hardtanh(t: Trace, x: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Symbol:
    return _clamp(t, x, min_val, max_val)


def _where(t: Trace, condition: Any, a: Any, b: Any) -> Symbol:
    return t.each(select, condition, a, b)


def _filled(value: float) -> Callable[..., Symbol]:
    return lambda t, x, **_: t.each(lambda _: constant(value), x)


def _compare(op: str, swapped: bool = False) -> Callable[..., Symbol]:
    return lambda t, a, b: t.each(lambda x, y: apply(op, *((y, x) if swapped else (x, y))), a, b)


def _same(t: Trace, x: Any, *_: Any, **__: Any) -> Any:
    return t.symbol(x)


def _lerp(t: Trace, start: Any, end: Any, weight: Any) -> Symbol:
    return t.each(lambda a, b, w: add(a, mul(w, sub(b, a))), start, end, weight)


def _size(t: Trace, x: Any, dim: int | None = None) -> Any:
    shape = t.symbol(x).shape
    return shape if dim is None else shape[dim]


def _stacked(t: Trace, tensors: Any, dim: int = 0) -> _Stacked:
    return _Stacked([t.symbol(x) for x in tensors])


RULES: dict[str, Callable[..., Any]] = {
    "linear": _linear, "matmul": _matmul, "mm": _matmul, "t": _transposed, "T": _transposed,
    "transpose": _transposed, "chunk": _chunk, "split": _split, "cat": _cat, "concat": _cat, "concatenate": _cat,
    "stack": _stacked, "unflatten": _unflatten, "getitem": _getitem,
    "add": _binary(add), "radd": _binary(add), "sub": _binary(sub), "subtract": _binary(sub),
    "rsub": _binary(lambda a, b: sub(b, a)), "mul": _binary(mul), "multiply": _binary(mul), "rmul": _binary(mul),
    "div": _binary(div), "true_divide": _binary(div), "truediv": _binary(div), "divide": _binary(div),
    "rdiv": _binary(lambda a, b: div(b, a)), "rtruediv": _binary(lambda a, b: div(b, a)),
    "neg": _unary(neg), "negative": _unary(neg), "square": _unary(lambda a: mul(a, a)),
    "pow": _power, "rpow": lambda t, a, b: _power(t, b, a),
    "reciprocal": _unary(lambda a: div(ONE, a)), "sqrt": _named("sqrt"),
    "rsqrt": _unary(lambda a: div(ONE, apply("sqrt", a))),
    "tanh": _named("tanh"), "sigmoid": _named("sigmoid"), "relu": _named("relu"), "exp": _named("exp"),
    "expm1": _named("expm1"), "log": _named("log"), "log1p": _named("log1p"), "sin": _named("sin"),
    "cos": _named("cos"), "erf": _named("erf"), "abs": _named("abs"), "absolute": _named("abs"),
    "sign": _named("sign"), "silu": _unary(lambda a: mul(a, apply("sigmoid", a))),
    "logsigmoid": _log_sigmoid, "log_sigmoid": _log_sigmoid,
    "gelu": _gelu, "elu": _elu, "leaky_relu": _leaky_relu, "softplus": _softplus, "hardtanh": _hardtanh,
    "clamp": _clamp, "clip": _clamp, "clamp_min": lambda t, x, low: _clamp(t, x, low),
    "clamp_max": lambda t, x, high: _clamp(t, x, None, high), "where": _where, "lerp": _lerp,
    "maximum": _binary(lambda a, b: apply("max", a, b)), "minimum": _binary(lambda a, b: apply("min", a, b)),
    "lt": _compare("less"), "less": _compare("less"), "gt": _compare("less", True), "greater": _compare("less", True),
    "le": _compare("less_equal"), "ge": _compare("less_equal", True), "eq": _compare("equal"),
    "ne": _compare("not_equal"), "and": _binary(lambda a, b: apply("and", a, b)),
    "or": _binary(lambda a, b: apply("or", a, b)), "logical_and": _binary(lambda a, b: apply("and", a, b)),
    "logical_or": _binary(lambda a, b: apply("or", a, b)), "invert": _named("not"), "logical_not": _named("not"),
    "zeros_like": _filled(0.0), "ones_like": _filled(1.0), "mean": _mean, "sum": _sum, "var": _var,
    "layer_norm": _layer_norm, "contiguous": _same, "clone": _same, "float": _same, "type_as": _same,
    "addcmul": lambda t, a, b, c, *, value=1: t.each(lambda x, y, z: add(x, mul(constant(value), mul(y, z))), a, b, c),
    "size": _size, "dim": lambda t, x: 2,
    "unbind": lambda t, x, dim=0: _refuse("a loop over the rows of a batch"),
}  # fmt: skip


def tensors_of(cell: Cell) -> dict[str, Tensor]:
    """Parameters, buffers and what `torch.nn.utils.parametrize` computes from others, by name.

    To be called within `parametrize.cached()`: then the step finds the same tensors.
    """
    found = dict((*cell.named_parameters(), *cell.named_buffers()))
    for path, module in cell.named_modules():
        for name in getattr(module, "parametrizations", ()):
            found[f"{path}.{name}" if path else name] = getattr(module, name)
    return found


def trace(cell: Cell) -> Traced:
    """The equations of a cell's step. Raises Untraceable."""
    kind = type(cell)
    for name in ("project", "forward", "start"):
        if getattr(kind, name) is not getattr(Cell, name):
            raise Untraceable(f"{kind.__name__} has a {name} of its own; only step and recur are compiled")
    with parametrize.cached(), torch.no_grad():
        twin = _twin(cell)
        tracer = Trace(twin)
        traced = _followed(twin, tracer)
    if any(n in tracer.used for n in ("weight_ih", "initial")):
        raise Untraceable(f"{kind.__name__}.step uses the input's weights or the initial state itself")
    return traced


def _twin(cell: Cell) -> Cell:
    """A copy with the same tensors: whatever the step leaves on itself is left there."""
    shared = (*cell.parameters(), *cell.buffers())
    with suppress(TypeError, RuntimeError):  # what cannot be copied is traced itself
        return copy.deepcopy(cell, {id(t): t for t in shared})
    return cell


def _followed(cell: Cell, tracer: Trace) -> Traced:
    name = f"{type(cell).__name__}.step"
    gates = cell.weight_ih.shape[0] // cell.hidden_size
    u = Symbol(tracer, [ex.make("input", k) for k in range(gates)])
    state: list[Symbol] = []
    at = 0
    for width in cell.widths:
        number = cell.counts and len(state) == len(cell.widths) - 1
        state.append(Symbol(tracer, [ex.make("state", at + k) for k in range(width)], per_row=number))
        at += width
    kept = sum(cell.state_blocks) if cell.zoneout else 0
    keep: Any = Symbol(tracer, [ex.make("keep", k) for k in range(kept)])
    before = _attributes(cell)
    with tracer:
        given = cell.advance(u, tuple(state), Masks(keep=keep) if kept else None)  # type: ignore[arg-type]
    after = _attributes(cell)
    changed = [k for k in after if k not in before or after[k] is not before[k]]
    if changed:
        raise Untraceable(f"{name} keeps {changed[0]} on self; a step must not")
    if not isinstance(given, tuple) or len(given) != 2 or not isinstance(given[1], tuple):
        raise Untraceable(f"{name} does not give (output, (state, ...))")
    y, following = tracer.symbol(given[0]), [tracer.symbol(s) for s in given[1]]
    if y.per_row or len(y.blocks) != 1:
        raise Untraceable(f"{name}'s output is not (B, H)")
    of_units = following[: len(cell.state_blocks)]
    if any(s.per_row for s in of_units) or [len(s.blocks) for s in following] != list(cell.widths):
        raise Untraceable(f"{name} gives states of other sizes than it takes")
    states = tuple(b for s in following for b in s.blocks)
    present = {e.args[0] for e in ex.ordered([y.blocks[0], *states]) if e.op in ("vector", "product")}
    names = tuple(n for n in tracer.used if n in present and n != "bias_ih")
    buffers = frozenset(name for name, _ in cell.named_buffers())
    return Traced(y.blocks[0], states, names, gates, buffers)


def _attributes(cell: Cell) -> dict[str, Any]:
    return {k: v for k, v in vars(cell).items() if not k.startswith("_")}
