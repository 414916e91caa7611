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


class _Written:
    """The blocks of gradients that are written so far: the first to write one replaces it, later ones add to it."""

    def __init__(self) -> None:
        self.blocks: set[tuple[object, ...]] = set()

    def adds(self, *block: object) -> int:
        before = block in self.blocks
        self.blocks.add(block)
        return int(before)


def generate(plan: Plan, names: Sequence[str], sizes: dict[str, tuple[int, ...]], cell: Cell) -> str:
    """The C code of a cell; `names` in the order of Weights in recurrence.h: weight_ih, initial, then the others."""
    index, written = {name: i for i, name in enumerate(names)}, _Written()
    products = _products(plan, index, sizes, cell.hidden_size, written)
    by_units = _by_units(plan, index, written)
    cleared = [_cleared(plan, name, sizes.get(name), cell.hidden_size, written) for name in names]
    forward, backward = _phases(plan.forward), _phases(plan.backward)
    description = _description(plan, cell, len(names), cleared) | {
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


def _products(
    plan: Plan, index: dict[str, int], sizes: dict[str, tuple[int, ...]], hidden: int, written: _Written
) -> list[str]:
    """The rows of the table of products (Product in cell.h)."""
    found = []
    for k, (p, again) in enumerate(zip(plan.products, _again(plan), strict=True)):
        columns = sizes[p.matrix][1] // hidden
        state = int(p.source.args[0]) if p.source.op == "state" else -1  # type: ignore[arg-type]
        kept = plan.kept[p.source] if state < 0 else -1
        adds = _numbers(written.adds(p.matrix, row, p.column) for row in p.rows)
        found.append(
            f"    {{{index[p.matrix]}, {p.column}, {columns}, {state}, {kept}, {p.slot}, {len(p.rows)}, {p.phase}, "
            f"{p.back}, {again}, {int(k in plan.left_out)}, {_numbers(p.rows)}, {adds}}},"
        )
    return found


def _by_units(plan: Plan, index: dict[str, int], written: _Written) -> list[str]:
    """The rows of the table of parameters with one number per unit (ByUnit in cell.h)."""
    found = [
        f"    {{{index[name]}, {block}, 0, -1, {slot}, {written.adds(name, block)}}},"
        for name, block, slot in plan.biases
        if name in index
    ]
    for k, (name, block) in enumerate(plan.vectors):
        slot = plan.slots + k if plan.slots + k in plan.deltas or k in plan.gained else -1
        found.append(
            f"    {{{index[name]}, {max(block, 0)}, {int(block < 0)}, {k}, {slot}, {written.adds(name, block)}}},"
        )
    return found


def _cleared(plan: Plan, name: str, size: tuple[int, ...] | None, hidden: int, written: _Written) -> int:
    """How much of a parameter's gradient is set to zero first, because not all of it is written (cleared in cell.h)."""
    if name == "weight_ih":
        return 0 if sorted(plan.inputs) == list(range(plan.gates)) else plan.gates
    if name == "initial" or not size or math.prod(size) == 1:
        return 0
    if len(size) == 2 and any(p.matrix == name for p in plan.products):
        rows, columns = (n // hidden for n in size)
        complete = all((name, r, c) in written.blocks for r in range(rows) for c in range(columns))
        return 0 if complete else -rows * columns
    blocks = math.prod(size) // hidden
    return 0 if all((name, b) in written.blocks for b in range(blocks)) else blocks


def _description(plan: Plan, cell: Cell, parameters: int, cleared: Sequence[int]) -> dict[str, object]:
    """The fields of the description of the cell that say what its states, slots and parameters are."""
    own, free = [], 0
    for i in range(len(plan.states)):
        own.append(-1 if plan.output_state == i else free)
        free += plan.output_state != i
    count, widths = len(plan.states), cell.widths
    return {
        "parameters": parameters, "gates": plan.gates, "inputs": len(plan.inputs), "slots": plan.slots,
        "vectors": len(plan.vectors), "derived": len(plan.derived), "kept": len(plan.kept),
        "spares": max(len(plan.forward.spare), len(plan.backward.spare)),
        "masked": int(cell.recurrent_dropout > 0), "keeps": sum(cell.state_blocks) if cell.zoneout else 0,
        "learned": sum(cell.state_blocks), "states": count, "own_states": free,
        "output": -1 if plan.output_state is None else plan.output_state,
        "apart": int(plan.apart), "gate": _numbers(plan.inputs), "own": _numbers(own),
        "start": _numbers(sum(widths[:i]) for i, k in enumerate(widths) for _ in range(k)),
        "width": _numbers(k for k in widths for _ in range(k)),
        "multiplied": _numbers(int(i in plan.multiplied) for i in range(count)),
        "carried": _numbers(int(i in plan.carry) for i in range(count)), "cleared": _numbers(cleared),
    }  # fmt: skip
