"""Derived values depend on parameters and buffers only; they and their gradients are computed once a call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rnnlab.native.derivative import gradients
from rnnlab.native.expressions import (
    CONDITIONS,
    FREE,
    LEAVES,
    SUMS,
    ZERO,
    Expression,
    make,
    ordered,
    rebuild,
)


def separate(
    roots: Iterable[Expression], known: Sequence[Expression] = ()
) -> tuple[list[Expression], list[Expression]]:
    """Replaces the largest parts of the roots that depend on parameters and buffers only, and contain a function or a
    division, by leaves `derived(k)`. Returns the new roots, and all derived values, the `known` ones first.

    The source of a matrix product is not replaced: it is stored anyway.
    """
    order = ordered(roots)
    sources = {e.operands[0] for e in order if e.op == "product"} | {
        a for e in order if e.op == "slot" for a in e.operands
    }
    values = list(known)
    fixed: set[Expression] = set()
    heavy: set[Expression] = set()
    for e in order:
        leaf = e.op in ("vector", "constant", "derived")
        if leaf or (e.op not in LEAVES and e.op not in SUMS and all(a in fixed for a in e.operands)):
            fixed.add(e)
            if not leaf and (e.op not in FREE or any(a in heavy for a in e.operands)):
                heavy.add(e)
    parts: dict[Expression, Expression] = {}
    originals = {make("derived", k): value for k, value in enumerate(known)}
    seen: set[Expression] = set()
    todo = list(roots)
    while todo:
        e = todo.pop(0)
        if e in seen:
            continue
        seen.add(e)
        if e in heavy and e not in sources and e.op not in CONDITIONS:
            (value,) = rebuild([e], originals)
            if value not in values:
                values.append(value)
            parts[e] = make("derived", values.index(value))
        else:
            todo.extend(e.operands)
    return rebuild(roots, parts), values


def gained(values: Sequence[Expression], vectors: Sequence[Expression]) -> dict[int, Expression]:
    """{number of a vector: what its gradient gets from the gradients d_derived(k) of the derived values}."""
    found = gradients({value: make("d_derived", k) for k, value in enumerate(values)})
    return {i: found[v] for i, v in enumerate(vectors) if found.get(v, ZERO) is not ZERO}
