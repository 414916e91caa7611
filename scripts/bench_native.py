"""How fast the native engine's kernels are: `python scripts/bench_native.py [rate|models|steps] [threads=N]`.

Ratios of things measured by turns in one run, medians of several; absolute figures belong to this machine.

* steps: whole optimizer steps a second of small models, Adam included
* rate: useful multiply-adds a second in training, as a share of torch's sgemm on the same cores
* models: character models of two layers of 128 against a plain torch loop with nn.LSTM and nn.GRU
"""

import functools
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from rnnlab import native
from rnnlab.tasks import CharLM, Forecaster

GATES = {"elman": 1, "gru": 3, "lstm": 4}
VOCABULARY = 65
SERIES: dict[str, Any] = {"kind": "series", "inputs": 1, "targets": 1, "horizon": 1, "target_index": [0]}
SERIES |= {"target_scale": [1.0], "target_shift": [0.0]}


def seconds(*functions: Callable[[], Any], repeats: int = 7) -> list[float]:
    """The median time of each, taken by turns so that all see the same machine."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for function, taken in zip(functions, times, strict=True):
            began = time.perf_counter()
            function()
            taken.append(time.perf_counter() - began)
    return [statistics.median(taken) for taken in times]


def forecaster(
    cell: str, hidden: int, layers: int, rows: int, steps: int, n: int, threads: int
) -> Callable[[], Any]:
    """N optimizer steps of a forecaster, in one call."""
    task = Forecaster(SERIES, 0, cell=cell, hidden_size=hidden, num_layers=layers)
    source = native.Windows(
        torch.sin(torch.arange(steps + 1000) * 0.1)[:, None].contiguous(), 1, steps, 1, [0]
    )
    optimizer = torch.optim.Adam(task.parameters())
    program = native.Program(task, native.flatten(task), optimizer, source, rows=rows, threads=threads)
    draw = torch.Generator().manual_seed(0)
    batches = [torch.randint(0, 999, (rows,), generator=draw) for _ in range(n)]
    return functools.partial(program.run, batches, [1e-3] * n)


def sgemm(n: int = 512, times: int = 40) -> Callable[[], None]:
    a = torch.randn(n, n)

    def multiply() -> None:
        for _ in range(times):
            torch.mm(a, a)

    return multiply


def measure_steps(threads: int) -> None:
    print(f"{'':22} steps/s")
    for cell, hidden, layers, rows, steps in (
        ("elman", 16, 1, 32, 20), ("elman", 32, 1, 32, 20), ("elman", 32, 2, 32, 20), ("elman", 128, 1, 32, 20),
        ("gru", 32, 1, 32, 20), ("lstm", 32, 1, 32, 20),
    ):  # fmt: skip
        n = max(20, 60_000_000 // (rows * steps * hidden * hidden * layers * GATES[cell]))
        (taken,) = seconds(forecaster(cell, hidden, layers, rows, steps, n, threads))
        print(f"{cell:6}{hidden:4} x{layers} B{rows:<3} T{steps:<4} {n / taken:10,.0f}", flush=True)


def measure_rate(threads: int) -> None:
    print(f"{'':20} GFLOP/s   of sgemm")
    for cell in ("elman", "gru", "lstm"):
        for hidden in (16, 32, 64, 128, 256, 512):
            rows, steps = (32, 20) if cell == "elman" else (50, 50)
            work = 6.0 * rows * steps * GATES[cell] * hidden * (hidden + 1)
            n = max(2, int(1e10 / work))
            multiply, times = sgemm(), 40
            model, matrix = seconds(forecaster(cell, hidden, 1, rows, steps, n, threads), multiply, repeats=5)
            rate, peak = n * work / model, times * 2 * 512**3 / matrix
            print(f"{cell:6}{hidden:4} B{rows} T{steps:<6} {rate / 1e9:7.0f} {rate / peak:9.0%}", flush=True)


def measure_models(threads: int) -> None:
    rows, steps, n = 50, 50, 10
    text = torch.randint(0, VOCABULARY, (rows, steps * n + 1), generator=torch.Generator().manual_seed(0))
    print(f"{'':14} native     torch     ratio")
    for cell, layer in (("lstm", nn.LSTM), ("gru", nn.GRU)):
        task = CharLM(
            {"kind": "text", "vocabulary_size": VOCABULARY}, 0, cell=cell, hidden_size=128, num_layers=2
        )
        optimizer = torch.optim.RMSprop(task.parameters(), lr=2e-3, alpha=0.95)
        source = native.Characters(text[:, :-1], text[:, 1:], steps)
        options: dict[str, Any] = {"clip_val": 5.0, "clip_algorithm": "value", "threads": threads}
        program = native.Program(task, native.flatten(task), optimizer, source, rows=rows, **options)
        plain = PlainLoop(layer, text, steps)
        ours, theirs = seconds(
            functools.partial(program.run, range(n), [2e-3] * n), functools.partial(plain.run, n), repeats=5
        )
        print(
            f"{cell:5} 2x128 {ours / n * 1e3:7.2f} ms {theirs / n * 1e3:7.2f} ms {theirs / ours:8.2f}",
            flush=True,
        )


class PlainLoop:
    """The same training in plain torch."""

    def __init__(self, layer: Any, text: torch.Tensor, steps: int) -> None:
        self.layer, self.head = layer(VOCABULARY, 128, 2, batch_first=True), nn.Linear(128, VOCABULARY)
        self.text, self.steps = text, steps
        self.parameters = [*self.layer.parameters(), *self.head.parameters()]
        self.optimizer = torch.optim.RMSprop(self.parameters, lr=2e-3, alpha=0.95)

    def run(self, n: int) -> None:
        state: Any = None
        for i in range(n):
            x = self.text[:, i * self.steps : (i + 1) * self.steps]
            y = self.text[:, i * self.steps + 1 : (i + 1) * self.steps + 1]
            out, state = self.layer(F.one_hot(x, VOCABULARY).float(), state)
            state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
            loss = F.cross_entropy(self.head(out).flatten(0, 1), y.flatten())
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_value_(self.parameters, 5.0)
            self.optimizer.step()
            loss.item()


def main(arguments: list[str]) -> int:
    options = dict(a.split("=", 1) for a in arguments if "=" in a)
    names = [a for a in arguments if "=" not in a] or ["steps", "rate", "models"]
    measures = {"steps": measure_steps, "rate": measure_rate, "models": measure_models}
    if unknown := [n for n in names if n not in measures]:
        print(f"{unknown[0]}: no such measurement; possible: {', '.join(measures)}", file=sys.stderr)
        return 2
    threads = int(options.get("threads", 1))
    torch.set_num_threads(threads)
    told = native.status()
    if not told["available"]:
        print(told["reason"], file=sys.stderr)
        return 1
    print(f"{told['isa']}, {told['compiler']}, torch {torch.__version__}, threads: {threads}")
    for name in names:
        print(f"\n{name}")
        measures[name](threads)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
