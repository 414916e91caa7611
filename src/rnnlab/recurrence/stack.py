"""The stack: layers of cells driven over time."""

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from rnnlab import cells, streams
from rnnlab.cells import Cell, State
from rnnlab.errors import UserError
from rnnlab.recurrence import engines
from rnnlab.recurrence.engines import Choice
from rnnlab.recurrence.initialisation import initialise

PRECISIONS = {torch.float64: "64-true", torch.bfloat16: "bf16-true", torch.float16: "16-true"}


class Stack(nn.Module):
    """`num_layers` layers of one kind of cell, in one or both directions.

    `layers` is flat: layer l in direction d is `layers[l * directions + d]`, d = 1 running backwards, so the
    parameters are called `layers.0.weight_ih` and so on; a state is a list in the same order, of tuples of (B, H).
    The weights are drawn as with `init=uniform`, seed 0, until `initialise` draws others.

    Raises UserError for a cell that is not there, an option that the cell does not have, or an engine that
    cannot serve it.
    """

    def __init__(
        self,
        cell: str | type[Cell],
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        dropout: float = 0.0,
        bidirectional: bool = False,
        bias: cells.cell.Bias = "both",
        initial_state: cells.cell.InitialState = "zero",
        engine: engines.Engine = "auto",
        nonlinearity: cells.elman.Nonlinearity = "tanh",
    ) -> None:
        super().__init__()
        kind = cells.resolve(cell) if isinstance(cell, str) else cell
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.dropout, self.bidirectional = dropout, bidirectional
        self.directions = 2 if bidirectional else 1
        self.output_size = self.directions * hidden_size
        self.engine = engine
        self.precision: str | None = None
        """As Lightning names it, set by who knows it (mixed precision); None = as the weights are."""
        options = _accepted(kind, bias=bias, initial_state=initial_state, nonlinearity=nonlinearity)
        sizes = [input_size] + [self.output_size] * (num_layers - 1)
        self.layers = nn.ModuleList(
            kind(size, hidden_size, **options) for size in sizes for _ in range(self.directions)
        )
        initialise(self, [], seed=0)
        engines.choose(engine, self, torch.device("cpu"), "32-true")  # refuse what is nowhere possible

    @property
    def choice(self) -> Choice:
        """The engine that runs this stack where its weights are now, and why it was taken."""
        weight = next(self.parameters())
        precision = self.precision or PRECISIONS.get(weight.dtype, "32-true")
        return engines.choose(self.engine, self, weight.device, precision)

    def start(self, batch: int) -> list[State]:
        """The initial state of `batch` rows."""
        return [cell.start(batch) for cell in self.layers]

    def forward(
        self,
        x: Tensor,
        state: list[State] | None = None,
        *,
        reset: Tensor | None = None,
        lengths: Tensor | None = None,
        dropout_at: tuple[int, int] | None = None,
    ) -> tuple[Tensor, list[State]]:
        """x (B, T, I), or (B, T) integer indices of one-hot inputs, gives y (B, T, output_size) and the final state.

        `reset` (B, T) bool: before step t the state of row b goes back to the initial state.
        `lengths` (B,): rows are padded on the right; outputs at padded steps are zero, the backward direction
        starts at each row's own end, and the state returned holds one tensor per cell: its output after the row's
        last step (h in all cells here; the LSTM's c, which fused layers do not show, is left out).
        `dropout_at` (seed, step): where the dropout stream stands. Needed in training mode with dropout.

        Raises UserError for a carried state with a bidirectional stack, ValueError for a missing `dropout_at`.
        """
        if self.bidirectional and state is not None:
            raise UserError(
                "model.bidirectional=true: a state cannot be carried into the direction from the future"
            )
        if self.bidirectional and reset is not None:
            raise UserError("model.bidirectional=true: reset masks are for one direction only")
        dropping = self.training and self.dropout > 0 and self.num_layers > 1
        if dropping and dropout_at is None:
            raise ValueError("dropout in training mode needs dropout_at=(seed, step)")
        batch, time = x.shape[:2]
        engine = self.choice.engine
        state = self.start(batch) if state is None else state
        steps = torch.arange(time, device=x.device)
        real = None if lengths is None else steps < lengths.to(x.device)[:, None]  # (B, T)
        backwards = _backwards(steps, lengths) if self.bidirectional else None
        final: list[State] = []
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(self.directions):
                at = layer * self.directions + direction
                seen = _reorder(x, backwards) if direction else x
                y, last = engines.run(engine, self.layers[at], seen, state[at], reset)
                if lengths is not None and real is not None:
                    y = torch.where(real[..., None], y, 0)
                    end = (lengths.to(x.device) - 1).clamp(min=0)
                    last = (y[torch.arange(batch, device=x.device), end],)
                outputs.append(_reorder(y, backwards) if direction else y)
                final.append(last)
            x = torch.cat(outputs, -1) if direction else outputs[0]
            if dropping and dropout_at is not None and layer < self.num_layers - 1:
                seed, step = dropout_at
                mask = streams.keep_mask(seed, self.dropout, tuple(x.shape), step, layer)
                x = x * torch.from_numpy(mask).to(x)
        return x, final


def _accepted(kind: type[Cell], **options: str) -> dict[str, Any]:
    """Those options that the cell's constructor takes; UserError where one it does not take was asked for."""
    parameters = inspect.signature(kind).parameters
    neutral = {"bias": "both", "initial_state": "zero", "nonlinearity": "tanh"}
    takes = set(parameters)
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        takes |= {"bias", "initial_state"}
    for name in options.keys() - takes:
        if options[name] != neutral[name]:
            raise UserError(f"model.{name}={options[name]}: {kind.__name__} has no such option")
    return {name: value for name, value in options.items() if name in takes}


def _backwards(steps: Tensor, lengths: Tensor | None) -> Tensor:
    """Indices (B or 1, T) that reverse each row within its length and leave the padding where it is."""
    if lengths is None:
        return steps.flip(0)[None]
    mirrored = lengths.to(steps.device)[:, None] - 1 - steps
    return torch.where(mirrored >= 0, mirrored, steps)


def _reorder(x: Tensor, order: Tensor | None) -> Tensor:
    """Row b of the result takes its steps from x in the order of row b."""
    assert order is not None
    order = order.expand(x.shape[0], -1)
    return x.gather(1, order if x.dim() == 2 else order[..., None].expand(x.shape))
