"""The plan of one step of a cell: what products add up in, in which order things are computed, what is
kept for the way back.

A step is computed in loops over the units. A product ends a phase, for it needs whole rows of what it multiplies; a sum
over the units ends a pass within a phase. So every loop has a time (phase, pass).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rnnlab.native.expressions import Expression
from rnnlab.native.schedule import Loops


@dataclass(frozen=True)
class Product:
    """A source times a column of blocks of a matrix: block `rows[i]` of its rows goes to slot `slot + i`."""

    matrix: str
    column: int
    source: Expression
    slot: int
    rows: tuple[int, ...]
    phase: int
    back: int


@dataclass
class Plan:
    """Slots are numbered as they stand in memory: those with an input's product first."""

    inputs: tuple[int, ...]
    """The block of the input's product that each of the first slots takes."""
    slots: int
    products: list[Product]
    biases: list[tuple[str, int, int]]
    """(name, block, slot): what a slot starts from."""
    vectors: list[tuple[str, int]]
    """(name, block) of parameters by unit, those with a gradient first; block -1: one number for all units."""
    output: Expression
    states: tuple[Expression, ...]
    output_state: int | None
    """The state that is the output."""
    kept: dict[Expression, int]
    """Places beside the slots."""
    over: dict[Expression, int]
    """Values kept in a slot, over what the products left there."""
    deltas: dict[int, Expression]
    """Gradients of the slots and, behind them, of the `vectors` and of the `derived`, each in their order."""
    carry: dict[int, Expression]
    """The elementwise part of the gradients of the states before; only where it is used."""
    derived: list[Expression]
    """Values of the vectors alone that take more than sums and products: computed once a call, and kept behind the
    `vectors`."""
    gained: dict[int, Expression]
    """What the vectors' gradients get, once a call, from the gradients of the derived."""
    multiplied: set[int]
    """States whose gradient comes by products or by the layer's output, too."""
    forward: Loops = field(init=False)
    backward: Loops = field(init=False)
    gates: int = 0
    primal: set[Expression] = field(default_factory=set)
    quiet: Plan | None = None
    """A step whose output nobody reads, where the output is no state: with the same places, and deltas of its own."""
    quiet_inputs: int = 0
    """The input's slots that a quiet step needs lie before this one."""
    left_out: set[int] = field(default_factory=set)
    """The products, by their numbers, that a quiet step does without."""
    stores: set[Expression] | None = None
    """What a quiet step stores of what the way forward keeps for later; None: all."""

    @property
    def apart(self) -> bool:
        return len(self.backward.loops) > 1

    def stored(self) -> dict[Expression, int]:
        """What the step leaves in memory anyway: the output (-1) and the next states."""
        found = {s: i for i, s in reversed(list(enumerate(self.states)))}
        if self.output_state is None:
            found[self.output] = -1
        return found
