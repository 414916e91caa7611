"""Quiet steps: steps whose output is not read, and which compute less."""

from __future__ import annotations

from collections.abc import Mapping

from rnnlab.native import expressions as ex
from rnnlab.native.expressions import ZERO, Expression, ordered
from rnnlab.native.plan import Plan


def made_quiet(plan: Plan, quiet: Plan, leaves: Mapping[int, Expression]) -> bool:
    """Stores in both plans what a quiet step stores, and which products and inputs it does not need.

    `leaves` are the slots by their numbers. Returns False where its backward pass reads the output, which it does not
    compute.
    """
    kept, read = {*plan.kept, *plan.over}, set[int]()
    needed: set[Expression] = set()
    todo, seen = [*quiet.deltas.values(), *quiet.carry.values()], set[Expression]()
    while todo:
        e = todo.pop()
        if e in seen:
            continue
        seen.add(e)
        if e.op == "slot":
            read.add(int(e.args[0]))  # type: ignore[arg-type]
        elif e in kept:
            needed.add(e)
        elif e is plan.output and e.operands:
            return False
        elif e not in plan.states:
            todo.extend(e.operands)
    used = ordered([*plan.states, *needed, *(leaves[i] for i in read)])
    slots = {int(e.args[0]) for e in used if e.op == "slot"}  # type: ignore[arg-type]
    slots |= {i for i in leaves if quiet.deltas[i] is not ZERO}
    live = {p.source for p in plan.products if not slots.isdisjoint(range(p.slot, p.slot + len(p.rows)))}
    plan.left_out = {k for k, p in enumerate(plan.products) if p.source not in live}
    needed |= live & plan.kept.keys()
    plan.quiet_inputs = max((i + 1 for i in slots if i < len(plan.inputs)), default=0)
    quiet.stores = _stored(plan, needed)
    return True


def _stored(plan: Plan, needed: set[Expression]) -> set[Expression]:
    """The values that a quiet step must store, for its loops to compute the states and the values `needed` later."""
    found, when = set(needed), plan.forward.when
    for time in reversed(plan.forward.loops):
        todo = [e for e in (*found, *plan.states) if when[e] == time]
        seen: set[Expression] = set()
        while todo:
            e = todo.pop()
            if e in seen or e.op in ex.LEAVES:
                continue
            seen.add(e)
            if when[e] < time and e.op not in ex.CONDITIONS:
                found.add(e)
            else:
                todo.extend(e.operands)
    return found
