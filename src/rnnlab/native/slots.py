"""Finds the slots of a step: the sums of inputs, products and biases."""

from __future__ import annotations

from rnnlab.native import expressions as ex
from rnnlab.native.expressions import Expression, make, ordered

Terms = list[Expression]


def slots(roots: list[Expression]) -> tuple[list[Expression], list[Terms]]:
    """The roots, with slots instead of sums of inputs, products and biases; and the terms of each slot."""
    users: dict[Expression, int] = {}
    order = ordered(roots)
    for e in order:
        for a in e.operands:
            users[a] = users.get(a, 0) + 1
    for root in roots:
        users[root] = users.get(root, 0) + 1
    inner = {a for e in order if e.op == "add" for a in e.operands if a.op == "add" and users[a] == 1}
    done: dict[Expression, Expression] = {}
    found: list[Terms] = []

    def terms(e: Expression) -> Terms:
        return [t for a in e.operands for t in (terms(a) if a in inner else [a])]

    def slot(parts: Terms) -> Expression:
        parts = [
            make(p.op, *(_done(a, done, slot) if isinstance(a, Expression) else a for a in p.args))
            for p in parts
        ]
        found.append(parts)
        return make("slot", len(found) - 1, *(p.operands[0] for p in parts if p.op == "product"))

    for e in order:
        if e in inner:
            continue
        if e.op == "add":
            parts = terms(e)
            taken = [p for p in parts if p.op == "product" and users[p] == 1]
            single = [p for p in parts if p.op == "input" and users[p] == 1]
            taken += single[:1]
            if taken:
                taken += [p for p in parts if p.op == "vector"]
                made = slot(taken)
                left = list(parts)
                for p in taken:
                    left.remove(p)
                for p in left:
                    made = ex.add(_done(p, done, slot), made)
                done[e] = made
                continue
            result = _done(parts[0], done, slot)
            for p in parts[1:]:
                result = ex.add(result, _done(p, done, slot))
            done[e] = result
        elif e.op in ("input", "product"):
            continue  # replaced where it is used alone; see _done
        elif not e.operands:
            done[e] = e
        else:
            done[e] = make(e.op, *(_done(a, done, slot) if isinstance(a, Expression) else a for a in e.args))
    return [_done(root, done, slot) for root in roots], found


def _done(e: Expression, done: dict[Expression, Expression], slot: object) -> Expression:
    if e not in done and e.op in ("input", "product"):
        done[e] = slot([e])  # type: ignore[operator]
    return done[e]


def places(terms: list[Terms]) -> dict[int, int]:
    """{slot: its position}: slots with an input come first, and the slots of one product are adjacent."""
    groups: dict[tuple[object, ...], int] = {}

    def group(p: Expression) -> tuple[object, ...]:
        name, _, column, source = p.args
        return name, column, source

    for parts in terms:
        for p in parts:
            if p.op == "product":
                groups.setdefault(group(p), len(groups))

    def key(i: int) -> tuple[int, ...]:
        own = [groups[group(p)] for p in terms[i] if p.op == "product"]
        row = next((int(p.args[1]) for p in terms[i] if p.op == "product"), 0)  # type: ignore[arg-type]
        gate = next((int(p.args[0]) for p in terms[i] if p.op == "input"), None)  # type: ignore[arg-type]
        if gate is None:
            return 2, min(own), row, i
        return (1, -min(own), row, i) if own else (0, 0, gate, i)

    return {i: place for place, i in enumerate(sorted(range(len(terms)), key=key))}
