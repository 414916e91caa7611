"""`Stack`: layers of cells, run over time."""

import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from rnnlab.cells import Cell, State, resolve
from rnnlab.cells.cell import Bias, InitialState, equations_key
from rnnlab.cells.elman import Nonlinearity
from rnnlab.config.options import constructor_parameters, fitting
from rnnlab.errors import UserError, nearest
from rnnlab.memory import check_memory
from rnnlab.recurrence import draws, engines, traced
from rnnlab.recurrence.fused import EQUATIONS
from rnnlab.recurrence.initialisation import initialise

PRECISIONS = {torch.float64: "64-true", torch.bfloat16: "bf16-true", torch.float16: "16-true"}
NEUTRAL = {"bias": "both", "initial_state": "zero", "nonlinearity": "tanh"}


class Stack(nn.Module):
    """`num_layers` layers of one kind of cell, in one or both directions.

    `layers` is flat: layer l in direction d is `layers[l * directions + d]`, d = 1 running backwards. So the
    parameters are called `layers.0.weight_ih` and so on. A state is a list in the same order; each element is a
    tuple of tensors (B, k*H), for k in the cell's `widths`. `options` are options of the cell's own. The
    weights are drawn as with `init=uniform`, seed 0, until `initialise` draws others.

    In training, `dropout` drops single outputs between two layers. `input_dropout` drops inputs of every layer and
    `recurrent_dropout` drops units in the matrix products of a step; both draw once for each sequence (Gal and
    Ghahramani 2016). With `zoneout`, units of a state keep their old value in a step (Krueger et al. 2017);
    `zoneout_cell`, if given, is the chance for the states after the first.

    Raises UserError for a cell that does not exist, an option that the cell does not have, an engine that cannot run
    it, a size below 1, and a chance that is not from 0 to below 1.
    """

    def __init__(
        self,
        cell: str | type[Cell],
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        zoneout_cell: float | None = None,
        bidirectional: bool = False,
        bias: Bias = "both",
        initial_state: InitialState = "zero",
        engine: engines.Name = "auto",
        nonlinearity: Nonlinearity = "tanh",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        for key, size in (("hidden_size", hidden_size), ("num_layers", num_layers)):
            if size < 1:
                raise UserError(f"model.{key}={size}: must be a whole number of at least 1")
        chances = {"dropout": dropout, "input_dropout": input_dropout, "recurrent_dropout": recurrent_dropout,
                   "zoneout": zoneout, "zoneout_cell": zoneout_cell or 0.0}  # fmt: skip
        for key, chance in chances.items():
            if not 0 <= chance < 1:
                raise UserError(f"model.{key}={chance}: must be a number from 0 to below 1")
        self.kind = resolve(cell) if isinstance(cell, str) else cell
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.dropout, self.input_dropout, self.bidirectional = dropout, input_dropout, bidirectional
        self.directions = 2 if bidirectional else 1
        self.output_size = self.directions * hidden_size
        self.engine = engine
        self.precision: str | None = None
        """Lightning's name for the precision, set by the task (a stack cannot see mixed precision), or None."""
        common = _accepted(self.kind, bias=bias, initial_state=initial_state, nonlinearity=nonlinearity)
        common |= _own(self.kind, options or {})
        gates, recurrent = self.kind.gates, self.kind.recurrent_gates
        inputs = gates * (input_size + (num_layers - 1) * self.output_size)
        square = (gates if recurrent is None else recurrent) + self.kind.own_products
        check_memory(
            8.0 * self.directions * hidden_size * (inputs + num_layers * square * hidden_size),
            f"model.hidden_size={hidden_size}, model.num_layers={num_layers}: the weights",
        )
        sizes = [input_size] + [self.output_size] * (num_layers - 1)
        self.layers = nn.ModuleList(
            self.kind(size, hidden_size, **common) for size in sizes for _ in range(self.directions)
        )
        others = zoneout if zoneout_cell is None else zoneout_cell
        for cell_ in self.cells:
            cell_.recurrent_dropout = recurrent_dropout
            if others and cell_.coupled_states:
                raise UserError(
                    f"model.zoneout{'' if zoneout_cell is None else '_cell'}={others}: the other states of "
                    f"{self.kind.__name__} make sense only together, and zoneout keeps each by itself; "
                    "set model.zoneout_cell=0"
                )
            if zoneout or others:
                cell_.zoneout = (zoneout, *[others] * (len(cell_.state_blocks) - 1))
        initialise(self, [], seed=0)
        self._chosen: tuple[object, engines.Choice] | None = None
        if engine != "auto":  # raises UserError now, not in the first call
            engines.choose(engine, self.cells, torch.device("cpu"), "32-true")

    @property
    def cells(self) -> list[Cell]:
        return [cast(Cell, layer) for layer in self.layers]

    @property
    def noisy(self) -> bool:
        """Whether there is any dropout or zoneout: a call in training mode then needs a `dropout_at`."""
        between = self.dropout > 0 and self.num_layers > 1
        return between or any((self.input_dropout, *(c.recurrent_dropout or c.zoneout for c in self.cells)))

    @property
    def uniform(self) -> bool:
        """Whether all cells have the same equations; a user may have replaced or changed one."""
        return len({equations_key(cell) for cell in self.cells}) == 1

    @property
    def choice(self) -> engines.Choice:
        """The engine for this stack on its present device and in its present precision, and why it was chosen."""
        weight = next(self.parameters())
        # `equations_key` would see more, but takes a tenth of the time of a call with one step
        cells = [
            (id(cell), cell.zoneout, cell.recurrent_dropout, *map(vars(cell).get, EQUATIONS))
            for cell in self.cells
        ]
        now = self.engine, weight.device, weight.dtype, self._precision_now, cells
        if self._chosen is None or self._chosen[0] != now:
            self._chosen = now, engines.choose(self.engine, self.cells, weight.device, self._precision_now)
        return self._chosen[1]

    @property
    def _precision_now(self) -> str:
        weight = next(self.parameters())
        # weights of another dtype were converted after the task set the precision
        told = self.precision if weight.dtype == torch.float32 else None
        precision = told or PRECISIONS.get(weight.dtype, "32-true")
        mixed = precision == "32-true" and torch.is_autocast_enabled(weight.device.type)
        return "autocast" if mixed else precision

    def start(self, batch: int) -> list[State]:
        """The initial state for `batch` rows: one tuple of tensors (batch, k*H) for each cell."""
        return [cast(Cell, cell).start(batch) for cell in self.layers]

    def forward(
        self,
        x: Tensor,
        state: list[State] | None = None,
        *,
        reset: Tensor | None = None,
        lengths: Tensor | None = None,
        dropout_at: draws.Place | None = None,
    ) -> tuple[Tensor, list[State]]:
        """The outputs (B, T, output_size) and the final state for x (B, T, I) or (B, T) indices of one-hots.

        `reset` (B, T) bool: where it is true, the state of row b becomes the initial state before step t.
        `lengths` (B,): the rows' lengths without the padding on the right. Outputs at padded steps are zero, and the
        backward direction starts at each row's own end. The final state then has only one tensor for each cell: its
        output at the row's last step. Other states, such as the LSTM's c, are left out: fused layers do not show them.
        `dropout_at` (seed, step): the place in the streams; needed in training mode with dropout or zoneout. A third
        number says that x is part of a batch and begins at this row of it.

        Raises UserError for a state or resets with a bidirectional stack, and for a batch that does not fit into
        memory; ValueError for an x of another shape and for a missing `dropout_at`.
        """
        if x.shape[2:] != ((self.input_size,) if x.is_floating_point() else ()):
            raise ValueError(
                f"x has the shape {tuple(x.shape)}; it must be floats (B, T, {self.input_size}) or indices (B, T)"
            )
        if self.bidirectional and (state is not None or reset is not None):
            raise UserError("model.bidirectional=true: a state from later steps cannot be carried or reset")
        place = dropout_at if self.training and self.noisy else None
        if self.training and self.noisy and place is None:
            raise ValueError("dropout in training mode needs dropout_at=(seed, step)")
        if traced.is_traced(x):
            run: Any = traced.run
        else:
            run = engines.engine(self.choice.engine).run
            if self.choice.engine == "native":  # autocast acts on the other engines, but not on the kernels
                run = partial(run, precision=self._precision_now)
            self._check_memory(x)
        if state is None:
            state = self.start(x.shape[0])
        # a carried state may come from a checkpoint, which is read on the CPU
        state = [tuple(s.to(x.device) for s in one) for one in state]
        final: list[State] = []
        for layer in range(self.num_layers):
            if place and self.input_dropout:
                weight = next(self.parameters())
                x = draws.of_inputs(x, self.input_dropout, place, layer, weight, self.input_size)
            outputs = []
            for direction in range(self.directions):
                at = layer * self.directions + direction
                seen = _backwards(x, lengths) if direction else x
                cell = cast(Cell, self.layers[at])
                masks = draws.of_cell(cell, x, place, at) if place else None
                if masks is not None and masks.keep is not None and direction:  # drawn in the order of x
                    masks = masks._replace(keep=_backwards(masks.keep, lengths))
                y, last = _called(cell, seen, state[at], partial(run, cell, reset=reset, masks=masks))
                if lengths is not None:
                    y, last = _within(y, lengths)
                outputs.append(_backwards(y, lengths) if direction else y)
                final.append(last)
            x = torch.cat(outputs, -1) if self.bidirectional else outputs[0]
            if place and self.dropout > 0 and layer < self.num_layers - 1:
                x = draws.between_layers(x, self.dropout, place, layer)
        return x, final

    def _check_memory(self, x: Tensor) -> None:
        """Raises UserError for a batch whose gates, states, outputs and gradients do not fit into memory."""
        if x.device.type != "cpu":
            return
        back = torch.is_grad_enabled()
        kept = self.output_size * ((3 * self.kind.gates if back else self.kind.gates) + self.kind.states + 1)
        layers = self.num_layers if back else 1
        check_memory(
            4.0 * x.shape[0] * x.shape[1] * kept * layers,
            f"a batch of {x.shape[0]:,} rows of {x.shape[1]:,} steps through {self.num_layers} layers of "
            f"{self.hidden_size} units",
        )


def _called(cell: Cell, x: Tensor, state: State, run: Any) -> tuple[Tensor, State]:
    """Runs an engine on x (B, T, I). A cell's hooks see this as a call of the cell: (x, state) -> (y, state)."""
    hooks = (cell._forward_hooks, cell._forward_pre_hooks, cell._backward_hooks, cell._backward_pre_hooks)
    if traced.is_traced(x) or not (any(hooks) or _has_any_global_hook()):
        return run(x, state)
    own = vars(cell).get("forward")
    vars(cell)["forward"] = run
    try:
        return cell(x, state)
    finally:
        vars(cell).pop("forward")
        if own is not None:
            vars(cell)["forward"] = own


def _parameters(kind: type[Cell]) -> list[inspect.Parameter]:
    """The parameters of a cell's constructor, and, while it passes others on as **kwargs, of the next one."""
    found: list[inspect.Parameter] = []
    for constructor in (vars(base)["__init__"] for base in kind.__mro__ if "__init__" in vars(base)):
        own = constructor_parameters(constructor)
        found += own
        if not any(p.kind is p.VAR_KEYWORD for p in own):
            break
    return found


def _accepted(kind: type[Cell], **options: str) -> dict[str, Any]:
    """The options that the cell's constructor takes. Raises UserError for another option that is not at its default."""
    takes = {p.name for p in _parameters(kind)}
    for name, value in options.items():
        if name not in takes and value != NEUTRAL[name]:
            raise UserError(f"model.{name}={value}: {kind.__name__} has no such option")
    return {name: value for name, value in options.items() if name in takes}


def _own(kind: type[Cell], options: Mapping[str, Any]) -> dict[str, Any]:
    """The given options of the cell's own, as their annotations want them, without those that are None.

    Raises UserError for an unknown one, and for a value that does not fit its annotation.
    """
    parameters = reversed(_parameters(kind))  # a subclass's own come last, and replace its parent's
    own = {p.name: p.annotation for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in NEUTRAL}
    for name in options:
        if name not in own:
            hint = nearest(name, own) or " It has none."
            raise UserError(f"model.options.{name}: {kind.__name__} has no such option.{hint}")
    return fitting({name: value for name, value in options.items() if value is not None}, own)


def _backwards(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Each row of x (B, T, ...) reversed within its length; the padding stays where it is."""
    if lengths is None:
        return x.flip(1)
    steps = torch.arange(x.shape[1], device=x.device)
    mirrored = lengths.to(x.device)[:, None] - 1 - steps  # (B, T)
    order = torch.where(mirrored >= 0, mirrored, steps)
    return x.gather(1, order if x.dim() == 2 else order[..., None].expand(x.shape))


def _within(y: Tensor, lengths: Tensor) -> tuple[Tensor, State]:
    """Outputs (B, T, H) with zeros at padded steps, and the output at each row's last step (0 for an empty row)."""
    lengths = lengths.to(y.device)
    padded = torch.arange(y.shape[1], device=y.device) >= lengths[:, None]
    y = y.masked_fill(padded[..., None], 0.0)
    return y, (y[torch.arange(y.shape[0], device=y.device), (lengths - 1).clamp(min=0)],)
