"""Shows a cell's step as the compiler has traced it, as lines of mathematics for people."""

from __future__ import annotations

from collections.abc import Mapping

from rnnlab.cells import Cell
from rnnlab.native.expressions import LEAVES, Expression, ordered
from rnnlab.native.kernels import source
from rnnlab.native.plan import Plan

INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "less": "<", "less_equal": "<=", "equal": "==",
         "not_equal": "!=", "and": "and", "or": "or"}  # fmt: skip
NUMBERED = {"slot": "a", "derived": "w", "d_derived": "dw"}


def read(cell: Cell) -> dict[str, list[str]]:
    """{title: lines} of the step, its derivative, and their cost. Raises Untraceable."""
    _, _, plan = source(cell)
    names = _state_names(cell, len(plan.states))
    outputs = [(f"{name}'", e) for name, e in zip(names, plan.states, strict=True)]
    if plan.output_state is None:
        outputs.append(("y", plan.output))
    sums = [(f"a{i}", _sum_of(plan, i, names)) for i in range(plan.slots)]
    kept = {
        e: f"k{plan.kept[e]}" if e in plan.kept else f"a{plan.over[e]}'" for e in [*plan.kept, *plan.over]
    }
    fixed = [(f"w{k}", e) for k, e in enumerate(plan.derived)]
    _, once = _written(fixed, names, {}, "v")
    step = [*once, *(f"{name} = {text}" for name, text in sums)]
    sources = [(f"p{k}", p.source) for k, p in enumerate(plan.products) if p.source.op != "state"]
    shared, lines = _written([*sources, *outputs], names, {}, "t")
    step += lines
    backward = [(f"d{n}", g) for n, g in _deltas(plan, names)]
    given = {e: text for e, text in shared.items() if e in kept}
    given |= {e: f"{n}'" for n, e in zip(names, plan.states, strict=True)}
    _, back = _written(backward, names, given, "g")
    gained = [(f"d{_by_unit(plan.vectors[i])}", g) for i, g in plan.gained.items()]
    _, once = _written(gained, names, dict(zip(plan.derived, (w for w, _ in fixed), strict=True)), "u")
    back += [line.replace(" = ", " += ", 1) if line.startswith("d") else line for line in once]
    products = sum(len(p.rows) for p in plan.products)
    cost = [
        f"products of (H x H) a step: {products}, one after another: {len({p.phase for p in plan.products})}",
        f"blocks kept a step for the way back: {plan.slots} sums, {len(plan.kept)} beside them, "
        f"{len(plan.states)} states",
    ]
    return {"step": step, "derivative": back, "cost": cost}


def _state_names(cell: Cell, count: int) -> list[str]:
    named = [*cell.named_states, "t"] if cell.counts and cell.named_states else list(cell.named_states)
    return named if len(named) == count else ["h"] if count == 1 else [f"s{i}" for i in range(count)]


def _sum_of(plan: Plan, slot: int, states: list[str]) -> str:
    """The sum in a slot as text."""
    parts = [f"weight_ih[{plan.inputs[slot]}] x"] if slot < len(plan.inputs) else []
    for k, p in enumerate(plan.products):
        if p.slot <= slot < p.slot + len(p.rows):
            row = p.rows[slot - p.slot]
            of = states[int(p.source.args[0])] if p.source.op == "state" else f"p{k}"  # type: ignore[arg-type]
            parts.append(f"{p.matrix}[{row}{f', {p.column}' if p.column else ''}] {of}")
    parts += [f"{name}[{block}]" for name, block, at in plan.biases if at == slot]
    return " + ".join(parts)


def _deltas(plan: Plan, states: list[str]) -> list[tuple[str, Expression]]:
    by_unit = [*map(_by_unit, plan.vectors), *(f"w{k}" for k in range(len(plan.derived)))]
    places = [*(f"a{i}" for i in range(plan.slots)), *by_unit]
    found = [(places[i], g) for i, g in plan.deltas.items()]
    return [*found, *((states[i], g) for i, g in plan.carry.items())]


def _by_unit(vector: tuple[str, int]) -> str:
    name, block = vector
    return name if block < 0 else f"{name}[{block}]"


def _written(
    roots: list[tuple[str, Expression]], states: list[str], given: Mapping[Expression, str], letter: str
) -> tuple[dict[Expression, str], list[str]]:
    """({expression: name}, lines of the roots); each expression that is used twice gets a name."""
    users: dict[Expression, int] = {}
    order = ordered(e for _, e in roots)
    for e in order:
        for a in e.operands if e.op not in LEAVES and e not in given else ():
            users[a] = users.get(a, 0) + 1
    named = dict(given)
    lines: list[str] = []
    at_hand = {e: name for name, e in roots}

    def text(e: Expression, inner: bool = False) -> str:
        if e in named:
            return named[e]
        first = e.args[0] if e.args else ""
        if e.op == "constant":
            return f"{first:g}"
        if e.op == "state":
            return states[int(first)]  # type: ignore[arg-type]
        if e.op in NUMBERED:
            return f"{NUMBERED[e.op]}{first}"
        if e.op == "vector":
            return _by_unit((str(first), int(e.args[1])))  # type: ignore[arg-type]
        if e.op == "keep":
            return f"keep_{states[int(first)]}"  # type: ignore[arg-type]
        if e.op == "d_state":
            return f"d{states[int(first)]}'"  # type: ignore[arg-type]
        if e.op in LEAVES:
            return {"d_output": "dy", "d_product": f"dp{first}", "mask": "mask"}[e.op]
        parts = [text(a, e.op in INFIX or e.op == "neg") for a in e.operands]
        if e.op in INFIX:
            whole = f"{parts[0]} {INFIX[e.op]} {parts[1]}"
            return f"({whole})" if inner else whole
        return f"-{parts[0]}" if e.op == "neg" else f"{e.op}({', '.join(parts)})"

    live: set[Expression] = set()
    todo = [e for _, e in roots]
    while todo:
        e = todo.pop()
        if e not in live and e not in given:
            live.add(e)
            todo.extend(e.operands if e.op not in LEAVES else ())
    for e in order:
        if e in live and e.op not in LEAVES and e not in named and users.get(e, 0) > 1 and e not in at_hand:
            name = f"{letter}{len(named) - len(given)}"
            lines.append(f"{name} = {text(e)}")
            named[e] = name
    for name, e in roots:
        lines.append(f"{name} = {text(e)}")
        named.setdefault(e, name)
    return named, lines
