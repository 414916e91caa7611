"""Makes the kernels of one cell: traces its step to equations, and compiles them to a separate library."""

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
"""The parameters that every cell has; they come first in Weights (recurrence.h)."""
LIMITS = {"states": 16, "products": 48, "parameters": 48}  # MAX_... in cell.h


@dataclass(frozen=True, eq=False)
class Kernels:
    """What is needed to call a cell's library."""

    names: tuple[str, ...]
    """The cell's parameters and buffers, in the order of Weights in recurrence.h."""
    buffers: frozenset[str]
    widths: tuple[int, ...]
    """How many blocks of units each state has."""
    address: int
    """The address of the cell's description in the library."""
    library: ctypes.CDLL
    built: Built
    plan: Plan

    def tensors(self, cell: Cell) -> tuple[Tensor | None, ...]:
        """The cell's tensors, in the order of `names`; None for an initial state that is not learned."""
        return tuple(tensor_of(cell, name) for name in self.names)


def tensor_of(cell: Cell, name: str) -> Tensor | None:
    """A parameter or buffer by its name, which may be dotted (of a submodule)."""
    path, _, last = name.rpartition(".")
    found: Tensor | None = getattr(cell.get_submodule(path), last, None)
    return found


_lock = RLock()
_read: WeakKeyDictionary[Cell, tuple[object, object]] = WeakKeyDictionary()
"""{cell: (its state when its step was last read, the key of its kernels)}."""


def kernels_of(cell: Cell) -> Kernels:
    """A cell's kernels, compiled at the first call. check.py must still compare them with the cell's step.

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
    """The key of a cell's kernels. For rnnlab's own cells it is made from what the cell holds. The step of a user's
    cell may also depend on globals, closures and class attributes, so that its step is traced again.
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
    """The C code of a cell, the order of its parameters, and the plan. Raises Untraceable."""
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
    """Traces and compiles a cell; returns its kernels, or the reason for failure in one line."""
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
