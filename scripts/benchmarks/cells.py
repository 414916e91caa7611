"""Optimizer steps a second of every cell: the engine that a run would take, the reference, and torch.compile of it.

Options: cells=gru,mgu (default: all), hidden=32,128, compile=no (it takes most of the time).
"""

import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from benchmarks import turns
from rnnlab import native
from rnnlab.cells import CATALOGUE
from rnnlab.cells.size import size_of
from rnnlab.native.spec import obstacle
from rnnlab.recurrence import reference
from rnnlab.recurrence.stack import Stack
from rnnlab.tasks import Forecaster

ROWS, STEPS, LR = 32, 20, 1e-3
SERIES = {"kind": "series", "inputs": 1, "targets": 1, "horizon": 1, "target_index": [0],
          "target_scale": [1.0], "target_shift": [0.0]}  # fmt: skip
BUDGET = 0.5  # seconds of one measurement


def main(options: dict[str, str]) -> None:
    cells = options.get("cells", ",".join(CATALOGUE)).split(",")
    hiddens = [int(h) for h in options.get("hidden", "32,128").split(",")]
    compiling = options.get("compile", "yes") != "no"
    with turns.cores(1):
        print(f"  one layer, B={ROWS}, T={STEPS}, Adam, one core; optimizer steps a second")
        heads = f"{'engine':>10}{'auto':>9}{'reference':>11}{'compiled':>10}{'compiling':>11}{'GFLOP/s':>9}"
        print(f"  {'cell':22}{'h':>4}{heads}")
        for hidden in hiddens:
            for cell in cells:
                print(f"  {cell:22}{hidden:4}{line(cell, hidden, compiling)}", flush=True)


def line(cell: str, hidden: int, compiling: bool) -> str:
    engine, auto = whole_steps(cell, hidden)
    by_reference, _ = rate(torch_steps(cell, hidden))
    compiled, seconds = rate(torch_steps(cell, hidden, compiled=True)) if compiling else (float("nan"),) * 2
    # forward, and both ways back
    flop = 6.0 * ROWS * STEPS * size_of(Stack(cell, 1, hidden)).multiplications
    return (f"{engine:>10}{auto:9.0f}{by_reference:11.0f}{compiled:10.0f}{seconds:10.1f}s"
            f"{flop * auto / 1e9:9.2f}")  # fmt: skip


def whole_steps(cell: str, hidden: int) -> tuple[str, float]:
    """As a run would take them: many in one call of the kernels where those can, else one by one."""
    task = Forecaster(SERIES, 0, cell=cell, hidden_size=hidden)
    optimizer = torch.optim.Adam(task.parameters(), lr=LR)
    engine = task.stack.choice.engine
    if engine != "native" or obstacle(task.outline(), optimizer) is not None:
        return engine, rate(torch_steps(cell, hidden, stack=task.stack))[0]
    series = torch.sin(torch.arange(STEPS + 1000) * 0.1)[:, None].contiguous()
    draw = torch.Generator().manual_seed(0)
    batches = [torch.randint(0, 999, (ROWS,), generator=draw) for _ in range(100)]
    source = native.Windows(series, 1, STEPS, 1, [0])
    program = native.Program(task.outline(), native.flatten(task), optimizer, source, rows=ROWS, threads=1)
    steps, _ = rate(lambda: program.run(batches, [LR] * len(batches)))
    return engine, len(batches) * steps


def torch_steps(
    cell: str, hidden: int, *, compiled: bool = False, stack: Stack | None = None
) -> Callable[[], object]:
    """One optimizer step of the loop over the cell's own step, or of another `stack`."""
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
    """Calls a second, and the seconds of the first one: median of three turns within the budget."""
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

    (taken,) = turns.seconds(many, repeats=3, clock=turns.clock(1))
    return n / taken, first
