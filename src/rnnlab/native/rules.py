"""Rules for tracing: {name of a function of torch: what it does to symbols}."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from rnnlab.native import expressions as ex
from rnnlab.native.expressions import ONE, ZERO, Expression, add, apply, constant, div, mul, neg, select, sub
from rnnlab.native.symbols import Matrix, Symbol, Trace, refuse


def _linear(t: Trace, x: Any, weight: Any, bias: Any = None) -> Symbol:
    x, matrix = t.symbol(x), t.matrix(weight)
    if matrix.flipped:
        refuse(f"a product with {matrix.name} transposed")
    if x.per_row or len(x.blocks) != matrix.columns:
        refuse(f"{len(x.blocks)} blocks of units times {matrix.name}, which takes {matrix.columns}")
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


def transposed(t: Trace, value: Any, *_: Any) -> Matrix:
    m = t.matrix(value)
    return Matrix(m.name, m.rows, m.columns, not m.flipped)


def _matmul(t: Trace, x: Any, weight: Any) -> Symbol:
    m = t.matrix(weight)
    if not m.flipped:
        refuse(f"x @ {m.name}: write functional.linear(x, {m.name}), or x @ {m.name}.T")
    return _linear(t, x, Matrix(m.name, m.rows, m.columns))


def _blockwise(t: Trace, size: int) -> int:
    if size % t.hidden:
        refuse(f"a cut at {size}, which is no multiple of the {t.hidden} units")
    return size // t.hidden


def _last(x: Symbol, dim: Any) -> None:
    if not x.is_last(dim):
        refuse("a dimension other than the last")


def _chunk(t: Trace, x: Any, chunks: int, dim: int = 0) -> tuple[Symbol, ...]:
    x = t.symbol(x)
    _last(x, dim)
    n = len(x.blocks)
    if n % chunks or x.per_row:
        refuse(f"{n} blocks of units in {chunks} chunks")
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
        refuse("parts that do not make up the whole")
    parts, at = [], 0
    for n in sizes:
        parts.append(Symbol(t, x.blocks[at : at + n], batched=x.batched))
        at += n
    return tuple(parts)


def _cat(t: Trace, tensors: Any, dim: int = 0) -> Symbol:
    parts = [t.symbol(x) for x in tensors]
    _last(parts[0], dim)
    if any(p.per_row for p in parts):
        refuse("numbers by row put beside units")
    return Symbol(t, [b for p in parts for b in p.blocks], batched=parts[0].batched)


class _Stacked:
    """Symbols in a new dimension, as from torch.stack."""

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
        refuse(f"sizes {tuple(sizes)}; (k, {t.hidden}) can be compiled")
    return _Stacked([Symbol(t, [b], batched=x.batched) for b in x.blocks])


def _getitem(t: Trace, x: Any, key: Any) -> Symbol:
    x = t.symbol(x)
    if isinstance(key, tuple) and len(key) == 2 and key[0] in (slice(None), Ellipsis):
        key = key[1]
        if x.per_row and key == slice(None, 1):
            return x
    elif x.batched and not (isinstance(key, slice) and key == slice(None)):
        refuse("rows of a batch picked out")
    if not isinstance(key, slice) or key.step not in (None, 1) or x.per_row:
        refuse("single units picked out")
    width = len(x.blocks) * t.hidden
    start, stop, _ = key.indices(width)
    return Symbol(t, x.blocks[_blockwise(t, start) : _blockwise(t, stop)], batched=x.batched)


def _mean(t: Trace, x: Any, dim: Any = None, keepdim: bool = False, **_: Any) -> Symbol:
    x = t.symbol(x)
    _reduced(x, dim, keepdim)
    return x if x.per_row else Symbol(t, [_average(t, x.blocks)], per_row=True)


def _reduced(x: Symbol, dim: Any, keepdim: bool) -> None:
    if not x.is_last(dim):
        refuse("a sum over the rows of a batch")
    if not keepdim:
        refuse("a sum over the units without keepdim=True")


def _average(t: Trace, blocks: Sequence[Expression]) -> Expression:
    e = ZERO
    for b in blocks:
        e = add(e, b)
    return mul(ex.total(e), constant(1 / (len(blocks) * t.hidden)))


def _sum(t: Trace, x: Any, dim: Any = None, keepdim: bool = False, **_: Any) -> Symbol:
    x = t.symbol(x)
    _reduced(x, dim, keepdim)
    if x.per_row:
        return x
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
    if x.per_row:
        refuse("the variance of one number")
    correction = named.get("correction", 1 if unbiased is None or unbiased else 0)
    return Symbol(t, [_variance(t, x.blocks, correction)[1]], per_row=True)


def _layer_norm(
    t: Trace, x: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> Symbol:
    x = t.symbol(x)
    if list(normalized_shape) != [len(x.blocks) * t.hidden]:
        refuse(f"layer_norm over {list(normalized_shape)} of {len(x.blocks) * t.hidden} units")
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
    def rule(t: Trace, a: Any, b: Any, *, alpha: float = 1) -> Symbol:
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
        low = select(apply("less", ZERO, a), ZERO, a)  # so that the branch that is not taken cannot overflow
        return select(apply("less", ZERO, a), a, mul(constant(alpha), apply("expm1", low)))

    return t.each(elu, x)


def _leaky_relu(t: Trace, x: Any, negative_slope: float = 0.01, inplace: bool = False) -> Symbol:
    return t.each(lambda a: select(apply("less", ZERO, a), a, mul(constant(negative_slope), a)), x)


def _softplus(t: Trace, x: Any, beta: float = 1.0, threshold: float = 20.0) -> Symbol:
    def softplus(a: Expression) -> Expression:
        scaled = mul(a, constant(beta))
        smooth = mul(apply("softplus", scaled), constant(1 / beta))
        if threshold >= 20:  # beyond it, float32 has no number between the two
            return smooth
        return select(apply("less", constant(threshold), scaled), a, smooth)

    return t.each(softplus, x)


_log_sigmoid = _unary(lambda a: neg(apply("softplus", neg(a))))


def _hardtanh(t: Trace, x: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Symbol:
    low, high = constant(min_val), constant(max_val)

    def hardtanh(a: Expression) -> Expression:  # unlike clamp, it has no gradient at its bounds
        return select(apply("less_equal", a, low), low, select(apply("less_equal", high, a), high, a))

    return t.each(hardtanh, x)


def _where(t: Trace, condition: Any, a: Any, b: Any) -> Symbol:
    return t.each(select, condition, a, b)


def _filled(value: float) -> Callable[..., Symbol]:
    return lambda t, x, **_: t.each(lambda _: constant(value), x)


def _compare(op: str, swapped: bool = False) -> Callable[..., Symbol]:
    return lambda t, a, b: t.each(lambda x, y: apply(op, *((y, x) if swapped else (x, y))), a, b)


def _same(t: Trace, x: Any, *_: Any, **__: Any) -> Any:
    return t.symbol(x)


def _detach(t: Trace, x: Any) -> Symbol:
    if not t.symbol(x).batched:
        refuse("a parameter without its gradient; a buffer has none")
    return t.each(lambda a: apply("detach", a), x)


def _lerp(t: Trace, start: Any, end: Any, weight: Any) -> Symbol:
    return t.each(lambda a, b, w: add(a, mul(w, sub(b, a))), start, end, weight)


def _size(t: Trace, x: Any, dim: int | None = None) -> Any:
    shape = t.symbol(x).shape
    return shape if dim is None else shape[dim]


def _stacked(t: Trace, tensors: Any, dim: int = 0) -> _Stacked:
    return _Stacked([t.symbol(x) for x in tensors])


RULES: dict[str, Callable[..., Any]] = {
    "linear": _linear, "matmul": _matmul, "mm": _matmul, "t": transposed, "T": transposed,
    "transpose": transposed, "chunk": _chunk, "split": _split, "cat": _cat, "concat": _cat, "concatenate": _cat,
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
    "sign": _named("sign"), "detach": _detach, "silu": _unary(lambda a: mul(a, apply("sigmoid", a))),
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
    "unbind": lambda t, x, dim=0: refuse("a loop over the rows of a batch"),
}  # fmt: skip
