"""Traces a cell: runs its own `step` once on symbols, which gives its equations.

A symbol stands for a tensor (B, k*H) and holds k expressions; parameters and buffers become symbols when torch's
functions are called with them. An operation that cannot be traced is reported with file, line and function.
"""

from __future__ import annotations

import copy
import traceback
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils import parametrize
from torch.nn.utils.parametrize import type_before_parametrizations

from rnnlab.cells import Cell
from rnnlab.cells.cell import OF_A_MODULE
from rnnlab.cells.masks import Masks
from rnnlab.native import expressions as ex
from rnnlab.native.expressions import Expression
from rnnlab.native.rules import RULES
from rnnlab.native.symbols import Symbol, Trace, Untraceable, flat, placed


@dataclass(frozen=True)
class Traced:
    """The equations of a step, one expression per block."""

    output: Expression
    states: tuple[Expression, ...]
    """The next states; a state (B, k*H) is k of them."""
    names: tuple[str, ...]
    """The parameters and buffers that the step uses, except weight_ih, bias_ih and initial."""
    gates: int
    buffers: frozenset[str]
    """Those of `names` that have no gradient."""


def trace(cell: Cell) -> Traced:
    """The equations of a cell's step. Raises Untraceable."""
    kind = type(cell)
    for name in ("project", "forward", "start"):
        if getattr(kind, name) is not getattr(Cell, name):
            raise Untraceable(f"{kind.__name__} has a {name} of its own; only step and recur are compiled")
    with parametrize.cached(), torch.no_grad():
        twin = _twin(cell)
        tracer = Trace(twin, RULES)
        traced = _followed(twin, tracer)
        if not type_before_parametrizations(cell).__module__.startswith("rnnlab.cells."):
            _refuse_modes(twin, traced)
    if any(n in tracer.used for n in ("weight_ih", "initial")):
        raise Untraceable(f"{kind.__name__}.step uses the input's weights or the initial state itself")
    return traced


def _refuse_modes(cell: Cell, traced: Traced) -> None:
    """Raises Untraceable where training and evaluation mode give different steps: the kernels serve both."""
    modes = [(module, module.training) for module in cell.modules()]
    try:
        for module, training in modes:
            module.training = not training
        other = _followed(cell, Trace(cell, RULES))
    finally:
        for module, training in modes:
            module.training = training
    if other != traced:
        raise Untraceable(
            f"{type(cell).__name__}.step depends on self.training, or changes from call to call"
        )


def _twin(cell: Cell) -> Cell:
    """A copy of the cell with the same tensors, so that attributes which the step sets do not change the cell."""
    shared = (*cell.parameters(), *cell.buffers())
    with suppress(TypeError, RuntimeError):  # a cell that cannot be copied is traced itself
        return copy.deepcopy(cell, {id(t): t for t in shared})
    return cell


def _followed(cell: Cell, tracer: Trace) -> Traced:
    name = f"{type(cell).__name__}.step"
    gates = cell.weight_ih.shape[0] // cell.hidden_size
    u = Symbol(tracer, [ex.make("input", k) for k in range(gates)])
    state: list[Symbol] = []
    at = 0
    for width in cell.widths:
        number = cell.counts and len(state) == len(cell.widths) - 1
        state.append(Symbol(tracer, [ex.make("state", at + k) for k in range(width)], per_row=number))
        at += width
    kept = sum(cell.state_blocks) if cell.zoneout else 0
    keep: Any = Symbol(tracer, [ex.make("keep", k) for k in range(kept)])
    before = _attributes(cell)
    with torch.enable_grad(), tracer:  # so that a step that switches gradients off is noticed
        try:
            given = cell.advance(u, tuple(state), Masks(keep=keep) if kept else None)  # type: ignore[arg-type]
        except Untraceable:
            raise
        except Exception as error:  # an error of the step itself appears again when it runs on tensors
            why = " ".join(f"{type(error).__name__}: {error}".split())
            raise Untraceable(placed(traceback.extract_tb(error.__traceback__), why)) from error
    after = _attributes(cell)
    changed = [k for k, v in after.items() if k not in before or v is not before[k] or _holds_symbols(v)]
    if changed:
        raise Untraceable(f"{name} keeps {changed[0]} on self; a step must not")
    if not isinstance(given, tuple) or len(given) != 2 or not isinstance(given[1], tuple):
        raise Untraceable(f"{name} does not give (output, (state, ...))")
    y, following = tracer.symbol(given[0]), [tracer.symbol(s) for s in given[1]]
    if y.per_row or len(y.blocks) != 1:
        raise Untraceable(f"{name}'s output is not (B, H)")
    of_units = following[: len(cell.state_blocks)]
    if any(s.per_row for s in of_units) or [len(s.blocks) for s in following] != list(cell.widths):
        raise Untraceable(f"{name} gives states of other sizes than it takes")
    output, *states = ex.typed([y.blocks[0], *(b for s in following for b in s.blocks)])
    present = {e.args[0] for e in ex.ordered([output, *states]) if e.op in ("vector", "product")}
    names = tuple(n for n in tracer.used if n in present and n != "bias_ih")
    buffers = frozenset(name for name, _ in cell.named_buffers())
    return Traced(output, tuple(states), names, gates, buffers)


def _attributes(cell: Cell) -> dict[str, Any]:
    """What the cell and its modules hold beside tensors and modules, by its place."""
    found = ((f"{at}.{k}" if at else k, v) for at, m in cell.named_modules() for k, v in vars(m).items())
    return {k: v for k, v in found if k.rpartition(".")[2] not in OF_A_MODULE}


def _holds_symbols(value: Any) -> bool:
    return any(isinstance(one, Symbol) for one in flat(value))
