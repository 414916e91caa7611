"""The plan of one step of a cell: where products are summed, in which order values are computed, and which values are
kept for the backward pass.

A step is computed in loops over the units. A matrix product ends a phase, because it needs whole rows of its source; a
sum over the units ends a pass within a phase. So each loop has a time (phase, pass).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rnnlab.native.expressions import Expression
from rnnlab.native.schedule import Loops


@dataclass(frozen=True)
class Product:
    """A product of a source with a column of blocks of a matrix: its block `rows[i]` goes to slot `slot + i`."""

    matrix: str
    column: int
    source: Expression
    slot: int
    rows: tuple[int, ...]
    phase: int
    back: int


@dataclass
class Plan:
    """The plan. Slots are numbered in the order of memory: those that contain the input's product come first."""

    inputs: tuple[int, ...]
    """For each of the first slots: its block of the input's product."""
    slots: int
    products: list[Product]
    biases: list[tuple[str, int, int]]
    """(name, block, slot): the bias from which a slot's sum starts."""
    vectors: list[tuple[str, int]]
    """(name, block) of parameters with one number per unit, those with a gradient first; block -1: a single number."""
    output: Expression
    states: tuple[Expression, ...]
    output_state: int | None
    """The number of the state that is the output; None where the output is no state."""
    kept: dict[Expression, int]
    """{kept value: its place after the slots}."""
    over: dict[Expression, int]
    """{kept value: the slot that it overwrites}."""
    deltas: dict[int, Expression]
    """Gradients of the slots, followed by those of the `vectors` and of the `derived`, each in their order."""
    carry: dict[int, Expression]
    """{state: the elementwise part of the gradient of the previous state}, only where it is used."""
    derived: list[Expression]
    """Values that depend on vectors only and need a function or a division: computed once a call, stored after the
    `vectors`."""
    gained: dict[int, Expression]
    """{vector: what its gradient gets, once a call, from the gradients of the derived values}."""
    multiplied: set[int]
    """States whose gradient also comes through products or through the layer's output."""
    forward: Loops = field(init=False)
    backward: Loops = field(init=False)
    gates: int = 0
    primal: set[Expression] = field(default_factory=set)
    quiet: Plan | None = None
    """The plan of a quiet step, whose output is not read, where the output is no state: the same places, other deltas.
    """
    quiet_inputs: int = 0
    """A quiet step needs only the input's slots before this one."""
    left_out: set[int] = field(default_factory=set)
    """The numbers of the products that a quiet step does not compute."""
    stores: set[Expression] | None = None
    """The kept values that a quiet step stores in the forward pass; None: all."""

    @property
    def apart(self) -> bool:
        return len(self.backward.loops) > 1

    def stored(self) -> dict[Expression, int]:
        """{value: place} of what a step stores anyway: the output (-1) and the next states."""
        found = {s: i for i, s in reversed(list(enumerate(self.states)))}
        if self.output_state is None:
            found[self.output] = -1
        return found
