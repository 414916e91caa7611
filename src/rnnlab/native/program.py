"""Whole training steps on the kernels: one at a time, or many in one call, with the same bits."""

import copy
import ctypes
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rnnlab.errors import UserError
from rnnlab.native import bindings as lib
from rnnlab.native.flat import Flat, adopt, install
from rnnlab.native.kernels import kernels_of
from rnnlab.native.scoring import SCORES, Scale
from rnnlab.native.sources import DROPOUT, FRESH, Characters, Pairs, Sequences, Source, Windows
from rnnlab.native.spec import READS, describe, obstacle
from rnnlab.recurrence.outline import Outline

OPTIMIZERS: dict[type, int] = {
    torch.optim.Adam: 0,
    torch.optim.AdamW: 0,
    torch.optim.SGD: 1,
    torch.optim.RMSprop: 2,
}
CLIPS = {"norm": 1, "value": 2}
CALL_S = 0.1  # seconds that a call should take: a signal waits for its end


class Steps(NamedTuple):
    """The result of `Program.run`: `done` complete steps; losses (n,) and gradient norms before clipping (n,), float64.

    Where a loss is not finite, `done` is the index of its step: losses[done] is that loss, its norm is NaN, and its
    update was not made. All later entries are NaN.
    """

    done: int
    losses: Tensor
    norms: Tensor


@dataclass(frozen=True)
class Part:
    """Batches of a source, prepared for scoring by the kernels; `places` is the total number of outputs."""

    table: np.ndarray
    index: Tensor
    places: int
    source: Source
    scale: Scale


class Program:
    """The training steps of a model: gather, forward, loss, backward, clip, update, all in C.

    `flat` holds the model's parameters (`flatten`); the state of `optimizer` is moved into flat buffers, too (`adopt`).
    Batches come from `source` (`Windows`, `Characters` or `Sequences`; its class says what names a batch), or from a
    source that is given to a single call. `rows` is the size of the largest training batch.

    For text, `carry` (cells, states, rows, H) is the state that passes from one segment to the next; evaluation has
    its own, `evaluation_carry`. `threads` never changes a bit.

    Raises ValueError where `obstacle` gives a reason, and for sizes that do not fit each other.
    """

    def __init__(
        self,
        model: Outline,
        flat: Flat,
        optimizer: torch.optim.Optimizer,
        source: Source,
        *,
        rows: int,
        clip_val: float | None = None,
        clip_algorithm: str = "norm",
        threads: int | None = None,
    ) -> None:
        if why := obstacle(model, optimizer):
            raise ValueError(why)
        if not 0 < rows <= lib.MAX_ROWS:
            raise ValueError(f"a batch has {rows} rows; the kernels take 1 to {lib.MAX_ROWS}")
        if clip_algorithm not in CLIPS or (clip_val is not None and not clip_val > 0):
            raise ValueError(f"cannot clip by {clip_algorithm} at {clip_val}")
        flat.attach()
        self.flat, self.optimizer, self.source, self.rows = flat, optimizer, source, rows
        self.clip_val, self.clip_algorithm = clip_val, clip_algorithm
        stack = model.stack
        self.cells, self.hidden = len(stack.layers), stack.hidden_size
        self.widths = kernels_of(stack.layers[0]).widths  # type: ignore[arg-type]
        self.states = sum(self.widths)
        self.outputs = model.head.out_features
        self.threads = torch.get_num_threads() if threads is None else threads
        self.carries = model.reads == "every"
        self.carry = torch.zeros(self.cells, self.states, rows, self.hidden) if self.carries else None
        self.evaluation_carry: Tensor | None = None
        self.batches_a_call = 8  # in an evaluation
        self.lib = lib.library(stack.precision or "32-true")
        self.moments = adopt(optimizer, flat)
        self._spec, self._told = describe(model, flat)
        self._spec.rows, self._spec.steps, self._spec.threads = rows, source.steps, max(1, self.threads)
        columns = model.subtracted
        self._last_columns = torch.empty(0, dtype=torch.int64) if columns is None else columns.clone()
        self._check(source, rows)
        self._bind_optimizer()
        self._handle = self.lib.c.rnnlab_program_new(ctypes.byref(self._spec))
        if not self._handle:
            raise MemoryError("there is not enough memory for the native engine's workspace")
        weakref.finalize(self, self.lib.c.rnnlab_program_free, self._handle)

    # ------------------------------------------------------------------ calls

    def gradients(self, batch: Any, dropout_step: int = 0, source: Source | None = None) -> float:
        """Returns the loss of a batch; its gradients are then in `flat.gradients`, and so in the parameters' `grad`."""
        source = source or self.source
        table, index = self._table(source, [batch], dropout_step)
        self.flat.attach()
        data = self._data(source, self.carry, table)
        loss = self.lib.c.rnnlab_gradients(
            self._handle, ctypes.byref(data), table.ctypes.data, index.data_ptr()
        )
        if loss != loss:
            self._refuse_edits(source)
        return loss

    def update(self, lr: float) -> float:
        """Clips the last batch's gradients in place and updates the parameters; returns the 2-norm before clipping."""
        self.flat.attach()
        self._bind_optimizer()
        norm = self.lib.c.rnnlab_update(self._handle, float(lr))
        self._started()
        return norm

    def run(
        self,
        batches: Sequence[Any],
        lrs: Sequence[float],
        dropout_step: int = 0,
        source: Source | None = None,
    ) -> Steps:
        """One step for each batch, the i-th with learning rate lrs[i] and the dropout masks of step `dropout_step + i`.
        The bits are those of as many calls of `gradients` and `update`.
        """
        if len(batches) != len(lrs):
            raise ValueError(f"{len(batches)} batches, but {len(lrs)} learning rates")
        losses = np.full(len(batches), np.nan)
        norms = np.full(len(batches), np.nan)
        if not len(batches):
            return Steps(0, torch.from_numpy(losses), torch.from_numpy(norms))
        source = source or self.source
        table, index = self._table(source, batches, dropout_step)
        rates = np.ascontiguousarray(lrs, dtype=np.float64)
        self.flat.attach()
        self._bind_optimizer()
        data = self._data(source, self.carry, table)
        done = self.lib.c.rnnlab_run(
            self._handle,
            ctypes.byref(data),
            len(batches),
            table.ctypes.data,
            index.data_ptr(),
            rates.ctypes.data,
            losses.ctypes.data,
            norms.ctypes.data,
        )
        if done:
            self._started()
        if done < len(batches):
            self._refuse_edits(source)
        return Steps(done, torch.from_numpy(losses), torch.from_numpy(norms))

    def evaluate(
        self, batch: Any, source: Source | None = None, *, outputs: bool = False
    ) -> tuple[float, Tensor | None]:
        """The loss of a batch without dropout, and with `outputs` the result of the model's forward: forecasts (B,
        horizon, targets), logits (B, T, V), or logits (B,) or (B, classes).
        """
        source = source or self.source
        table, index = self._table(source, [batch], 0, training=False)
        rows, steps = int(table[0, 0]), int(table[0, 3])
        self._make_evaluation_carry(table)
        places = (rows, steps) if self._spec.head == READS["every"] else (rows,)
        out = torch.empty(*places, self.outputs) if outputs else None
        data = self._data(source, self.evaluation_carry, table)
        loss = self.lib.c.rnnlab_evaluate(
            self._handle, ctypes.byref(data), table.ctypes.data, index.data_ptr(), lib.address(out)
        )
        if loss != loss:
            self._refuse_edits(source)
        if out is not None and source.kind == "series":
            out = out.view(rows, source.data.horizon, source.data.targets)
        elif out is not None and self._spec.loss == lib.LOSSES["binary_cross_entropy"]:
            out = out.squeeze(-1)
        return loss, out

    def part(self, batches: Sequence[Any], source: Source, scale: Scale) -> Part:
        """Prepares batches that are scored together repeatedly. Raises ValueError for batches that do not fit."""
        table, index = self._table(source, batches, 0, training=False)
        places = table[:, 0] * table[:, 3] if self._spec.head == READS["every"] else table[:, 0]
        return Part(table, index, int(places.sum()), source, scale)

    def score(
        self, part: Part, *, outputs: bool = False, between: Callable[[], Any] = lambda: None
    ) -> tuple[list[float], Tensor | None]:
        """The sums over a part (`rnnlab.native.scoring`), without dropout; with `outputs`, and a head that reads one
        step of each row, also the head's outputs (rows, outputs). `between` is called before each call of the kernels.
        """
        table = part.table
        self._make_evaluation_carry(table)
        out = torch.empty(part.places, self.outputs) if outputs else None
        sums = (ctypes.c_double * SCORES)()
        data = self._data(part.source, self.evaluation_carry, table)
        done = 0
        while done < len(table):  # in short calls, because a signal waits for their end
            n = min(len(table) - done, self.batches_a_call)
            given = table[done : done + n]
            between()
            begin = time.perf_counter()
            fine = self.lib.c.rnnlab_score(
                self._handle,
                ctypes.byref(data),
                n,
                given.ctypes.data,
                part.index.data_ptr(),
                ctypes.addressof(part.scale.units),
                None if out is None else out[table[:done, 0].sum() :].data_ptr(),
                ctypes.addressof(sums),
            )
            if not fine:
                self._refuse_edits(part.source)
                raise MemoryError("there is not enough memory to score a part")
            self.batches_a_call = max(1, int(CALL_S * n / max(time.perf_counter() - begin, 1e-7)))
            done += n
        return list(sums), out

    def _make_evaluation_carry(self, table: np.ndarray) -> None:
        if not self.carries:
            return
        shape = (self.cells, self.states, int(table[0, 0]), self.hidden)
        if self.evaluation_carry is None or self.evaluation_carry.shape != shape:
            if not table[0, FRESH]:
                raise ValueError("an evaluation of text begins with segment 0")
            self.evaluation_carry = torch.zeros(shape)

    @property
    def carried(self) -> list[tuple[Tensor, ...]] | None:
        """The state from which the next segment continues, as in a stack: views of `carry`. None except for text."""
        if self.carry is None:
            return None
        rows = self.carry.shape[2]
        return [tuple(part.view(rows, -1) for part in cell.split(list(self.widths))) for cell in self.carry]

    def load_carry(self, state: list[tuple[Tensor, ...]]) -> None:
        """Copies a state, such as a checkpoint's, into `carry`. Raises ValueError where its shape does not fit."""
        own = self.carried
        shapes = [[tuple(s.shape) for s in cell] for cell in own or ()]
        if own is None or shapes != [[tuple(s.shape) for s in cell] for cell in state]:
            raise ValueError("a state of these shapes does not fit this program")
        for cell, given in zip(own, state, strict=True):
            for view, tensor in zip(cell, given, strict=True):
                view.copy_(tensor)

    def adopt(self) -> None:
        """Moves the optimizer's present state into flat buffers; called automatically where another was loaded."""
        self.moments = adopt(self.optimizer, self.flat)

    # ------------------------------------------------------------------ arguments of the kernels

    def _bind_optimizer(self) -> None:
        """Passes on the optimizer's present settings and state, which callbacks and checkpoints may change."""
        if not self.moments.is_in(self.optimizer, self.flat):
            self.adopt()
        group, moments, told = self.optimizer.param_groups[0], self.moments, self._spec.optimizer
        told.kind = OPTIMIZERS[type(self.optimizer)]
        told.clip = CLIPS[self.clip_algorithm] if self.clip_val is not None else 0
        told.clip_value = self.clip_val or 0.0
        told.decoupled = bool(group.get("decoupled_weight_decay", type(self.optimizer) is torch.optim.AdamW))
        told.nesterov, told.centered = bool(group.get("nesterov")), bool(group.get("centered"))
        told.started = moments.started
        told.beta1, told.beta2 = group.get("betas", (0.0, 0.0))
        for name in ("eps", "weight_decay", "momentum", "dampening", "alpha"):
            setattr(told, name, float(group.get(name, 0.0)))
        for name in ("moment", "square", "average", "steps"):
            setattr(told, name, lib.address(getattr(moments, name)))
        if getattr(self, "_handle", None):
            self.lib.c.rnnlab_program_optimizer(self._handle, ctypes.byref(told))

    def _started(self) -> None:
        if not self.moments.started:
            self.moments.started = True
            install(self.optimizer, self.flat, self.moments)

    def _data(self, source: Source, carry: Tensor | None, table: np.ndarray) -> lib.Data:
        data = lib.Data.from_buffer_copy(source.data)
        if self._spec.subtract_last:
            data.last_columns = self._last_columns.data_ptr()
        if carry is not None:
            data.carry, data.carry_rows = carry.data_ptr(), carry.shape[2]
        return data

    def _table(
        self, source: Source, batches: Sequence[Any], dropout_step: int, *, training: bool = True
    ) -> tuple[np.ndarray, Tensor]:
        self._check(source, self.rows)
        table, index = source.table(batches)
        if training and table[:, 0].max() > self.rows:
            raise ValueError(f"a batch has {table[:, 0].max()} rows; this program takes at most {self.rows}")
        table[:, DROPOUT] = dropout_step + np.arange(len(batches))
        return np.ascontiguousarray(table), index

    def _refuse_edits(self, source: Source) -> None:
        """Raises UserError where the kernels have met a token, label or length out of its range: the data was edited in
        place after it had been checked.
        """
        if not self.lib.c.rnnlab_program_strayed(self._handle):
            return
        now = copy.copy(source)  # the source may be edited back
        assert isinstance(now, Characters | Sequences)  # only these hold such numbers
        try:
            now.look()
            self._check(now, self.rows)
        except ValueError as error:
            raise UserError(f"data: it was edited during the training; {error}") from None
        raise UserError("data: it was edited during a step, which has read a number out of its range")

    def _check(self, source: Source, rows: int) -> None:
        spec = self._spec
        kinds: dict[int, tuple[type, ...]] = {0: (Windows, Pairs), 1: (Characters,), 2: (Sequences,)}
        if not isinstance(source, kinds[spec.head]):
            raise ValueError(f"{type(source).__name__} is not a source for this model")
        if source.steps > spec.steps:
            raise ValueError(f"a batch has {source.steps} steps; this program takes at most {spec.steps}")
        if isinstance(source, Windows | Pairs):
            if (
                source.inputs != spec.shape.inputs
                or source.horizon * source.targets * spec.level_count != self.outputs
            ):
                raise ValueError(
                    f"the source has {source.inputs} inputs and {source.horizon} x {source.targets} targets; the model "
                    f"takes {spec.shape.inputs} and gives {self.outputs // spec.level_count}"
                )
            if spec.subtract_last and source.targets != len(self._last_columns):
                raise ValueError(
                    f"the source has {source.targets} targets, the model {len(self._last_columns)}"
                )
        elif isinstance(source, Characters | Sequences):
            classes = 2 if spec.loss == lib.LOSSES["binary_cross_entropy"] else self.outputs
            ranges = {"tokens": (source.tokens, spec.vocabulary), "labels": (source.labels, classes)}
            for name, ((low, high), size) in ranges.items():
                if low < 0 or high >= size:
                    raise ValueError(
                        f"the {name} are {low} to {high}; they must lie between 0 and {size - 1}"
                    )
