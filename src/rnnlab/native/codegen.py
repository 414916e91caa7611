"""Writes a plan as C: the description of a cell for the driver, and the cell's functions (cell.h)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rnnlab.cells import Cell
from rnnlab.native.expressions import Expression
from rnnlab.native.phases import Function
from rnnlab.native.plan import Plan
from rnnlab.native.schedule import Loops


def _phases(loops: Loops) -> int:
    return max(phase for phase, _ in loops.loops) + 1


def _forward(plan: Plan, phase: int, name: str) -> str:
    f = Function(plan, plan.forward, phase, back=False)
    last, quiet = max(plan.forward.loops), plan.stores is not None
    lines: list[str] = []
    for time in (t for t in plan.forward.loops if t[0] == phase):
        stores: list[tuple[str, Expression]] = []
        left: list[tuple[str, Expression]] = []
        f.time = time
        for e, when in plan.forward.when.items():
            if when != time or (plan.stores is not None and e not in plan.stores):
                continue
            if e in plan.kept:
                left.append((f"{f.at('kept', 'kept')} + {plan.kept[e]} * units", e))
            if e in plan.over:
                left.append((f"{f.at('slots', 'slots')} + {plan.over[e]} * units", e))
            if e in plan.forward.spare:
                left.append((f"{f.at('spare', 'spare')} + {plan.forward.spare[e]} * units", e))
        stores += [(f.at(f"next{i}", f"next[{i}]"), s) for i, s in enumerate(plan.states)
                   if plan.forward.when[s] == time]  # fmt: skip
        if time == last and plan.output_state is None and not quiet:
            stores.append((f.at("y", "y"), plan.output))
        lines += f.loop(time, stores, left=left)
    return f.whole(f"{name}_{phase}", lines)


def _backward(plan: Plan, phase: int, name: str) -> str:
    f = Function(plan, plan.backward, phase, back=True)
    last = max(plan.backward.loops)
    written: set[int] = set()
    lines: list[str] = []
    for time, wanted in plan.backward.loops.items():
        roots = set(wanted)
        due = [(slot, g) for slot, g in plan.deltas.items() if g in roots and slot not in written]
        written.update(slot for slot, _ in due)
        if time[0] != phase:
            continue
        f.time = time
        left = [
            (f"{f.at('spare', 'spare')} + {plan.backward.spare[e]} * units", e)
            for e, when in plan.backward.when.items()
            if when == time and e in plan.backward.spare
        ]
        of_slots = [(slot, g) for slot, g in due if slot < plan.slots]
        stores = [(f"{f.at('deltas', 'deltas')} + {slot} * units", g) for slot, g in of_slots]
        gains = [(f"d_vectors + {slot - plan.slots} * units", g) for slot, g in due if slot >= plan.slots]
        if time == last:
            stores += [(f.at(f"carry{i}", f"carry[{i}]"), g) for i, g in plan.carry.items()]
        lines += f.loop(time, stores, gains, left)
    return f.whole(f"{name}_{phase}", lines)


def _derived(plan: Plan) -> str:
    """The functions for values that depend on the vectors only, forward and backward."""
    f = Function(plan, Loops({}, {}, {}, {}, set()), -1, back=True)
    f.stored = {}
    stores = [(f"vectors + {len(plan.vectors) + i} * units", e) for i, e in enumerate(plan.derived)]
    gains = [(f"totals + {plan.slots + i} * units", g) for i, g in plan.gained.items()]
    return "\n".join([
        "static void derive(float *vectors, size_t units) {",
        "    (void)vectors, (void)units;", *f.loop((0, 0), stores), "}", "",
        "static void derive_back(const float *vectors, float *totals, size_t units) {",
        "    (void)vectors, (void)totals, (void)units;", *f.loop((0, 0), (), gains), "}",
    ])  # fmt: skip


def _numbers(values: Iterable[int]) -> str:
    return "(const int64_t[]){" + ", ".join([*map(str, values), "0"]) + "}"


def _again(plan: Plan) -> list[int]:
    """For each product: whether an earlier product of the backward pass has the same source."""
    order = sorted(range(len(plan.products)), key=lambda k: (plan.products[k].back, k))
    seen: set[Expression] = set()
    found = [0] * len(order)
    for k in order:
        source = plan.products[k].source
        found[k] = int(source in seen)
        seen.add(source)
    return found


def generate(plan: Plan, names: Sequence[str], sizes: dict[str, tuple[int, ...]], cell: Cell) -> str:
    """The C code of a cell; `names` in the order of Weights in recurrence.h: weight_ih, initial, then the others."""
    hidden, widths = cell.hidden_size, cell.widths
    index = {name: i for i, name in enumerate(names)}
    written: dict[tuple[str, ...] | tuple[str, int, int], None] = {}

    def adds(*key: object) -> int:
        before = key in written
        written[key] = None  # type: ignore[index]
        return int(before)

    products = []
    for k, (p, again) in enumerate(zip(plan.products, _again(plan), strict=True)):
        columns = sizes[p.matrix][1] // hidden
        state = int(p.source.args[0]) if p.source.op == "state" else -1  # type: ignore[arg-type]
        kept = plan.kept[p.source] if state < 0 else -1
        products.append(
            f"    {{{index[p.matrix]}, {p.column}, {columns}, {state}, {kept}, {p.slot}, {len(p.rows)}, {p.phase}, "
            f"{p.back}, {again}, {int(k in plan.left_out)}, {_numbers(p.rows)}, "
            f"{_numbers(adds(p.matrix, row, p.column) for row in p.rows)}}},"
        )
    by_units = []
    for name, block, slot in plan.biases:
        if name in index:
            by_units.append(f"    {{{index[name]}, {block}, 0, -1, {slot}, {adds(name, block)}}},")
    for k, (name, block) in enumerate(plan.vectors):
        slot = plan.slots + k if plan.slots + k in plan.deltas or k in plan.gained else -1
        by_units.append(
            f"    {{{index[name]}, {max(block, 0)}, {int(block < 0)}, {k}, {slot}, {adds(name, block)}}},"
        )
    cleared = []
    for name in names:
        size = sizes.get(name)
        blocks = size[0] // hidden if size else 0
        if name == "weight_ih":
            complete = sorted(plan.inputs) == list(range(plan.gates))
            cleared.append(0 if complete else plan.gates)
        elif name == "initial" or not size or math.prod(size) == 1:
            cleared.append(0)
        elif len(size) == 2 and any(p.matrix == name for p in plan.products):
            columns = size[1] // hidden
            complete = all((name, r, c) in written for r in range(blocks) for c in range(columns))
            cleared.append(0 if complete else -blocks * columns)
        else:
            blocks = math.prod(size) // hidden
            cleared.append(0 if all((name, b) in written for b in range(blocks)) else blocks)
    own, free = [], 0
    for i in range(len(plan.states)):
        own.append(-1 if plan.output_state == i else free)
        free += plan.output_state != i
    count = len(plan.states)
    spares = max(len(plan.forward.spare), len(plan.backward.spare))
    forward, backward = _phases(plan.forward), _phases(plan.backward)
    description = {
        "parameters": len(names), "gates": plan.gates, "inputs": len(plan.inputs), "slots": plan.slots,
        "vectors": len(plan.vectors), "derived": len(plan.derived),
        "kept": len(plan.kept), "spares": spares,
        "masked": int(cell.recurrent_dropout > 0), "keeps": sum(cell.state_blocks) if cell.zoneout else 0,
        "learned": sum(cell.state_blocks), "states": count, "own_states": free,
        "output": -1 if plan.output_state is None else plan.output_state,
        "apart": int(plan.apart), "gate": _numbers(plan.inputs), "own": _numbers(own),
        "start": _numbers(sum(widths[:i]) for i, k in enumerate(widths) for _ in range(k)),
        "width": _numbers(k for k in widths for _ in range(k)),
        "multiplied": _numbers(int(i in plan.multiplied) for i in range(count)),
        "carried": _numbers(int(i in plan.carry) for i in range(count)), "cleared": _numbers(cleared),
        "products": len(products), "by_units": len(by_units), "phases": forward, "back_phases": backward,
        "product": "products", "by_unit": "by_units", "quiet_inputs": plan.quiet_inputs,
        "derive": "derive", "derive_back": "derive_back",
    }  # fmt: skip
    ways = {"forward": forward, "backward": backward}
    parts = ['#include "cell.h"', *(_forward(plan, k, "forward") for k in range(forward))]
    parts += [_backward(plan, k, "backward") for k in range(backward)]
    if plan.quiet:
        ways |= {"quiet_forward": forward, "quiet_backward": backward}
        parts += [_forward(plan.quiet, k, "quiet_forward") for k in range(forward)]
        parts += [_backward(plan.quiet, k, "quiet_backward") for k in range(backward)]
    description |= {way: way for way in ways}
    parts += [_derived(plan)]
    parts += ["static const Product products[] = {\n" + "\n".join([*products, "    {0},"]) + "\n};"]
    parts += ["static const ByUnit by_units[] = {\n" + "\n".join([*by_units, "    {0},"]) + "\n};"]
    for name, n in ways.items():
        listed = ", ".join(f"{name}_{k}" for k in range(n))
        parts.append(f"static void (*const {name}[])(const StepRows *) = {{{listed}}};")
    fields = "\n".join(f"    .{name} = {value}," for name, value in description.items())
    parts.append(f"const Cell rnnlab_cell = {{\n{fields}\n}};")
    return "\n\n".join(parts) + "\n"
