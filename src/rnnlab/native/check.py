"""Compares a cell's kernels with its own `step` before they are used: values and gradients, on random numbers.

This detects steps that do something which tracing cannot see, such as reading a clock. A passed check is stored beside
the library, for this source text of the cell's module.
"""

import copy
import hashlib
import inspect
from contextlib import suppress
from pathlib import Path
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from rnnlab.cells import Cell
from rnnlab.cells.masks import Masks
from rnnlab.native import bindings, engine
from rnnlab.native.kernels import Kernels, kernels_of, tensor_of
from rnnlab.native.symbols import Untraceable
from rnnlab.recurrence import reference
from rnnlab.runs.files import write_whole

_known: WeakKeyDictionary[Kernels, str] = WeakKeyDictionary()


def obstacle(cell: Cell) -> str | None:
    """Why a cell has no kernels here; None where it has, and they agree with its own step.

    Compiles and compares at the first call.
    """
    if why := bindings.obstacle():
        return why
    try:
        kernels = kernels_of(cell)
    except ValueError as error:
        return str(error)
    for name in kernels.buffers.intersection(kernels.names):  # the check below converts them
        if (buffer := tensor_of(cell, name)) is not None and buffer.dtype != torch.float32:
            return f"{name} is {buffer.dtype}, and the kernels read torch.float32"
    if kernels not in _known:
        try:
            _known[kernels] = difference(cell, kernels) or ""
        except Untraceable as error:
            _known[kernels] = f"the native engine cannot compile {type(cell).__name__}: {error}"
        except (RuntimeError, TypeError, ValueError, AttributeError) as error:
            # such as a cell that cannot be copied, or a step that is of single precision wherever it runs
            why = " ".join(f"{type(error).__name__}: {error}".split())
            _known[kernels] = (
                f"the kernels of {type(cell).__name__} cannot be compared with its own step: {why}"
            )
    return _known[kernels] or None


ROWS, STEPS = 3, 4
TOLERANCE = 1e-3  # relative to a tensor's norm; float32 rounding is a thousand times smaller


def difference(cell: Cell, kernels: Kernels) -> str | None:
    """In what the kernels differ from the cell's own step, in one line; None where they agree."""
    mark = _mark(cell, kernels)
    if mark is not None and mark.exists():
        return None
    for positive in (False, True):  # of negative inputs a logarithm gives NaN only
        found, truth = (_outcome(cell, kernels, dtype, positive) for dtype in (torch.float32, torch.float64))
        for name, value in found.items():
            if not _close(value, truth[name]):
                return (
                    f"the kernels of {type(cell).__name__} differ from its own step in {name}; is that pure?"
                )
    if mark is not None:
        with suppress(OSError):
            write_whole(mark, b"")
    return None


def _mark(cell: Cell, kernels: Kernels) -> Path | None:
    """The file whose existence means that the check was passed; None where there is no source text."""
    text = hashlib.sha256()
    for kind in type(cell).__mro__[: type(cell).__mro__.index(Cell)]:
        try:
            text.update(f"{kind.__qualname__}\0{inspect.getsource(inspect.getmodule(kind) or kind)}".encode())
        except (OSError, TypeError):
            return None
    path = kernels.built.path
    return path.with_name(f"{path.stem}-{text.hexdigest()[:24]}.checked")


@torch.inference_mode(False)  # the first call may come from an evaluation
def _outcome(cell: Cell, kernels: Kernels, dtype: torch.dtype, positive: bool) -> dict[str, Tensor]:
    """Outputs, last states and gradients of one random case, by name."""
    draw = torch.Generator().manual_seed(20)

    def normal(*shape: int) -> Tensor:
        drawn = torch.randn(shape, generator=draw)
        return (drawn.abs() if positive else drawn).to(dtype)

    twin = copy.deepcopy(cell).to(dtype).requires_grad_(True)
    with torch.no_grad():
        for parameter in twin.parameters():
            scale = 0.5 / parameter.shape[-1] ** 0.5 if parameter.dim() > 1 else 0.1
            parameter.add_(scale * normal(*parameter.shape))
    x = normal(ROWS, STEPS, cell.input_size).requires_grad_(True)
    state = tuple((0.5 * normal(ROWS, k * cell.hidden_size)).requires_grad_(True) for k in cell.state_blocks)
    count = (torch.full((ROWS, cell.hidden_size), 2.0, dtype=dtype),) if cell.counts else ()
    masks = Masks(*(None if m is None else m.to(dtype) for m in _some_masks(cell, draw)))
    reset = torch.zeros(ROWS, STEPS, dtype=torch.bool)
    reset[1, 2] = True
    with torch.enable_grad():
        if dtype == torch.float64:
            y, last = reference.run(twin, x, (*state, *count), reset, masks)
        else:
            y, last = engine.run(twin, x, (*state, *count), reset, masks, threads=1, kernels=kernels)
        loss = sum(((t * normal(*t.shape)).sum() for t in (y, *last)), torch.zeros((), dtype=dtype))
        wanted = {
            "the input": x,
            **{f"state {i}": s for i, s in enumerate(state)},
            **dict(twin.named_parameters()),
        }
        found = torch.autograd.grad(loss, list(wanted.values()), allow_unused=True)
    named = {"its output": y, **{f"its next state {i}": s for i, s in enumerate(last)}}
    for name, gradient, of in zip(wanted, found, wanted.values(), strict=True):
        named[f"the gradient of {name}"] = torch.zeros_like(of) if gradient is None else gradient
    return {name: tensor.detach() for name, tensor in named.items()}


def _some_masks(cell: Cell, draw: torch.Generator) -> Masks:
    products = torch.rand(ROWS, cell.hidden_size, generator=draw) if cell.recurrent_dropout else None
    kept = sum(cell.state_blocks) * cell.hidden_size
    keep = torch.rand(ROWS, STEPS, kept, generator=draw) if cell.zoneout else None
    return Masks(products, keep)


def _close(found: Tensor, truth: Tensor) -> bool:
    found = found.double()
    if not torch.equal(found.isnan(), truth.isnan()):
        return False
    usual = found.isfinite() & truth.isfinite()  # float32 overflows where float64 does not
    error, size = (found - truth)[usual].norm(), truth[usual].norm()
    return bool(error <= TOLERANCE * size + 1e-5)
