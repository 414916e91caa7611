"""`rnnlab doctor`: what this machine has, whether the native engine works, and how fast it is."""

import functools
import platform
import time
from collections.abc import Callable
from typing import Any

from rnnlab.cli.arguments import Arguments
from rnnlab.data.spec import SeriesSpec
from rnnlab.errors import UserError


def main(argv: list[str]) -> int:
    parser = Arguments(
        prog="rnnlab doctor",
        description="Shows versions, devices and the state of the native engine, and measures its speed for a second.",
        epilog="Exit code 0: everything can be used; 1: the native engine cannot, so runs take the other engines.",
    )
    parser.add_argument(
        "--cell",
        metavar="NAME",
        help="shows instead how a cell's step was read and compiled, such as --cell mycells.UGRNN",
    )
    asked = parser.parse_args(argv).cell
    if asked is not None:
        return show_cell(asked)

    import lightning
    import torch

    import rnnlab
    from rnnlab import native
    from rnnlab.terminal.console import Console
    from rnnlab.training.accelerator import present

    console = Console()

    def line(name: str, text: Any) -> None:
        console.print(f"{name:12}{text}", soft_wrap=True)

    line("rnnlab", rnnlab.__version__)
    line("Python", f"{platform.python_version()} on {platform.platform()}")
    line("torch", f"{torch.__version__}, lightning {lightning.__version__}")
    line("devices", ", ".join(f"{name} ({what})" for name, what in present().items()))
    status = native.status()
    if not status["available"]:
        line("native", f"cannot be used: {status['reason']}")
        line("", "runs take the engines torch and reference")
        return 1
    made = f"compiled in {s:.1f} s" if (s := status["compile_seconds"]) else "compiled before"
    line("native", f"works: {status['isa']}, by {status['compiler']}, {made}")
    line("", status["library"])
    for cell, hidden, rows, steps in (("elman", 32, 32, 20), ("gru", 64, 32, 50), ("lstm", 128, 50, 50)):
        ours, theirs = speeds(cell, hidden, rows, steps)
        line("", f"{cell:6}{hidden:4}  batch {rows}, {steps} time steps: {ours:9,.0f} optimizer steps/s, "
                 f"{ours / theirs:.1f} times as many as a loop in torch")  # fmt: skip
    return 0


def show_cell(name: str) -> int:
    """Prints a cell's equations as they were read, their derivative, what they cost, and the engine that it gets."""
    from rnnlab.native.reading import read
    from rnnlab.native.symbols import Untraceable
    from rnnlab.recurrence import Stack
    from rnnlab.terminal.console import Console

    try:
        stack = Stack(name, 2, 8)
    except UserError:
        raise
    except Exception as error:  # the user's constructor may raise any
        raise UserError(f"doctor --cell {name}: cannot be made: {type(error).__name__}: {error}") from error
    console = Console()
    console.print(
        f"{stack.kind.__name__}: engine {stack.choice.engine} ({stack.choice.reason})", soft_wrap=True
    )
    try:
        found = read(stack.layers[0])  # type: ignore[arg-type]
    except Untraceable:
        return 1
    for title, lines in found.items():
        console.print(title)
        for line in lines:
            console.print(f"  {line}", soft_wrap=True, markup=False, highlight=False)
    return int(stack.choice.engine != "native")


def speeds(cell: str, hidden: int, rows: int, steps: int) -> tuple[float, float]:
    """Optimizer steps a second on one thread: the kernels', and those of a plain torch loop with torch's layer."""
    import torch
    from torch import nn

    from rnnlab import native
    from rnnlab.cells import CATALOGUE
    from rnnlab.tasks import Forecaster

    spec: SeriesSpec = {"kind": "series", "inputs": 1, "targets": 1, "window": steps, "horizon": 1, "season": None,
                        "input_names": ["x"], "target_names": ["x"], "target_index": [0], "input_shift": [0.0],
                        "input_scale": [1.0], "target_shift": [0.0], "target_scale": [1.0]}  # fmt: skip
    task = Forecaster(spec, cell=cell, hidden_size=hidden)
    series = torch.sin(torch.arange(steps + 500) * 0.1)[:, None].contiguous()
    optimizer = torch.optim.Adam(task.parameters())
    source = native.Windows(series, 1, steps, 1, [0])
    model = task.outline()
    assert model is not None
    program = native.Program(model, native.flatten(task), optimizer, source, rows=rows, threads=1)
    batches = [torch.arange(i, i + rows) for i in range(100)]

    rnn = getattr(nn, CATALOGUE[cell].torch_layer)(1, hidden, batch_first=True)
    head = nn.Linear(hidden, 1)
    adam = torch.optim.Adam([*rnn.parameters(), *head.parameters()])
    x = series.unfold(0, steps, 1).transpose(1, 2)

    def torch_step() -> None:
        loss = nn.functional.mse_loss(head(rnn(x[:rows])[0][:, -1]), series[steps : steps + rows])
        adam.zero_grad()
        loss.backward()
        adam.step()

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return rate(functools.partial(program.run, batches, [1e-3] * 100), 100), rate(torch_step, 1)
    finally:
        torch.set_num_threads(threads)


def rate(call: Callable[[], Any], steps: int, seconds: float = 0.2) -> float:
    """Steps a second of a call that makes `steps`; the first call is not counted."""
    call()
    begin, done = time.perf_counter(), 0
    while (spent := time.perf_counter() - begin) < seconds:
        call()
        done += steps
    return done / spent
