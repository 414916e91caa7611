"""The ctypes interface to the compiled kernels: loads them once, declares their structures, reports their status."""

import ctypes
import threading
from typing import Any

from torch import Tensor

from rnnlab.cells import Cell
from rnnlab.errors import UserError
from rnnlab.native.build import BuildError, Built, build, load

MAX_CELLS = 32
MAX_PARAMETERS = 48
MAX_STATES = 16
MAX_ROWS = 100_000  # the most rows of a batch in one call
LOSSES = {"mse": 0, "mae": 1, "huber": 2, "pinball": 3, "cross_entropy": 4, "binary_cross_entropy": 5}
PRECISIONS: dict[str, tuple[str, ...]] = {"32-true": (), "bf16-mixed": ("-DRNNLAB_BF16",)}
"""{precision of the matrix products: flags for building that library}; everything else is float32. See bf16.h."""
Int, Pointer, Double, Word = ctypes.c_int64, ctypes.c_void_p, ctypes.c_double, ctypes.c_uint64


def _fields(kind: Any, names: str) -> list[tuple[str, Any]]:
    return [(name, kind) for name in names.split()]


class Shape(ctypes.Structure):
    """See Shape in recurrence.h."""

    _fields_ = [("cell", Pointer), *_fields(Int, "layers directions inputs hidden one_hot")]

    @classmethod
    def of(
        cls, cell: Cell, description: int, *, one_hot: bool, layers: int = 1, directions: int = 1
    ) -> "Shape":
        """The shape of a stack whose first cell is `cell`; `description` is the address of the cell's C description."""
        return cls(
            cell=description,
            layers=layers,
            directions=directions,
            inputs=cell.input_size,
            hidden=cell.hidden_size,
            one_hot=one_hot,
        )


class Weights(ctypes.Structure):
    """See Weights in recurrence.h."""

    _fields_ = [("parameters", Pointer * MAX_PARAMETERS)]


class Call(ctypes.Structure):
    """See Call in autograd.c."""

    _fields_ = [
        ("shape", Shape),
        *_fields(Int, "rows steps threads input_gradient state_gradient"),
        *_fields(Pointer, "x tokens reset products keep state y last d_y d_last d_x d_state kept scratch"),
    ]


class Optimizer(ctypes.Structure):
    """See Optimizer in optimizers.h."""

    _fields_ = [
        *_fields(Int, "kind clip decoupled nesterov centered started"),
        *_fields(Double, "clip_value beta1 beta2 eps weight_decay momentum dampening alpha"),
        *_fields(Pointer, "moment square average steps segments"),
        ("segment_count", Int),
    ]


class Chance(ctypes.Structure):
    """See Chance in philox.h."""

    _fields_ = [("below", Int), ("value", Double), ("key", Word * 2)]


class Spec(ctypes.Structure):
    """See Spec in program.h."""

    _fields_ = [
        ("shape", Shape),
        *_fields(Int, "rows steps threads input vocabulary head outputs loss subtract_last"),
        ("huber_delta", Double),
        ("levels", Pointer),
        ("level_count", Int),
        *_fields(Chance, "dropout inputs products"),
        ("zoneout", Chance * MAX_STATES),
        *_fields(Pointer, "parameters gradients"),
        ("count", Int),
        *_fields(Pointer, "cells fixed"),
        *_fields(Int, "head_weight head_bias embedding"),
        ("mirrored", Pointer),
        ("mirrored_count", Int),
        ("optimizer", Optimizer),
    ]


class Data(ctypes.Structure):
    """See Data in program.h."""

    _fields_ = [
        *_fields(Pointer, "x y"),
        *_fields(Int, "x_row x_step y_row y_step horizon targets"),
        *_fields(Pointer, "y_columns last_columns tokens labels lengths"),
        *_fields(Int, "token_row label_row"),
        ("carry", Pointer),
        ("carry_rows", Int),
    ]


class Units(ctypes.Structure):
    """See Units in scores.h."""

    _fields_ = [("targets", Int), *_fields(Pointer, "scale shift levels"), ("middle", Int)]


class Library:
    """The functions of a loaded library; `built` tells how it was made."""

    def __init__(self, built: Built) -> None:
        self.built = built
        self.c = load(built)
        signatures: dict[str, tuple[Any, list[Any]]] = {
            "rnnlab_call_size": (Int, []),
            "rnnlab_work_size": (Int, [Int]),
            "rnnlab_call_bytes": (None, [Pointer] * 3),
            "rnnlab_call_forward": (None, [Pointer] * 3),
            "rnnlab_call_backward": (None, [Pointer] * 4),
            "rnnlab_activation": (None, [Int, Int, Pointer, Pointer]),
            "rnnlab_power": (None, [Int, *[Pointer] * 3]),
            "rnnlab_spec_size": (Int, []),
            "rnnlab_data_size": (Int, []),
            "rnnlab_program_new": (Pointer, [Pointer]),
            "rnnlab_program_free": (None, [Pointer]),
            "rnnlab_program_optimizer": (None, [Pointer] * 2),
            "rnnlab_program_strayed": (Int, [Pointer]),
            "rnnlab_gradients": (Double, [Pointer] * 4),
            "rnnlab_update": (Double, [Pointer, Double]),
            "rnnlab_evaluate": (Double, [Pointer] * 5),
            "rnnlab_score": (Int, [Pointer, Pointer, Int, *[Pointer] * 5]),
            "rnnlab_scores": (Int, [Int, Double, Int, Pointer, *[Int] * 3, *[Pointer] * 4]),
            "rnnlab_linear": (Int, [*[Int] * 3, *[Pointer] * 4]),
            "rnnlab_units_size": (Int, []),
            "rnnlab_lines": (Int, [Pointer, Int, *[Pointer] * 6]),
            "rnnlab_records": (Int, [Pointer, Int, *[Pointer] * 6]),
            "rnnlab_run": (Int, [Pointer, Pointer, Int, *[Pointer] * 5]),
        }
        for name, (result, arguments) in signatures.items():
            function = getattr(self.c, name)
            function.restype, function.argtypes = result, arguments
        kinds = {"call": Call, "spec": Spec, "data": Data, "units": Units}
        if any(
            getattr(self.c, f"rnnlab_{name}_size")() != ctypes.sizeof(kind) for name, kind in kinds.items()
        ):
            raise BuildError("the compiler lays structures out in another way than Python expects")
        self.cells: dict[object, Any] = {}
        """Cache of kernels.py: {key of a cell: its kernels, or the reason why there are none}."""
        self.others: dict[str, Library | str] = {"32-true": self}
        """{precision: its library, or the reason why there is none}."""


_lock = threading.Lock()
_loaded: Library | None = None
_failure: str | None = None


def obstacle(precision: str = "32-true") -> str | None:
    """Why this machine has no kernels; None where it has. Compiles them at the first call, and tries only once."""
    global _loaded, _failure
    with _lock:
        if _loaded is None and _failure is None:
            try:
                _loaded = Library(build())
            except BuildError as error:
                _failure = f"the native kernels could not be built: {error}"
        if _loaded is None:
            return _failure
        if precision not in _loaded.others:
            built = _loaded.built
            try:
                _loaded.others[precision] = Library(
                    build(built.compiler, (*built.extra, *PRECISIONS[precision]))
                )
            except BuildError as error:
                _loaded.others[precision] = f"the native kernels for {precision} could not be built: {error}"
        found = _loaded.others[precision]
        return found if isinstance(found, str) else None


def library(precision: str = "32-true") -> Library:
    """The kernels whose products have this precision. Raises UserError where there are none."""
    why = obstacle(precision)
    if why is not None or _loaded is None:
        raise UserError(f"model.engine=native: {why}")
    found = _loaded.others[precision]
    assert isinstance(found, Library)
    return found


def loaded() -> Library | None:
    """The library if it is loaded already; else None. Compiles nothing."""
    return _loaded


def status() -> dict[str, Any]:
    """For `rnnlab doctor`: whether there are kernels, why not, and how they were built; compiles them if necessary."""
    why = obstacle()
    if _loaded is None:
        return {"available": False, "reason": why}
    built = _loaded.built
    return {
        "available": True,
        "reason": None,
        "library": str(built.path),
        "compiler": built.compiler,
        "isa": built.isa,
        "compile_seconds": built.seconds,
    }


def address(tensor: Tensor | None) -> int | None:
    """The address of a tensor's data; None for None."""
    return None if tensor is None else tensor.data_ptr()
