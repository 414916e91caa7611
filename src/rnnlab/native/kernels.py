"""The kernels of one cell: its step as equations, compiled to a library of its own."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from threading import RLock
from weakref import WeakKeyDictionary

from torch import Tensor
from torch.nn.utils.parametrize import type_before_parametrizations

from rnnlab.cells import Cell
from rnnlab.cells.cell import equations_key
from rnnlab.native.bindings import library
from rnnlab.native.build import BuildError, Built, build_cell, load
from rnnlab.native.codegen import generate
from rnnlab.native.plan import Plan
from rnnlab.native.planner import plan
from rnnlab.native.symbols import Untraceable
from rnnlab.native.tracing import trace

FIRST = ("weight_ih", "initial")
"""The parameters that every cell has, first in the order of Weights in recurrence.h."""
LIMITS = {"states": 16, "products": 48, "parameters": 48}  # MAX_... in cell.h


@dataclass(frozen=True, eq=False)
class Kernels:
    """What a cell's library is called with."""

    names: tuple[str, ...]
    """The cell's parameters and buffers in the order of Weights in recurrence.h."""
    buffers: frozenset[str]
    widths: tuple[int, ...]
    """Blocks of units of each state."""
    address: int
    """Of the description in the library."""
    library: ctypes.CDLL
    built: Built
    plan: Plan

    def tensors(self, cell: Cell) -> tuple[Tensor | None, ...]:
        """The cell's own, in the order of `names`; None for an initial state that is not learned."""
        return tuple(tensor_of(cell, name) for name in self.names)


def tensor_of(cell: Cell, name: str) -> Tensor | None:
    """A parameter or buffer by its name, which may lead through modules."""
    path, _, last = name.rpartition(".")
    found: Tensor | None = getattr(cell.get_submodule(path), last, None)
    return found


_lock = RLock()
_read: WeakKeyDictionary[Cell, tuple[object, object]] = WeakKeyDictionary()
"""What each cell was when its step was last read, and under what its kernels are known."""


def kernels_of(cell: Cell) -> Kernels:
    """A cell's kernels, compiled at the first call; not held to its step yet, as check.py does.

    Raises ValueError with the reason where there are none.
    """
    known, now = library().cells, equations_key(cell)
    with _lock:
        before, key = _read.get(cell, (None, None))
        if before != now or key not in known:
            _read[cell] = now, (key := _key(cell, now))
        if key not in known:
            known[key] = _make(cell, library().built)
        found: Kernels | str = known[key]
    if isinstance(found, str):
        raise ValueError(found)
    return found


def _key(cell: Cell, now: object) -> object:
    """What tells the kernels of one cell from those of another. For rnnlab's own cells it is what the cell holds. The
    step of a user's cell may also look up globals, closures and attributes of its class: it is read again.
    """
    if type_before_parametrizations(cell).__module__.startswith("rnnlab.cells."):
        return now
    try:
        traced = trace(cell)
    except Untraceable as why:
        return now, str(why)
    shapes = tuple((name, tuple(t.shape)) for name, t in cell.named_parameters() if name != "weight_ih")
    buffers, drawn = tuple(name for name, _ in cell.named_buffers()), (cell.zoneout, cell.recurrent_dropout)
    return type_before_parametrizations(cell), traced, shapes, buffers, drawn, cell.widths


def source(cell: Cell) -> tuple[str, tuple[str, ...], Plan]:
    """The C of a cell, the order of its parameters, and the plan. Raises Untraceable."""
    traced = trace(cell)
    bias = ("bias_ih",) if cell.bias_ih is not None else ()
    names = (*FIRST, *bias, *traced.names)
    planned = plan(traced)
    counts = {"states": len(planned.states), "products": len(planned.products), "parameters": len(names)}
    for what, count in counts.items():
        if count > LIMITS[what]:
            raise Untraceable(
                f"{type_before_parametrizations(cell).__name__} has {count} {what}; the kernels take {LIMITS[what]}"
            )
    tensors = {name: tensor_of(cell, name) for name in names}
    sizes = {name: tuple(t.shape) for name, t in tensors.items() if t is not None}
    return generate(planned, names, sizes, cell), names, planned


def _make(cell: Cell, core: Built) -> Kernels | str:
    """Traces and compiles; or the reason why that cannot be, in one line."""
    try:
        text, names, planned = source(cell)
        built = build_cell(core, text)
        library = load(built)
    except Untraceable as why:
        return f"the native engine cannot compile {type_before_parametrizations(cell).__name__}: {why}"
    except BuildError as error:
        return (
            f"the native kernels of {type_before_parametrizations(cell).__name__} could not be built: {error}"
        )
    address = ctypes.addressof(ctypes.c_char.in_dll(library, "rnnlab_cell"))
    buffers = frozenset(name for name, _ in cell.named_buffers())
    return Kernels(names, buffers, cell.widths, address, library, built, planned)
