"""Symbolic elementwise mathematics: an expression stands for a block of (rows, H) numbers, computed unit by unit.

Equal expressions are the same object, so that `is` compares them; they are simplified when they are made. They do not
depend on memory layout or on the language of the generated code.
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
"""The leaves. input(k): block k of the projected input. state(k): block k of the previous states. product(name, k, j,
source): block k of the product of the matrix's column of blocks j with the source. vector(name, k): block k of a
parameter or buffer with one number per unit; k = -1: a single number. derived(k): a value that depends on vectors only.
mask(): the dropout mask on sources of products, drawn once a sequence. keep(k): 1 where block k of the states keeps its
old value (zoneout), drawn in each step. slot(k, sources): a sum of products, inputs and biases. d_...: gradients from
the next step, the layer above, or a product; for derived(k) summed over all steps."""
CHEAP = frozenset(
    ("add", "sub", "mul", "div", "neg", "abs", "sign", "sqrt", "max", "min", "select", "relu", "detach")
) | {"less", "less_equal", "equal", "not_equal", "and", "or", "not"}
"""Operations of a few instructions."""
FREE = CHEAP - {"div", "sqrt"}
"""Those that cost no more than a load from memory."""
CONDITIONS = frozenset(("less", "less_equal", "equal", "not_equal", "and", "or", "not"))
SUMS = frozenset(("sum",))
"""sum(a): over all units of a row; the result is equal for all units."""
LINEAR = frozenset(("add", "sub", "mul", "neg"))
"""Operations of one instruction."""


class Expression:
    """The operation `op` applied to `args`: expressions; for leaves, numbers and names."""

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
    """The unique expression object of this operation and these arguments."""
    key = (op, *(id(a) if isinstance(a, Expression) else (type(a), _exact(a)) for a in args))
    found = _table.get(key)
    if found is None:
        found = object.__new__(Expression)
        found.op, found.args = op, args
        _table[key] = found
    return found


def _exact(value: float | int | str) -> object:
    return struct.pack("d", value) if isinstance(value, float) else value  # by bits: -0.0 is not 0.0


def constant(value: float) -> Expression:
    return make("constant", float(value))


ZERO, ONE = constant(0.0), constant(1.0)


def number(e: Expression) -> float | None:
    """The value of a constant; None for other expressions."""
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
    """An operation for which no simplification is known."""
    return make(op, *args)


def select(condition: Expression, a: Expression, b: Expression) -> Expression:
    """`a` where the condition holds, else `b`."""
    return a if a is b else make("select", condition, a, b)


def total(a: Expression) -> Expression:
    """The sum over all units of a row."""
    return a if a is ZERO else make("sum", a)


def typed(roots: Iterable[Expression]) -> list[Expression]:
    """The roots, with 1 or 0 for each condition that is used as a number, and `!= 0` for each number used as a
    condition: in torch a boolean may be either.
    """
    roots = list(roots)
    done: dict[Expression, Expression] = {}
    for e in ordered(roots):
        conditions = len(e.operands) if e.op in ("and", "or", "not") else int(e.op == "select")
        parts = iter(
            _as_condition(done[a]) if i < conditions else _as_number(done[a])
            for i, a in enumerate(e.operands)
        )
        done[e] = make(e.op, *(next(parts) if isinstance(a, Expression) else a for a in e.args))
    return [_as_number(done[root]) for root in roots]


def _as_number(e: Expression) -> Expression:
    return select(e, ONE, ZERO) if e.op in CONDITIONS else e


def _as_condition(e: Expression) -> Expression:
    return e if e.op in CONDITIONS else make("not_equal", e, ZERO)


def ordered(roots: Iterable[Expression]) -> list[Expression]:
    """All parts of the roots, each after its operands; the order is the same for equal roots."""
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
    """The expressions of `order` (from `ordered`) that are equal for all units of a row: sums, and what they make."""
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
