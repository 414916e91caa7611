"""The networks for measuring the native engine, each as a native program and as a plain torch loop."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from rnnlab import native
from rnnlab.cells.size import size_of
from rnnlab.tasks import CharLM, Forecaster

GATES = {"elman": 1, "gru": 3, "lstm": 4}
LAYERS: dict[str, Any] = {"elman": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
SERIES: dict[str, Any] = {"kind": "series", "inputs": 1, "targets": 1, "horizon": 1, "target_index": [0]}
SERIES |= {"target_scale": [1.0], "target_shift": [0.0]}
VOCABULARY = 65
LR = 1e-3


class Forecasting:
    """Windows of one series, one step ahead, from the last output; MSE, Adam."""

    def __init__(self, cell: str, hidden: int, layers: int = 1, rows: int = 32, steps: int = 20) -> None:
        self.cell, self.hidden, self.layers, self.rows, self.steps = cell, hidden, layers, rows, steps
        self.series = torch.sin(torch.arange(steps + 1000) * 0.1)[:, None].contiguous()
        self.task = Forecaster(SERIES, 0, cell=cell, hidden_size=hidden, num_layers=layers)

    @property
    def flop(self) -> float:
        """Floating-point operations of the products in one optimizer step: forward, and for both gradients; no padding.

        The first layer's input needs no gradient, and the state before the first step is zero.
        """
        if self.cell not in GATES:
            return 6.0 * self.rows * self.steps * size_of(self.task.stack).multiplications
        weights = self.rows * GATES[self.cell] * self.hidden  # rows times outputs of the product
        state = 6.0 * weights * self.hidden * (self.steps - 1)
        below = 6.0 * weights * self.hidden * self.steps
        return self.layers * state + (self.layers - 1) * below + 4.0 * weights * self.steps

    def batches(self, n: int) -> list[torch.Tensor]:
        draw = torch.Generator().manual_seed(0)
        return [torch.randint(0, 999, (self.rows,), generator=draw) for _ in range(n)]

    def native(self, n: int, threads: int = 1) -> Callable[[], native.Steps]:
        """A function of n optimizer steps in one call."""
        source = native.Windows(self.series, 1, self.steps, 1, [0])
        optimizer, flat = torch.optim.Adam(self.task.parameters()), native.flatten(self.task)
        program = native.Program(
            self.task.outline(), flat, optimizer, source, rows=self.rows, threads=threads
        )
        batches = self.batches(n)
        return lambda: program.run(batches, [LR] * n)

    def torch(self, n: int) -> Callable[[], None]:
        """The same with torch's own layers."""
        rnn, head = (
            LAYERS[self.cell](1, self.hidden, self.layers, batch_first=True),
            nn.Linear(self.hidden, 1),
        )
        optimizer = torch.optim.Adam([*rnn.parameters(), *head.parameters()], lr=LR)
        x, y, batches = (
            self.series.unfold(0, self.steps, 1).transpose(1, 2),
            self.series[self.steps :],
            self.batches(n),
        )

        def run() -> None:
            for batch in batches:
                loss = functional.mse_loss(
                    head(rnn(x.index_select(0, batch))[0][:, -1]), y.index_select(0, batch)
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

        return run


class Characters:
    """char-rnn's training: two layers of 128, 50 rows of text in segments of 50, carried; RMSprop, clamp at 5."""

    rows = steps = 50

    def __init__(self, cell: str, n: int) -> None:
        self.cell, self.n = cell, n
        draw = torch.Generator().manual_seed(0)
        self.text = torch.randint(0, VOCABULARY, (self.rows, self.steps * n + 1), generator=draw)

    def native(self, threads: int) -> Callable[[], native.Steps]:
        spec = {"kind": "text", "vocabulary_size": VOCABULARY}
        task = CharLM(spec, 0, cell=self.cell, hidden_size=128, num_layers=2)
        optimizer = torch.optim.RMSprop(task.parameters(), lr=2e-3, alpha=0.95)
        source = native.Characters(self.text[:, :-1], self.text[:, 1:], self.steps)
        options: dict[str, Any] = {"clip_val": 5.0, "clip_algorithm": "value", "threads": threads}
        program = native.Program(
            task.outline(), native.flatten(task), optimizer, source, rows=self.rows, **options
        )
        return lambda: program.run(range(self.n), [2e-3] * self.n)

    def torch(self) -> Callable[[], None]:
        layer, head = LAYERS[self.cell](VOCABULARY, 128, 2, batch_first=True), nn.Linear(128, VOCABULARY)
        parameters = [*layer.parameters(), *head.parameters()]
        optimizer = torch.optim.RMSprop(parameters, lr=2e-3, alpha=0.95)

        def run() -> None:
            state: Any = None
            for i in range(self.n):
                x = self.text[:, i * self.steps : (i + 1) * self.steps]
                y = self.text[:, i * self.steps + 1 : (i + 1) * self.steps + 1]
                out, state = layer(functional.one_hot(x, VOCABULARY).float(), state)
                state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
                loss = functional.cross_entropy(head(out).flatten(0, 1), y.flatten())
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_value_(parameters, 5.0)
                optimizer.step()

        return run
