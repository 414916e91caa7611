"""A cell's own `step`, run once on symbols: what comes out are its equations.

A symbol stands for a tensor (B, k*H) and holds k expressions; parameters and buffers become symbols where torch's
functions meet them. What cannot be followed is named by file, line and function.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode

from rnnlab.cells import Cell
from rnnlab.cells.masks import Masks
from rnnlab.native import expressions as ex
from rnnlab.native.expressions import Expression, constant
from rnnlab.native.rules import RANDOM, RULES, transposed
from rnnlab.native.symbols import Matrix, Symbol, Untraceable, flat, refuse

__all__ = ["Trace", "Traced", "Untraceable", "tensors_of", "trace"]


@dataclass(frozen=True)
class Traced:
    """A step as equations, block by block."""

    output: Expression
    states: tuple[Expression, ...]
    """The next states; a state (B, k*H) is k of them."""
    names: tuple[str, ...]
    """Parameters and buffers that the step uses, beside weight_ih, bias_ih and initial."""
    gates: int
    buffers: frozenset[str]
    """Those of the names that have no gradient."""


class Trace(TorchFunctionMode):
    """Follows one step of a cell."""

    rules: ClassVar[dict[str, Callable[..., Any]]] = RULES

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell, self.hidden = cell, cell.hidden_size
        self.tensors = tensors_of(cell)
        self.known = {id(t): name for name, t in self.tensors.items()}
        self.used: dict[str, None] = {}
        self.own: list[Tensor] = []  # made by the step itself: constants
        self.mask = Symbol(self, [ex.make("mask")]) if cell.recurrent_dropout else None

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.call(function, args, kwargs or {})

    def call(self, function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        full = getattr(function, "__name__", str(function))
        if full.endswith("_") and not full.endswith("__"):
            refuse(f"{full} changes a tensor in place")
        name = full.strip("_")
        if name == "get":  # an attribute of a parameter, such as its shape
            attribute = getattr(getattr(function, "__self__", None), "__name__", "")
            if attribute in ("T", "mT") and id(args[0]) in self.known:
                return transposed(self, args[0])
            return function(*args, **kwargs)
        given = list(flat((args, kwargs)))
        if any(isinstance(a, Symbol | Matrix) or id(a) in self.known for a in given):
            if name in ("size", "dim", "numel", "is_floating_point") and isinstance(args[0], Tensor):
                return function(*args, **kwargs)
            return self.rule(name, args, kwargs)
        if name in RANDOM:
            refuse(f"{name} draws random numbers")
        result = function(*args, **kwargs)
        if isinstance(result, Tensor) and all(self._made(a) for a in given if isinstance(a, Tensor)):
            self.own.append(result)
        return result

    def _made(self, tensor: Tensor) -> bool:
        return any(tensor is made for made in self.own)

    def rule(self, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
        rule = self.rules.get(name)
        if rule is None:
            refuse(f"torch's {name} cannot be compiled")
        try:
            return rule(self, *args, **kwargs)
        except (TypeError, AttributeError, ValueError, IndexError) as error:
            refuse(f"torch's {name} cannot be compiled as it is used here ({error})")

    # ------------------------------------------------------------------ arguments

    def symbol(self, value: Any) -> Symbol:
        """A symbol of whatever an operation was given."""
        if isinstance(value, Symbol):
            if value.trace is not self:
                refuse("a tensor kept from another step")
            return value
        if isinstance(value, bool | int | float):
            return Symbol(self, [constant(float(value))], per_row=True, batched=False)
        if isinstance(value, Tensor):
            name = self.known.get(id(value))
            if name is not None:
                return self._by_unit(name, value)
            if value.numel() == 1 and self._made(value):
                return Symbol(self, [constant(float(value))], per_row=True, batched=False)
            refuse(
                "a tensor that is neither a parameter nor a buffer of the cell; register_buffer makes it one"
            )
        refuse(f"a {type(value).__name__} where a tensor is needed")

    def _by_unit(self, name: str, value: Tensor) -> Symbol:
        if value.dim() == 0 or (value.numel() == 1 and self.hidden != 1):
            self.used[name] = None
            return Symbol(self, [ex.make("vector", name, -1)], per_row=True, batched=False)
        if value.dim() == 2 and value.shape[0] == 1:
            value = value[0]
        if value.dim() != 1 or value.shape[0] % self.hidden:
            refuse(f"{name} {tuple(self.tensors[name].shape)} is no multiple of {self.hidden} units")
        self.used[name] = None
        blocks = [ex.make("vector", name, k) for k in range(value.shape[0] // self.hidden)]
        return Symbol(self, blocks, batched=False)

    def matrix(self, value: Any) -> Matrix:
        if isinstance(value, Matrix):
            return value
        name = self.known.get(id(value)) if isinstance(value, Tensor) else None
        if name is None:
            refuse("a product with what is no parameter of the cell")
        if value.dim() != 2 or value.shape[0] % self.hidden or value.shape[1] % self.hidden:
            refuse(f"{name} {tuple(value.shape)} is not made of blocks of {self.hidden} x {self.hidden}")
        return Matrix(name, value.shape[0] // self.hidden, value.shape[1] // self.hidden)

    def together(self, *values: Any) -> tuple[list[tuple[Expression, ...]], bool]:
        """The blocks of several operands, broadcast against each other, and whether all are per row."""
        symbols = [self.symbol(v) for v in values]
        wide = {len(s.blocks) for s in symbols if not s.per_row}
        if len(wide) > 1:
            refuse(f"operands of {' and '.join(str(n) for n in sorted(wide))} blocks of units")
        count = wide.pop() if wide else 1
        return [s.blocks * count if s.per_row else s.blocks for s in symbols], all(s.per_row for s in symbols)

    def each(self, f: Callable[..., Expression], *values: Any) -> Symbol:
        symbols = [self.symbol(v) for v in values]
        blocks, per_row = self.together(*symbols)
        batched = any(s.batched for s in symbols)
        return Symbol(self, [f(*b) for b in zip(*blocks, strict=True)], per_row, batched)


def tensors_of(cell: Cell) -> dict[str, Tensor]:
    """Parameters, buffers and what `torch.nn.utils.parametrize` computes from others, by name.

    To be called within `parametrize.cached()`: then the step finds the same tensors.
    """
    found = dict((*cell.named_parameters(), *cell.named_buffers()))
    for path, module in cell.named_modules():
        for name in getattr(module, "parametrizations", ()):
            found[f"{path}.{name}" if path else name] = getattr(module, name)
    return found


def trace(cell: Cell) -> Traced:
    """The equations of a cell's step. Raises Untraceable."""
    kind = type(cell)
    for name in ("project", "forward", "start"):
        if getattr(kind, name) is not getattr(Cell, name):
            raise Untraceable(f"{kind.__name__} has a {name} of its own; only step and recur are compiled")
    with parametrize.cached(), torch.no_grad():
        twin = _twin(cell)
        tracer = Trace(twin)
        traced = _followed(twin, tracer)
    if any(n in tracer.used for n in ("weight_ih", "initial")):
        raise Untraceable(f"{kind.__name__}.step uses the input's weights or the initial state itself")
    return traced


def _twin(cell: Cell) -> Cell:
    """A copy with the same tensors: whatever the step leaves on itself is left there."""
    shared = (*cell.parameters(), *cell.buffers())
    with suppress(TypeError, RuntimeError):  # what cannot be copied is traced itself
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
    with tracer:
        given = cell.advance(u, tuple(state), Masks(keep=keep) if kept else None)  # type: ignore[arg-type]
    after = _attributes(cell)
    changed = [k for k in after if k not in before or after[k] is not before[k]]
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
    states = tuple(b for s in following for b in s.blocks)
    present = {e.args[0] for e in ex.ordered([y.blocks[0], *states]) if e.op in ("vector", "product")}
    names = tuple(n for n in tracer.used if n in present and n != "bias_ih")
    buffers = frozenset(name for name, _ in cell.named_buffers())
    return Traced(y.blocks[0], states, names, gates, buffers)


def _attributes(cell: Cell) -> dict[str, Any]:
    return {k: v for k, v in vars(cell).items() if not k.startswith("_")}
