"""The native engine: the recurrence of one cell on the kernels, as a function of torch's autograd."""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from rnnlab.cells import Cell, State
from rnnlab.cells.masks import Masks
from rnnlab.errors import UserError
from rnnlab.native.bindings import MAX_ROWS, Call, Library, Shape, address, library
from rnnlab.native.kernels import Kernels, kernels_of
from rnnlab.native.tensors import aligned, check_range, check_tensor, dense, fresh, pointers, reused

FIRST_ONLY = (
    "the native engine gives first derivatives by backward alone; model.engine=reference gives {what}"
)


_THREADS: ContextVar[int | None] = ContextVar("threads of the kernels alone", default=None)


@contextmanager
def torch_in_one_thread() -> Iterator[None]:
    """While open, torch's own operations use one thread, so that their order of summation is fixed. rnnlab's kernels
    keep their threads, which do not change a bit.
    """
    count = torch.get_num_threads()
    if count == 1:
        yield
        return
    before = _THREADS.set(_THREADS.get() or count)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(count)
        _THREADS.reset(before)


def run(
    cell: Cell,
    x: Tensor,
    state: State,
    reset: Tensor | None = None,
    masks: Masks | None = None,
    *,
    threads: int | None = None,
    kernels: Kernels | None = None,
    precision: str = "32-true",
) -> tuple[Tensor, State]:
    """Runs a cell over a sequence, as engines.py requires, for cells that can be compiled, in float32 on the CPU. With
    precision="bf16-mixed" the operands of matrix products are bfloat16.

    x (B, T, I) float32 or (B, T) int64 indices of one-hots; state a tuple of (B, H), or (B, k*H) for a state of k
    blocks; reset (B, T) bool. Returns the outputs (B, T, H) and the last state. They can be differentiated once, with
    respect to x, the state and every parameter. `threads`: at most so many (None: as torch); it does not change a bit.
    `kernels`: the cell's kernels, if the caller has them.

    Raises ValueError for tensors of another shape, dtype or device and for indices out of range; UserError where other
    derivatives are requested.
    """
    kernels = kernels or kernels_of(cell)
    if precision != "32-true":  # under torch's autocast, arguments may be bfloat16
        x, state = x.float() if x.is_floating_point() else x, tuple(s.float() for s in state)
    if x.dim() > 1 and len(x) > MAX_ROWS:  # rows are independent
        return _in_parts(cell, x, state, reset, masks, threads, precision)
    weights = kernels.tensors(cell)
    _refuse_transforms(x, *state, *weights)
    _check(cell, kernels, x, state, reset, weights)
    shape = Shape.of(cell, kernels.address, one_hot=not x.is_floating_point())
    count = (_THREADS.get() or torch.get_num_threads()) if threads is None else threads
    if reset is None:  # without resets, a learned initial state is part of `state`
        weights = tuple(None if n == "initial" else w for n, w in zip(kernels.names, weights, strict=True))
    blocks = tuple(
        block
        for s, k in zip(state, kernels.widths, strict=True)
        for block in (s.chunk(k, -1) if k > 1 else (s,))
    )
    if not torch.is_grad_enabled():  # no backward pass, so autograd is not involved
        call = Call(shape=shape, rows=x.shape[0], steps=x.shape[1], threads=count)
        drawn = _drawn(cell, x, masks)
        y, last, *_ = _forward(library(precision), call, reset, drawn, x, weights, blocks, reused)
        return y, _joined(kernels, last.unbind(0))
    drawn = _drawn(cell, x, masks)
    outputs = _Recurrence.apply(
        library(precision), shape, count, len(weights), reset, drawn, x, *weights, *blocks
    )
    return outputs[0], _joined(kernels, tuple(outputs[1:]))


def _drawn(cell: Cell, x: Tensor, masks: Masks | None) -> Masks:
    """The masks that the cell's kernels read, dense; where none are given, those of evaluation."""
    products, keep = masks or Masks()
    if products is None and cell.recurrent_dropout:
        products = torch.ones(x.shape[0], cell.hidden_size)
    if keep is None and cell.zoneout:
        chances = [p for p, k in zip(cell.zoneout, cell.state_blocks, strict=True) for _ in range(k)]
        keep = torch.tensor(chances).repeat_interleave(cell.hidden_size).expand(*x.shape[:2], -1)
    return Masks(*(None if m is None else dense(m) for m in (products, keep)))


def _joined(kernels: Kernels, blocks: tuple[Tensor, ...]) -> State:
    """Concatenates the blocks of each state of several blocks: (B, H) each to (B, k*H)."""
    found, at = [], 0
    for k in kernels.widths:
        found.append(blocks[at] if k == 1 else torch.cat(blocks[at : at + k], -1))
        at += k
    return tuple(found)


def _in_parts(
    cell: Cell,
    x: Tensor,
    state: State,
    reset: Tensor | None,
    masks: Masks | None,
    threads: int | None,
    precision: str,
) -> tuple[Tensor, State]:
    def part(at: int) -> tuple[Tensor, State]:
        rows = slice(at, at + MAX_ROWS)
        drawn = None if masks is None else Masks(*(None if m is None else m[rows] for m in masks))
        again = None if reset is None else reset[rows]
        own = tuple(s[rows] for s in state)
        return run(cell, x[rows], own, again, drawn, threads=threads, precision=precision)

    parts = [part(at) for at in range(0, len(x), MAX_ROWS)]
    outputs, states = zip(*parts, strict=True)
    return torch.cat(outputs), tuple(map(torch.cat, zip(*states, strict=True)))


def _refuse_transforms(*tensors: Tensor | None) -> None:
    """Raises UserError for tensors inside torch.func transforms, and for tensors with a forward-mode tangent."""
    for tensor in tensors:
        if tensor is None:
            continue
        if forward_ad.unpack_dual(tensor).tangent is not None:
            raise UserError(FIRST_ONLY.format(what="derivatives in forward mode"))
        try:
            tensor.data_ptr()
        except RuntimeError:
            raise UserError(FIRST_ONLY.format(what="those of torch.func")) from None


def _check(
    cell: Cell,
    kernels: Kernels,
    x: Tensor,
    state: State,
    reset: Tensor | None,
    weights: tuple[Tensor | None, ...],
) -> None:
    inputs, hidden, rows = cell.input_size, cell.hidden_size, cell.gates * cell.hidden_size
    if min(inputs, hidden) < 1:
        raise ValueError(f"input and hidden size must be at least 1, not {inputs} and {hidden}")
    for name, weight in zip(kernels.names, weights, strict=True):
        if weight is not None:
            shape = {"weight_ih": (rows, inputs), "initial": (sum(cell.state_blocks), hidden)}
            check_tensor(name, weight, shape.get(name, tuple(weight.shape)), torch.float32)
    if x.dim() < 2 or x.shape[0] < 1 or x.shape[1] < 1:
        raise ValueError(f"x is {tuple(x.shape)}: there must be at least one row and one step")
    batch, steps = x.shape[:2]
    if x.is_floating_point():
        check_tensor("x", x, (batch, steps, inputs), torch.float32)
    else:
        check_tensor("x", x, (batch, steps), torch.int64)
        check_range("x", x, inputs)
    if len(state) != len(kernels.widths):
        raise ValueError(
            f"the state has {len(state)} tensors, a {type(cell).__name__} needs {len(kernels.widths)}"
        )
    for tensor, width in zip(state, kernels.widths, strict=True):
        check_tensor("the state", tensor, (batch, width * hidden), torch.float32)
    if reset is not None:
        check_tensor("reset", reset, (batch, steps), torch.bool)


def _forward(
    lib: Library,
    call: Call,
    reset: Tensor | None,
    masks: Masks,
    x: Tensor,
    weights: tuple[Tensor | None, ...],
    state: tuple[Tensor, ...],
    room: Callable[[int, str], Tensor],
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, int]:
    """Returns the outputs (B, T, H), the last state (states, B, H), and what the backward pass needs: the kept values,
    the initial state (None: zeros), and the size of its workspace in bytes.
    """
    weights = tuple(None if w is None else dense(w) for w in weights)
    x = dense(x)
    reset = None if reset is None else reset.contiguous()
    given = torch.stack([s.detach() for s in state])  # (states, B, H)
    first = given if given.any() else None  # for zeros, products are skipped
    y = torch.empty(call.rows, call.steps, call.shape.hidden)
    last = torch.empty_like(given, memory_format=torch.contiguous_format)
    setattr(call, "x" if x.is_floating_point() else "tokens", address(x))
    call.reset, call.state = address(reset), address(first)
    call.products, call.keep = map(address, masks)
    work = room(lib.c.rnnlab_work_size(call.rows), "work")
    sizes = (ctypes.c_int64 * 3)()
    lib.c.rnnlab_call_bytes(ctypes.byref(call), work.data_ptr(), sizes)
    kept, scratch = room(sizes[0], "kept"), room(sizes[1], "scratch")
    call.y, call.last, call.kept, call.scratch = map(address, (y, last, kept, scratch))
    packed = pointers(weights)
    lib.c.rnnlab_call_forward(ctypes.byref(call), work.data_ptr(), ctypes.byref(packed))
    return y, last, kept, first, sizes[2]


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        lib: Library,
        shape: Shape,
        threads: int,
        count: int,
        reset: Tensor | None,
        masks: Masks,
        x: Tensor,
        *rest: Any,
    ) -> Any:
        call = Call(shape=shape, rows=x.shape[0], steps=x.shape[1], threads=threads)
        call.input_gradient = x.is_floating_point() and ctx.needs_input_grad[6]
        call.state_gradient = any(ctx.needs_input_grad[7 + count :])
        y, last, kept, first, scratch = _forward(
            lib, call, reset, masks, x, rest[:count], rest[count:], fresh
        )
        ctx.call, ctx.lib, ctx.scratch_bytes, ctx.kept = call, lib, scratch, kept
        learned = [
            t for t, needed in zip(rest[count:], ctx.needs_input_grad[7 + count :], strict=True) if needed
        ]
        ctx.count = count
        ctx.save_for_backward(reset, first, x, *rest[:count], *learned)
        return y, *last.unbind(0)

    @staticmethod
    def backward(ctx: Any, d_y: Tensor | None, *d_last: Tensor | None) -> Any:
        _, _, *inputs = ctx.saved_tensors
        with torch.no_grad():
            found = _backward(ctx, d_y, d_last, dense(inputs[0]), tuple(inputs[1 : 1 + ctx.count]))
        if not torch.is_grad_enabled():  # without create_graph
            return found
        # all inputs, so that torch calls `_Once` for a second derivative, and does not take it for zero
        given = [t for t in (*inputs, d_y, *d_last) if t is not None]
        marked = iter(_Once.apply(len(given), *given, *(d for d in found if d is not None)))
        return tuple(None if d is None else next(marked) for d in found)


class _Once(torch.autograd.Function):
    """First derivatives as outputs in autograd's graph, so that a request for second derivatives raises an error."""

    @staticmethod
    def forward(ctx: Any, count: int, *tensors: Tensor) -> Any:
        return tuple(d.view_as(d) for d in tensors[count:])

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise UserError(FIRST_ONLY.format(what="second derivatives"))


def _backward(
    ctx: Any,
    d_y: Tensor | None,
    d_last: tuple[Tensor | None, ...],
    x: Tensor,
    weights: tuple[Tensor | None, ...],
) -> Any:
    """The gradient of every argument of `_Recurrence.forward`."""
    weights = tuple(None if w is None else dense(w) for w in weights)
    lib, call = ctx.lib, Call.from_buffer_copy(ctx.call)
    batch, states = x.shape[0], len(d_last)
    scratch = aligned(ctx.scratch_bytes)
    work = aligned(lib.c.rnnlab_work_size(call.rows))
    d_y = None if d_y is None else dense(d_y)
    # ends: (states, B, H)
    ends = torch.stack([torch.zeros(batch, call.shape.hidden) if d is None else d for d in d_last])
    d_x = torch.empty_like(x) if call.input_gradient else None
    d_state = torch.empty(states, batch, call.shape.hidden) if call.state_gradient else None
    gradients = tuple(
        torch.empty_like(w) if w is not None and needed else None
        for w, needed in zip(weights, ctx.needs_input_grad[7 : 7 + len(weights)], strict=True)
    )
    call.d_y, call.d_last, call.d_x, call.d_state = map(address, (d_y, ends, d_x, d_state))
    call.kept, call.scratch = address(ctx.kept), address(scratch)
    lib.c.rnnlab_call_backward(
        ctypes.byref(call),
        work.data_ptr(),
        ctypes.byref(pointers(weights)),
        ctypes.byref(pointers(gradients)),
    )
    d_states = [None] * states if d_state is None else list(d_state.unbind(0))
    return None, None, None, None, None, None, d_x, *gradients, *d_states
