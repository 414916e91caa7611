"""Writes the C code of one phase of a plan: loops over rows and units (cell.h)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from rnnlab.native.expressions import CONDITIONS, LEAVES, Expression, ordered, uniform
from rnnlab.native.plan import Plan
from rnnlab.native.schedule import Loops, Time

INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "less": "<", "less_equal": "<=", "equal": "==",
         "not_equal": "!=", "and": "&", "or": "|"}  # fmt: skip
FUNCTIONS = {"exp": "vec_exp_any"}
ONE_A_ROW = {"div": "row_div", "sqrt": "row_sqrt"}
"""C functions for scalars, which are equal for all units."""
MANY = {"forward": 8, "back": 3}
"""With at least so many vectors, looping over the rows inside a loop over the blocks of units is faster than the other
order."""


def literal(value: float) -> str:
    """C text that gives exactly the nearest float."""
    rounded = float(np.float32(value))
    if math.isnan(rounded):
        return "NAN"
    if math.isinf(rounded):
        return "INFINITY" if rounded > 0 else "-INFINITY"
    return f"{rounded.hex()}f"


class Function:
    """Builds the C function of one phase."""

    def __init__(self, plan: Plan, loops: Loops, phase: int, *, back: bool) -> None:
        self.plan, self.loops, self.phase, self.back = plan, loops, phase, back
        self.stored = plan.stored()
        self.vectors = {v: i for i, v in enumerate(plan.vectors)}
        self.pointers: dict[str, str] = {}
        self.of_row = uniform(ordered([e for roots in loops.loops.values() for e in roots] + [
            s for sums in loops.sums.values() for s in sums
        ]))  # fmt: skip
        self.row_names: dict[Expression, str] = {}
        self.before: list[str] = []
        one_pass = sum(time[0] == phase for time in loops.loops) == 1
        many = len(plan.vectors) + len(plan.derived) >= MANY["back" if back else "forward"]
        # gradients then overwrite the slots, and must not do so before all units have read a value stored once a row
        in_slots = back and bool(self.of_row) and not plan.apart
        self.by_columns = one_pass and many and not in_slots
        """Whether the units are the outer loop, so that values that are equal for all rows are read only once."""
        self.columns: list[str] = []
        self.gained: list[str] = []
        """{number of a vector: the place where its gradient is added up}."""
        self.names: dict[Expression, str] = {}
        self.lines: list[str] = []
        self.uses: dict[Expression, int] = {}
        self.time: Time = (0, 0)
        self.count = 0

    def at(self, name: str, field: str) -> str:
        """C code for a pointer to the current row of a field of StepRows."""
        self.pointers[name] = f"a->{field}"
        return name

    def place(self, e: Expression) -> str | None:
        """C code for the address of a value that is in memory; None where it must be computed."""
        plan = self.plan
        if e.op in CONDITIONS:
            return None
        number = e.args[0] if e.args else None
        if e.op == "slot":
            return f"{self.at('slots', 'slots')} + {number} * units"
        if e.op == "state":
            return self.at(f"was{number}", f"was[{number}]")
        if e.op == "vector":
            return f"vectors + {self.vectors[(str(e.args[0]), int(e.args[1]))]} * units"  # type: ignore[arg-type]
        if e.op == "derived":
            return f"vectors + {len(plan.vectors) + number} * units"  # type: ignore[operator]
        if e.op == "d_derived":
            return f"totals + {plan.slots + len(plan.vectors) + number} * units"  # type: ignore[operator]
        if e.op == "mask":
            return self.at("mask", "mask")
        if e.op == "keep":
            return f"{self.at('keep', 'keep')} + {number} * units"
        if e.op == "d_output":
            return self.at("d_y", "d_y")
        if e.op == "d_product":
            return f"{self.at('d_kept', 'd_kept')} + {number} * units"
        if not self.back and self.loops.when.get(e, self.time) >= self.time:
            return None
        if e in plan.over and (self.back or self.loops.when[e] < self.time):
            return f"{self.at('slots', 'slots')} + {plan.over[e]} * units"
        if e in plan.kept and (self.back or self.loops.when[e] < self.time):
            return f"{self.at('kept', 'kept')} + {plan.kept[e]} * units"
        if (i := self.stored.get(e)) is not None and (self.back or i >= 0):
            return self.at("y", "y") if i < 0 else self.at(f"next{i}", f"next[{i}]")
        when = self.loops.when.get(e, self.time)
        if when[0] == self.time[0] and (e in self.of_row or e in self.loops.again):
            return None
        if when < self.time:
            return f"{self.at('spare', 'spare')} + {self.loops.spare[e]} * units"
        return None

    def name(self, e: Expression) -> str:
        of_row = e in self.of_row
        names, lines = (self.row_names, self.before) if of_row else (self.names, self.lines)
        if self.by_columns and e.op in ("vector", "derived"):
            lines = self.columns
        if e in names:
            return names[e]
        if e.op == "constant":
            return f"splat({literal(e.args[0])})"  # type: ignore[arg-type]
        kind = "vec_int" if e.op in CONDITIONS else "vec"
        text = self.text(e)
        made = f"v{self.count}"
        self.count += 1
        names[e] = made
        lines.append(f"{'' if of_row else '    '}        const {kind} {made} = {text};")
        return made

    def text(self, e: Expression) -> str:
        if e.op == "d_state":
            i = int(e.args[0])  # type: ignore[arg-type]
            parts = []
            if i in self.plan.multiplied:
                parts.append(f"load({self.at(f'd{i}', f'd[{i}]')} + j)")
            if i in self.plan.carry:
                parts.append(f"load({self.at(f'carry{i}', f'carry[{i}]')} + j)")
            return " + ".join(parts)
        if (place := self.place(e)) is not None:
            return f"load({place})" if e in self.of_row else f"load({place} + j)"
        if e.op in ("add", "sub"):
            a, b = e.operands
            for product, other in ((b, a), (a, b)):
                if self._fusible(product):
                    x, y = (self.name(f) for f in product.operands)
                    if e.op == "add":
                        return f"fma_({x}, {y}, {self.name(other)})"
                    if product is b:
                        return f"fma_(-{x}, {y}, {self.name(other)})"
                    return f"fma_({x}, {y}, -{self.name(other)})"
        operands = [self.name(a) for a in e.operands]
        if e.op in INFIX and not (e.op in ONE_A_ROW and e in self.of_row):
            return f"{operands[0]} {INFIX[e.op]} {operands[1]}"
        if e.op == "detach":  # only the derivative knows of it
            return operands[0]
        if e.op == "neg":
            return f"-{operands[0]}"
        if e.op == "not":
            return f"~{operands[0]}"
        if e.op == "select":
            return f"pick({', '.join(operands)})"
        function = ONE_A_ROW if e in self.of_row else FUNCTIONS
        return f"{function.get(e.op, FUNCTIONS.get(e.op, f'vec_{e.op}'))}({', '.join(operands)})"

    def _fusible(self, e: Expression) -> bool:
        """Whether `e` is a product that only this sum uses and that is computed here, so that both make one fma."""
        return e.op == "mul" and self.uses.get(e, 0) == 1 and e not in self.names and self.place(e) is None

    def _in_one_place(self, e: Expression) -> bool:
        """Whether a value is stored once a row and not for each unit."""
        return e in self.of_row and all(e is not p.source for p in self.plan.products)

    def loop(
        self,
        time: Time,
        stores: Sequence[tuple[str, Expression]],
        gains: Sequence[tuple[str, Expression]] = (),
        left: Sequence[tuple[str, Expression]] = (),
    ) -> list[str]:
        """C code of one loop over the units. `stores` and `gains` are (place, value); gains are added to the place.

        `left`: further stores, of values for the backward pass or for another phase.
        """
        self.time, self.names, self.lines, self.before = time, {}, [], []
        totals = self.loops.sums.get(time, ())
        self.uses = {}
        in_one_place = [(place, e) for place, e in left if self._in_one_place(e)]
        stores = [*(one for one in left if one not in in_one_place), *stores]
        counted: set[Expression] = set()
        todo = [e for _, e in (*stores, *gains)] + [s.operands[0] for s in totals]
        for e in todo:
            self.uses[e] = self.uses.get(e, 0) + 1
        while todo:
            e = todo.pop()
            if e in counted or e.op in LEAVES or e in self.of_row or self.place(e) is not None:
                continue
            counted.add(e)
            for a in e.operands:
                self.uses[a] = self.uses.get(a, 0) + 1
                todo.append(a)
        written = [f"            store({place} + j, {self.name(e)});" for place, e in stores]
        in_place = [f"        store({place}, {self.name(e)});" for place, e in in_one_place]
        if self.by_columns:
            for p, e in gains:
                written.append(f"            g{len(self.gained)} += {self.name(e)};")
                self.gained.append(p)
            return [*self.before, *self.lines, *written, *in_place]
        written += [f"            store({p} + j, load({p} + j) + {self.name(e)});" for p, e in gains]
        head, added, after = [], [], []
        for s in totals:
            i = self.count
            self.count += 1
            head.append(f"        UnitSum t{i} = {{0}};")
            added.append(f"            add_units(&t{i}, j, hidden, {self.name(s.operands[0])});")
            after.append(f"        const vec s{i} = sum_units(&t{i});")
            self.row_names[s] = f"s{i}"
        body = [*self.lines, *added, *written]
        if body:
            body = ["        for (size_t j = 0; j < units; j += WIDTH) {", *body, "        }"]
        # `in_place` comes late, because it may overwrite a slot that the loop reads
        return [*self.before, *head, *body, *in_place, *after]

    def whole(self, name: str, passes: Iterable[str]) -> str:
        """C code of the function. It copies the pointers of its argument first, so that no store can change them."""
        body = list(passes)
        fields = sorted(self.pointers.items())
        rows = "    for (size_t rows = a->rows; rows; rows--) {"
        first = [f"    float *{p} = {field}.pointer;" for p, field in fields]
        following = [f"        {p} += {p}_stride;" for p, _ in fields]
        if self.by_columns:
            loops = [
                "    for (size_t j = 0; j < units; j += WIDTH) {",
                *(f"    {line}" for line in first),
                *(line.removeprefix("    ") for line in self.columns),
                *(f"        vec g{i} = load({p} + j);" for i, p in enumerate(self.gained)),
                f"    {rows}",
                *body,
                *(f"    {line}" for line in following),
                "        }",
                *(f"        store({p} + j, g{i});" for i, p in enumerate(self.gained)),
                "    }",
            ]
        else:
            loops = [*first, rows, *body, *following, "    }"]
        return "\n".join(
            [
                f"static void {name}(const StepRows *a) {{",
                "    const size_t units = a->units, hidden = a->hidden;",
                "    const float *const vectors = a->vectors;",
                "    float *const d_vectors = a->d_vectors;",
                "    (void)hidden, (void)vectors, (void)d_vectors;",
                *(f"    const size_t {p}_stride = {field}.stride;" for p, field in fields),
                *loops,
                "}",
            ]
        )
