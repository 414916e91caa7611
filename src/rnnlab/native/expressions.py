"""Scalar mathematics by unit: an expression stands for a block of (rows, H) numbers, computed unit by unit.

Expressions are shared where they are equal, so that `is` compares them, and simplified where they are made. They know
nothing of where values stand or in which language they are computed.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator
from weakref import WeakValueDictionary

Argument = "Expression | float | int | str"

LEAVES = frozenset(("constant", "input", "state", "product", "slot", "vector", "derived", "mask", "keep")) | {
    "d_state",
    "d_output",
    "d_product",
    "d_derived",
}
"""input(k): block k of the projected input. state(k): block k of the states before. product(name, k, j, source):
block k of what column j of a matrix's blocks gives with the source. vector(name, k): block k of a parameter or buffer
by unit, -1 for one number. derived(k): what vectors alone make. mask(): what the sources of products are multiplied
by, drawn once a sequence. keep(k): 1 where block k of the states keeps its old value, drawn in each step.
slot(k, sources): a sum that products leave. d_...: gradients that the step after, the layer above, or a product gives;
for derived(k) those of all steps."""
CHEAP = frozenset(
    ("add", "sub", "mul", "div", "neg", "abs", "sign", "sqrt", "max", "min", "select", "relu")
) | {"less", "less_equal", "equal", "not_equal", "and", "or", "not"}
"""A few instructions."""
CONDITIONS = frozenset(("less", "less_equal", "equal", "not_equal", "and", "or", "not"))
SUMS = frozenset(("sum",))
"""sum(a): over all units of a row; the same for all of them."""
LINEAR = frozenset(("add", "sub", "mul", "neg"))
"""One instruction."""


class Expression:
    """`op` of `args`, which are expressions, or numbers and names for leaves."""

    __slots__ = ("__weakref__", "args", "op")

    op: str
    args: tuple[Expression | float | int | str, ...]

    @property
    def operands(self) -> tuple[Expression, ...]:
        return tuple(a for a in self.args if isinstance(a, Expression))

    def __repr__(self) -> str:
        return f"{self.op}({', '.join(map(repr, self.args))})"


_table: WeakValueDictionary[tuple[object, ...], Expression] = WeakValueDictionary()


def make(op: str, *args: Expression | float | int | str) -> Expression:
    """The one expression of this operation and these arguments."""
    key = (op, *(id(a) if isinstance(a, Expression) else (type(a), _exact(a)) for a in args))
    found = _table.get(key)
    if found is None:
        found = object.__new__(Expression)
        found.op, found.args = op, args
        _table[key] = found
    return found


def _exact(value: float | int | str) -> object:
    return struct.pack("d", value) if isinstance(value, float) else value  # -0.0 is not 0.0, NaN is itself


def constant(value: float) -> Expression:
    return make("constant", float(value))


ZERO, ONE = constant(0.0), constant(1.0)


def number(e: Expression) -> float | None:
    """The value of a constant; None for all else."""
    return float(e.args[0]) if e.op == "constant" else None  # type: ignore[arg-type]


def _folded(values: Iterable[Expression]) -> list[float] | None:
    found = [number(e) for e in values]
    return None if None in found else [v for v in found if v is not None]


def add(a: Expression, b: Expression) -> Expression:
    if (known := _folded((a, b))) is not None:
        return constant(known[0] + known[1])
    if a is ZERO:
        return b
    if b is ZERO:
        return a
    if b.op == "neg":
        return sub(a, b.operands[0])
    if a.op == "neg":
        return sub(b, a.operands[0])
    return make("add", a, b)


def sub(a: Expression, b: Expression) -> Expression:
    if (known := _folded((a, b))) is not None:
        return constant(known[0] - known[1])
    if b is ZERO:
        return a
    if a is ZERO:
        return neg(b)
    if b.op == "neg":
        return add(a, b.operands[0])
    return make("sub", a, b)


def mul(a: Expression, b: Expression) -> Expression:
    if (known := _folded((a, b))) is not None:
        return constant(known[0] * known[1])
    if a is ONE:
        return b
    if b is ONE:
        return a
    if number(a) == -1.0:
        return neg(b)
    if number(b) == -1.0:
        return neg(a)
    if a.op == "neg":
        return neg(mul(a.operands[0], b))
    if b.op == "neg":
        return neg(mul(a, b.operands[0]))
    return make("mul", a, b)


def neg(a: Expression) -> Expression:
    if (value := number(a)) is not None:
        return constant(-value)
    if a.op == "neg":
        return a.operands[0]
    if a.op == "sub":
        return make("sub", a.operands[1], a.operands[0])
    return make("neg", a)


def div(a: Expression, b: Expression) -> Expression:
    if (known := _folded((a, b))) is not None and known[1] != 0:
        return constant(known[0] / known[1])
    if b is ONE:
        return a
    if (value := number(b)) is not None and value != 0 and math.frexp(value)[0] in (0.5, -0.5):
        return mul(a, constant(1 / value))  # exact
    return make("div", a, b)


def apply(op: str, *args: Expression) -> Expression:
    """An operation without a simplification of its own."""
    return make(op, *args)


def select(condition: Expression, a: Expression, b: Expression) -> Expression:
    """A where the condition holds, else b."""
    return a if a is b else make("select", condition, a, b)


def total(a: Expression) -> Expression:
    """The sum over all units of a row."""
    return a if a is ZERO else make("sum", a)


def ordered(roots: Iterable[Expression]) -> list[Expression]:
    """All that the roots are made of, each after its operands, in one order for equal roots."""
    seen: set[int] = set()
    out: list[Expression] = []
    for root in roots:
        stack: list[tuple[Expression, Iterator[Expression]]] = []
        if id(root) not in seen:
            seen.add(id(root))
            stack.append((root, iter(root.operands)))
        while stack:
            e, operands = stack[-1]
            for a in operands:
                if id(a) not in seen:
                    seen.add(id(a))
                    stack.append((a, iter(a.operands)))
                    break
            else:
                out.append(e)
                stack.pop()
    return out


def uniform(order: Iterable[Expression]) -> set[Expression]:
    """Those that are the same for all units of a row: sums, and what they alone make. `order` as `ordered` gives it."""
    found: set[Expression] = set()
    for e in order:
        made_of = [a for a in e.operands if a.op != "constant"]
        if e.op in SUMS or (made_of and e.op not in LEAVES and found.issuperset(made_of)):
            found.add(e)
    return found


def rebuild(roots: Iterable[Expression], replaced: dict[Expression, Expression]) -> list[Expression]:
    """The roots with some expressions replaced by others."""
    roots = list(roots)
    done: dict[Expression, Expression] = {}
    for e in ordered(roots):
        if e in replaced:
            done[e] = replaced[e]
        elif not e.operands:
            done[e] = e
        else:
            done[e] = make(e.op, *(done[a] if isinstance(a, Expression) else a for a in e.args))
    return [done[root] for root in roots]
