"""Optimizer steps per second of every cell: with a run's engine, with the reference, and with torch.compile of it.

Options: cells=gru,mgu (default: all), hidden=32,128, compiled=elman,indrnn (cells to run with torch.compile, at the
first hidden size; or all, or none; it takes one to five minutes per cell), write=yes (updates docs/cells.md).
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from benchmarks import roof, turns
from rnnlab import native
from rnnlab.cells import CATALOGUE
from rnnlab.cells.size import size_of
from rnnlab.native.kernels import kernels_of
from rnnlab.native.spec import obstacle
from rnnlab.recurrence import reference
from rnnlab.recurrence.stack import Stack
from rnnlab.tasks import Forecaster

ROWS, STEPS, LR = 32, 20, 1e-3
SERIES = {"kind": "series", "inputs": 1, "targets": 1, "horizon": 1, "target_index": [0],
          "target_scale": [1.0], "target_shift": [0.0]}  # fmt: skip
BUDGET = 0.1  # seconds of one measurement
TURNS = 5
PAGE = Path(__file__).parents[2] / "docs" / "cells.md"
BEGIN, END = "<!-- measured by scripts/benchmark.py cells -->", "<!-- end of what was measured -->"


class Measured(NamedTuple):
    engine: str
    rate: float
    """Optimizer steps per second."""
    peak: float
    """The share of the core's peak rate of multiply-adds."""
    of_gru: float
    """That share relative to the GRU's, measured in turns with it."""
    reference: float


def main(options: dict[str, str]) -> None:
    cells = options.get("cells", ",".join(CATALOGUE)).split(",")
    hiddens = [int(h) for h in options.get("hidden", "32,128").split(",")]
    asked = options.get("compiled", "elman,indrnn")
    compiled = {"all": cells, "none": []}.get(asked, asked.split(","))
    peak_function, peak_flop = roof.multiply_adds()
    found: dict[str, list[Measured]] = {}
    with turns.cores(1), tempfile.TemporaryDirectory() as empty:
        os.environ["RNNLAB_CACHE"] = empty  # so that compiling is included
        native.status()
        print(
            f"  one layer, B={ROWS}, T={STEPS}, Adam, one core; of the peak; of the GRU's share; against the reference"
        )
        for cell in cells:
            found[cell] = [measured(cell, hidden, peak_function, peak_flop) for hidden in hiddens]
            shown = "".join(
                f"{m.rate:9.0f}/s{m.peak:5.0%}{m.of_gru:6.2f}{m.rate / m.reference:7.0f}x"
                for m in found[cell]
            )
            print(
                f"  {cell:22}{found[cell][0].engine:>10}{shown}   compiled in {seconds(cell):.1f} s",
                flush=True,
            )
        against = {}
        for cell in compiled:
            rate_, first = rate(torch_steps(cell, hiddens[0], compiled=True))
            against[cell] = found[cell][0].rate / rate_, first
            print(
                f"  {cell:22} {against[cell][0]:.1f} times torch.compile, which took {first:.0f} s",
                flush=True,
            )
        if options.get("write") == "yes":
            write(table(hiddens, found, against))


def seconds(cell: str) -> float:
    """Seconds for compiling the kernels."""
    return kernels_of(Stack(cell, 1, 32).cells[0]).built.seconds


def table(
    hiddens: list[int], found: dict[str, list[Measured]], against: dict[str, tuple[float, float]]
) -> str:
    heads = [
        f"{what}, h={h}"
        for h in hiddens
        for what in ("steps/s", "of the peak", "of the GRU's share", "times reference")
    ]
    lines = [f"| `model.cell` | {' | '.join(heads)} |", "|" + " --- |" * (1 + len(heads))]
    for cell, of in found.items():
        shown = " | ".join(
            f"{m.rate:,.0f} | {m.peak:.0%} | {m.of_gru:.2f} | {m.rate / m.reference:.0f}" for m in of
        )
        lines.append(f"| `{cell}` | {shown} |")
    if against:
        lines += [
            "",
            f"| against torch.compile, h={hiddens[0]} | times as fast | torch.compile took |",
            "| --- | --- | --- |",
        ]
        lines += [f"| `{cell}` | {times:.1f} | {first:.0f} s |" for cell, (times, first) in against.items()]
    return "\n".join(lines)


def write(text: str) -> None:
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def measured(cell: str, hidden: int, peak: Callable[[], object], peak_flop: float) -> Measured:
    engine, step, count = whole_steps(cell, hidden)
    _, by_gru, gru_count = whole_steps("gru", hidden)
    (ours, n, _), (gru, m, _) = repeated(step), repeated(by_gru)
    taken, gru_taken, peak_taken = turns.seconds(ours, gru, peak, repeats=TURNS, clock=turns.clock(1))
    rate_, gru_rate = n * count / taken, m * gru_count / gru_taken
    cost, gru_cost = (size_of(Stack(c, 1, hidden)).multiplications for c in (cell, "gru"))
    flop = 6.0 * ROWS * STEPS * cost  # forward, and both ways back
    share = flop * rate_ / (peak_flop / peak_taken)
    by_reference, _ = rate(torch_steps(cell, hidden))
    return Measured(engine, rate_, share, rate_ * cost / (gru_rate * gru_cost), by_reference)


def whole_steps(cell: str, hidden: int) -> tuple[str, Callable[[], object], int]:
    """(engine, function, optimizer steps per call) as in a run: where the kernels can, many steps in one call."""
    task = Forecaster(SERIES, 0, cell=cell, hidden_size=hidden)
    optimizer = torch.optim.Adam(task.parameters(), lr=LR)
    engine = task.stack.choice.engine
    if engine != "native" or obstacle(task.outline(), optimizer) is not None:
        return engine, torch_steps(cell, hidden, stack=task.stack), 1
    series = torch.sin(torch.arange(STEPS + 1000) * 0.1)[:, None].contiguous()
    draw = torch.Generator().manual_seed(0)
    batches = [torch.randint(0, 999, (ROWS,), generator=draw) for _ in range(100)]
    source = native.Windows(series, 1, STEPS, 1, [0])
    program = native.Program(task.outline(), native.flatten(task), optimizer, source, rows=ROWS, threads=1)
    return engine, lambda: program.run(batches, [LR] * len(batches)), len(batches)


def torch_steps(
    cell: str, hidden: int, *, compiled: bool = False, stack: Stack | None = None
) -> Callable[[], object]:
    """A function of one optimizer step with a loop over the cell's own `step`, or with another `stack`."""
    stack = stack or Stack(cell, 1, hidden, engine="reference")
    head = nn.Linear(hidden, 1)
    x = torch.sin(torch.arange(ROWS * STEPS) * 0.1).view(ROWS, STEPS, 1)
    y = torch.cos(torch.arange(ROWS) * 0.1)[:, None]
    optimizer = torch.optim.Adam([*stack.parameters(), *head.parameters()], lr=LR)
    one = stack.layers[0]

    def by_loop() -> torch.Tensor:
        outputs, _ = reference.run(one, x, one.start(ROWS))  # type: ignore[arg-type]
        return functional.mse_loss(head(outputs[:, -1]), y)

    def by_stack() -> torch.Tensor:
        return functional.mse_loss(head(stack(x)[0][:, -1]), y)

    loss = torch.compile(by_loop) if compiled else by_loop if stack.engine == "reference" else by_stack

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return step


def rate(step: Callable[[], object]) -> tuple[float, float]:
    """(calls per second, seconds of the first call): median of three turns within the budget."""
    many, n, first = repeated(step)
    (taken,) = turns.seconds(many, repeats=3, clock=turns.clock(1))
    return n / taken, first


def repeated(step: Callable[[], object]) -> tuple[Callable[[], None], int, float]:
    """(a function that calls `step` n times, in a third of the budget; n; seconds of the first call)."""
    begin = time.perf_counter()
    step()
    first = time.perf_counter() - begin
    step()
    begin = time.perf_counter()
    step()
    n = max(1, int(BUDGET / 3 / max(time.perf_counter() - begin, 1e-6)))

    def many() -> None:
        for _ in range(n):
            step()

    return many, n, first
