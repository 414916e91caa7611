"""Decides in which of the loops over the units each expression of a step is computed."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from rnnlab.native import expressions as ex
from rnnlab.native.expressions import LEAVES, Expression, ordered

Time = tuple[int, int]
"""(phase, pass): a matrix product ends a phase, because it needs whole rows of its source; a sum over the units ends a
pass within a phase."""
ANEW = 2
"""At most so many reads cost no more than writing a value and reading it."""


@dataclass(frozen=True)
class Loops:
    """What each loop computes, in the forward or the backward pass."""

    loops: dict[Time, list[Expression]]
    """{time: values that must be available at the end of this loop}, in order of time."""
    spare: dict[Expression, int]
    """{value that one loop stores for another: its place}."""
    when: dict[Expression, Time]
    """{expression: the first loop that computes it}."""
    sums: dict[Time, list[Expression]]
    """{time: sums over the units that this loop adds up}."""
    again: set[Expression]
    """Values that each loop of their phase computes again, which costs less than storing them."""


def times(roots: Iterable[Expression], given: dict[Expression, Time]) -> dict[Expression, Time]:
    """The earliest time of each expression."""
    found: dict[Expression, Time] = {}
    for e in ordered(roots):
        at = max((found[a] for a in e.operands), default=(0, 0))
        if e in given:
            at = given[e]
        elif e.op == "slot":
            later = [found[a][0] + 1 for a in e.operands if a.op != "state"]
            at = (max(later, default=0), 0)
        elif e.op == "sum":
            at = (at[0], at[1] + 1)
        found[e] = at
    return found


def schedule(
    at_end: dict[Time, list[Expression]],
    times: dict[Expression, Time],
    places: set[Expression],
    given: set[Expression] = frozenset(),  # type: ignore[assignment]
    again: set[Expression] | None = None,
) -> Loops:
    """Computes each value in the latest loop that is early enough. `places` already have a place in memory; `given` are
    not computed at all. With `again` only these values are computed again.

    A sum over units is computed by the loop before its time, and used from its time on.
    """
    wanted = {time: list(dict.fromkeys(roots)) for time, roots in sorted(at_end.items())}
    when: dict[Expression, Time] = {}
    # sums: the loop before their time needs their operand, whichever loop uses them
    everything = _reached([r for roots in wanted.values() for r in roots], given)
    for e in everything:
        if e.op == "sum":
            phase, number = times[e]
            wanted.setdefault((phase, number - 1), [])
            wanted.setdefault((phase, number), [])
    phases = {phase for phase, _ in wanted}
    for phase in range(max(phases, default=0) + 1):
        if phase not in phases:
            wanted[(phase, 0)] = []
    sums: dict[Time, list[Expression]] = {}
    for e in everything:
        if e.op == "sum":
            sums.setdefault((times[e][0], times[e][1] - 1), []).append(e)
    loops = dict(sorted(wanted.items()))
    for time in loops:
        for root in [*loops[time], *(a for s in sums.get(time, ()) for a in s.operands)]:
            todo = [root]
            while todo:
                e = todo.pop()
                if e in when or e in given:
                    continue
                when[e] = times[e] if e.op == "sum" else time
                if e.op not in LEAVES and e.op != "sum":
                    todo.extend(e.operands)
    of_row = ex.uniform(ordered(everything))
    spare: dict[Expression, int] = {}
    anew: set[Expression] = set()

    def reads(e: Expression, phase: int) -> float:
        """How many memory reads computing a value again would take; infinite where it takes costly operations."""
        if e.op == "constant" or e in of_row:
            return 0
        if e.op in LEAVES or e in places or e in given:
            return 1
        if e.op not in ex.LINEAR or when[e][0] != phase:
            return math.inf
        return sum(reads(a, phase) for a in e.operands)

    for time in loops:
        for root in [*loops[time], *(a for s in sums.get(time, ()) for a in s.operands)]:
            todo, seen = [root], set()
            while todo:
                e = todo.pop()
                if e in seen or e in given or e.op in LEAVES:
                    continue
                seen.add(e)
                if when[e] < time and e.op not in ex.CONDITIONS:  # these are computed again
                    near = when[e][0] == time[0]
                    if e in places or (near and e in of_row):  # these have a name in the row
                        continue
                    able = near and (again is None or e in again) and reads(e, time[0]) <= ANEW
                    if not able:
                        spare.setdefault(e, len(spare))
                        continue
                    anew.add(e)
                if e.op != "sum":
                    todo.extend(e.operands)
    return Loops(loops, spare, when, sums, anew)


def _reached(roots: list[Expression], given: Iterable[Expression]) -> list[Expression]:
    given = set(given)
    found: dict[Expression, None] = {}
    todo = list(roots)
    while todo:
        e = todo.pop()
        if e in found or e in given:
            continue
        found[e] = None
        if e.op not in LEAVES:
            todo.extend(e.operands)
    return list(found)


def last_reads(loops: Loops) -> tuple[dict[int, Time], set[int]]:
    """({slot: the last loop that reads it}; slots that any loop may read, because it computes values again)."""
    read: dict[int, Time] = {}
    held: set[int] = set()
    for e, time in loops.when.items():
        at = (time[0], time[1] - 1) if e.op == "sum" else time
        for a in (e, *e.operands):
            if a.op == "slot" and e.op not in ex.LEAVES - {"slot"} and (a is e or e.op != "slot"):
                slot = int(a.args[0])  # type: ignore[arg-type]
                read[slot] = max(read.get(slot, at), at)
                if e.op in ex.CONDITIONS or e in loops.again:
                    held.add(slot)
    return read, held
