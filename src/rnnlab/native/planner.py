"""Makes the plan of a step from a cell's equations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from rnnlab.native import expressions as ex
from rnnlab.native.derivative import gradients
from rnnlab.native.derived import gained, separate
from rnnlab.native.expressions import CHEAP, FREE, ZERO, Expression, make, ordered, uniform
from rnnlab.native.plan import Plan, Product
from rnnlab.native.quiet import made_quiet
from rnnlab.native.schedule import Loops, Time, last_reads, schedule, times
from rnnlab.native.slots import Terms, places, slots
from rnnlab.native.tracing import Traced


def plan(traced: Traced) -> Plan:
    whole, derived = separate([traced.output, *traced.states])
    roots, terms = slots(whole)
    return _Planner(traced, roots, terms, derived).plan()


class _Planner:
    def __init__(
        self, traced: Traced, roots: list[Expression], terms: list[Terms], derived: list[Expression]
    ) -> None:
        self.traced, self.derived = traced, derived
        place = places(terms)
        rename: dict[Expression, Expression] = {}
        for e in ordered(roots):
            args = [rename[a] if isinstance(a, Expression) else a for a in e.args]
            if e.op == "slot":
                args[0] = place[int(e.args[0])]  # type: ignore[arg-type]
            rename[e] = make(e.op, *args)
        self.terms: list[Terms] = [[] for _ in terms]
        for i, parts in enumerate(terms):
            self.terms[place[i]] = [
                make(p.op, *(rename[a] if isinstance(a, Expression) else a for a in p.args)) for p in parts
            ]
        self.output, *states = (rename[r] for r in roots)
        self.states = tuple(states)
        self.roots = [self.output, *self.states]

    def plan(self) -> Plan:
        sources = dict.fromkeys(p.operands[0] for _, p in self._parts("product"))
        everything = ordered([*self.roots, *sources])
        self.leaves = {int(e.args[0]): e for e in everything if e.op == "slot"}  # type: ignore[arg-type]
        self.output_state = self.states.index(self.output) if self.output in self.states else None
        self.sources = [s for s in sources if s.op != "state"]
        self.feeds: dict[Expression, list[int]] = {
            s: [i for i, p in self._parts("product") if p.operands[0] is s] for s in self.sources
        }
        by_unit = [e.args for e in ordered([*everything, *self.derived]) if e.op == "vector"]
        self.vectors = [(str(name), int(block)) for name, block in by_unit]  # type: ignore[arg-type]
        self.vectors.sort(key=lambda v: v[0] in self.traced.buffers)
        self.multiplied = {int(s.args[0]) for s in sources if s.op == "state"}  # type: ignore[arg-type]
        if self.output_state is not None:
            self.multiplied.add(self.output_state)
        deltas, carry = self._gradients()
        trained = [make("vector", *v) for v in self.vectors if v[0] not in self.traced.buffers]
        derived = list(self.derived)
        deltas, carry = _separated(deltas, carry, derived)
        forward = times([*self.roots, *self.sources], {})
        pending = self._pending(deltas, everything)
        d_times = times([*deltas.values(), *carry.values()], pending)
        assert [i for i, _ in self._parts("input")] == list(range(len(list(self._parts("input")))))
        result = Plan(
            inputs=tuple(int(p.args[0]) for _, p in self._parts("input")),  # type: ignore[arg-type]
            slots=len(self.terms), products=self._products(deltas, forward, d_times), biases=self._biases(),
            vectors=self.vectors, output=self.output, states=self.states, output_state=self.output_state, kept={},
            over={}, deltas=deltas, carry=carry, multiplied=self.multiplied, derived=derived,
            gained=gained(self.derived, trained), gates=self.traced.gates, primal=set(everything),
        )  # fmt: skip
        self._keep(result, forward, self.sources, d_times)
        result.quiet = self._quiet(result, pending)
        return result

    def _parts(self, *ops: str) -> Iterator[tuple[int, Expression]]:
        """(slot, part) of the parts of all slots' sums that are one of these operations."""
        return ((i, p) for i, parts in enumerate(self.terms) for p in parts if p.op in ops)

    def _biases(self) -> list[tuple[str, int, int]]:
        return [
            ("bias_ih", int(p.args[0]), i) if p.op == "input" else (str(p.args[0]), int(p.args[1]), i)  # type: ignore[arg-type]
            for i, p in self._parts("input", "vector")
        ]

    def _pending(self, deltas: dict[int, Expression], everything: list[Expression]) -> dict[Expression, Time]:
        """When the backward pass can read each value of the forward pass, and each gradient of a kept source.

        A source's gradient needs those of its slots, and so of later sources.
        """
        pending: dict[Expression, Time] = dict.fromkeys(everything, (0, 0))
        waiting = list(self.sources)

        def is_ready(s: Expression) -> bool:
            used = {e for i in self.feeds[s] for e in ordered([deltas[i]]) if e.op == "d_product"}
            return used <= pending.keys()

        while waiting:
            s = next(filter(is_ready, waiting), None)
            assert s is not None, "a cycle of products"
            phase = max(times([deltas[i]], pending)[deltas[i]][0] for i in self.feeds[s])
            pending[make("d_product", self.sources.index(s))] = (phase + 1, 0)
            waiting.remove(s)
        return pending

    def _products(
        self,
        deltas: dict[int, Expression],
        forward: dict[Expression, Time],
        d_times: dict[Expression, Time],
    ) -> list[Product]:
        """The products; those of one source with one matrix that go to consecutive slots are one."""
        groups: dict[tuple[str, int, Expression], list[tuple[int, int]]] = {}
        for i, p in self._parts("product"):
            where = (str(p.args[0]), int(p.args[2]), p.operands[0])  # type: ignore[arg-type]
            groups.setdefault(where, []).append((i, int(p.args[1])))  # type: ignore[arg-type]
        found = []
        for (matrix, column, source), members in groups.items():
            phase = 0 if source.op == "state" else forward[source][0] + 1
            members.sort()
            at = 0
            while at < len(members):
                run = [members[at]]
                while at + len(run) < len(members) and members[at + len(run)][0] == run[-1][0] + 1:
                    run.append(members[at + len(run)])
                at += len(run)
                back = 0 if source.op == "state" else max(d_times[deltas[i]][0] for i, _ in run)
                rows = tuple(row for _, row in run)
                found.append(Product(matrix, column, source, run[0][0], rows, phase, back))
        return found

    def _gradients(self, quiet: bool = False) -> tuple[dict[int, Expression], dict[int, Expression]]:
        """The deltas and the carry (see Plan); with `quiet` those of a step whose output has no gradient."""
        live = list(self.sources)
        while True:
            results: dict[Expression, Expression] = {}
            arriving = [(s, make("d_state", i)) for i, s in enumerate(self.states)]
            if self.output_state is None and not quiet:
                arriving.append((self.output, make("d_output")))
            arriving += [(s, make("d_product", self.sources.index(s))) for s in live]
            for e, g in arriving:
                results[e] = ex.add(results.get(e, ZERO), g)
            found = gradients(results)
            deltas = {i: found.get(leaf, ZERO) for i, leaf in self.leaves.items()}
            still = [s for s in live if not quiet or any(deltas[i] is not ZERO for i in self.feeds[s])]
            if still == live:
                break
            live = still
        trained = sum(name not in self.traced.buffers for name, _ in self.vectors)
        by_unit = [make("vector", *v) for v in self.vectors[:trained]]
        by_unit += [make("derived", k) for k, _ in enumerate(self.derived)]
        behind = [*range(trained), *range(len(self.vectors), len(self.vectors) + len(self.derived))]
        for at, leaf in zip(behind, by_unit, strict=True):
            if (g := found.get(leaf, ZERO)) is not ZERO:
                deltas[len(self.terms) + at] = g
        carry: dict[int, Expression] = {}
        for i in range(len(self.states)):
            g = found.get(make("state", i), ZERO)
            if g is not ZERO or i not in self.multiplied:
                carry[i] = g
        return deltas, carry

    def _quiet(self, plan: Plan, pending: dict[Expression, Time]) -> Plan | None:
        """The plan of a step whose output is not read; None where it saves nothing."""
        if plan.output_state is not None or any(e.op == "sum" for e in plan.primal):
            return None
        deltas, carry = self._gradients(quiet=True)
        deltas, carry = _separated(deltas, {i: carry.get(i, ZERO) for i in plan.carry}, plan.derived)
        quiet = replace(plan, deltas=deltas, carry=carry)
        quiet.forward = plan.forward
        quiet.backward = _loops_back(quiet, times([*deltas.values(), *carry.values()], pending))
        return quiet if made_quiet(plan, quiet, self.leaves) else None

    def _keep(
        self,
        plan: Plan,
        forward: dict[Expression, Time],
        sources: list[Expression],
        d_times: dict[Expression, Time],
    ) -> None:
        """Decides which values are kept for the backward pass, and where."""
        stored, primal, same = plan.stored(), plan.primal, uniform(ordered(plan.primal))
        back_roots = [*plan.deltas.values(), *plan.carry.values()]
        keep: dict[Expression, None] = {}
        needed: set[int] = set()  # slots whose sums the backward pass reads
        seen: set[Expression] = set()
        todo = list(back_roots)
        while todo:
            e = todo.pop()
            if e in seen:
                continue
            seen.add(e)
            if e in primal:
                if e.op == "slot":
                    needed.add(int(e.args[0]))  # type: ignore[arg-type]
                    continue
                if e in stored or e in sources or not e.operands:
                    continue
                if e.op not in (CHEAP if e in same else FREE):
                    keep[e] = None
                    continue
            todo.extend(e.operands)
        final = max([forward[r] for r in (*plan.states, plan.output)] + [(0, 0)])
        order = [e for e in ordered([*plan.states, plan.output, *sources]) if e in keep]
        at_end: dict[Time, list[Expression]] = {}
        for s in sources:
            at_end.setdefault(forward[s], []).append(s)
        last = max([final, *(forward[e] for e in order), *((forward[s][0] + 1, 0) for s in sources)])
        for s in plan.states:
            at_end.setdefault(forward[s], []).append(s)
        at_end.setdefault(last, []).extend([plan.output, *order])
        plan.kept = {s: i for i, s in enumerate(sources)}
        plan.forward = schedule(at_end, forward, {*plan.kept, *plan.states})
        read, held = last_reads(plan.forward)
        ready = {int(e.args[0]): at for e, at in forward.items() if e.op == "slot"}  # type: ignore[arg-type]
        free = [i for i in range(plan.slots) if i not in needed | held]
        for e in order:
            at = plan.forward.when[e]
            able = [i for i in free if read.get(i, (0, 0)) <= at and ready[i] <= at]
            own = [i for i in able if any(a.op == "slot" and a.args[0] == i for a in e.operands)]
            if able:
                plan.over[e] = (own or able)[0]
                free.remove(plan.over[e])
            else:
                plan.kept[e] = len(plan.kept)
        # kept values are stored where they are computed first, and available in later loops
        again = plan.forward.again
        plan.forward = schedule(at_end, forward, {*plan.kept, *plan.over, *plan.states}, again=again)
        plan.backward = _loops_back(plan, d_times)


def _loops_back(plan: Plan, d_times: dict[Expression, Time]) -> Loops:
    back_end: dict[Time, list[Expression]] = {}
    for g in plan.deltas.values():
        back_end.setdefault(d_times[g], []).append(g)
    end = max([d_times[g] for g in (*plan.deltas.values(), *plan.carry.values())] + [(0, 0)])
    back_end.setdefault(end, []).extend(plan.carry.values())
    stored = plan.stored()
    at_hand = {e for e in plan.primal if e in plan.kept or e in plan.over or e in stored}
    return schedule(back_end, d_times, at_hand, at_hand)


def _separated(
    deltas: dict[int, Expression], carry: dict[int, Expression], derived: list[Expression]
) -> tuple[dict[int, Expression], dict[int, Expression]]:
    """`deltas` and `carry` with leaves for values that depend on vectors only; appends new ones to `derived`."""
    back, derived[:] = separate([*deltas.values(), *carry.values()], derived)
    return dict(zip(deltas, back, strict=False)), dict(zip(carry, back[len(deltas) :], strict=True))
