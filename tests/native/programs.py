"""Tasks, their data and the float64 truth, for the tests of whole steps."""

import contextlib
import copy
from typing import Any

import torch

from rnnlab import native
from rnnlab.native import bindings as library
from rnnlab.native import build
from rnnlab.tasks import CharLM, Classifier, Forecaster


@contextlib.contextmanager
def built_with(*extra: str, compiler: str | None = None):
    """Inside, the kernels are those of another build."""
    before = library.library()
    library._loaded = library.Library(build.build(compiler, extra))
    try:
        yield
    finally:
        library._loaded = before


def normal_weights(task: torch.nn.Module, scale: float = 0.5) -> None:
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in task.parameters():
            parameter.copy_(
                torch.randn(parameter.shape, generator=draw)
                * scale
                / max((1, *parameter.shape)[-1], 1) ** 0.5
            )


class Case:
    """A task over random data, its source, and batches both as the kernels name them and as the task takes them."""

    def __init__(self, kind: str, batch: int, steps: int, **options: Any) -> None:
        draw = torch.Generator().manual_seed(2)
        self.kind, self.batch, self.steps = kind, batch, steps
        sizes = {k: options.pop(k, v) for k, v in SIZES[kind].items()}
        self.options = options
        if kind == "series":
            inputs, targets, horizon = sizes["inputs"], sizes["targets"], sizes["horizon"]
            index = [i % inputs for i in range(targets)]
            self.spec = {
                "kind": kind,
                "inputs": inputs,
                "targets": targets,
                "horizon": horizon,
                "target_index": index,
            }
            self.spec |= {"target_scale": [1.0] * targets, "target_shift": [0.0] * targets}
            self.series = torch.randn(steps + horizon + 60, inputs, generator=draw)
            self.source: Any = native.Windows(self.series, inputs, steps, horizon, index)
            self.count, self.index = 60, index
        elif kind == "text":
            self.spec = {"kind": kind, "vocabulary_size": sizes["vocabulary"]}
            rows = torch.randint(0, sizes["vocabulary"], (batch, 12 * steps + 1), generator=draw)
            self.rows = rows
            self.source = native.Characters(rows[:, :-1], rows[:, 1:], steps)
        else:
            classes = sizes["classes"]
            self.spec = {"kind": kind, "vocab_size": sizes["vocabulary"], "classes": classes}
            self.x = torch.randint(0, sizes["vocabulary"], (60, steps), generator=draw)
            self.lengths = torch.randint(1, steps + 1, (60,), generator=draw)
            self.y = torch.randint(0, classes, (60,), generator=draw)
            self.source = native.Sequences(self.x, self.lengths, self.y)
            self.count = 60

    def task(self, engine: str = "reference") -> Any:
        cls = {"series": Forecaster, "text": CharLM, "labelled": Classifier}[self.kind]
        task = cls(self.spec, 0, engine=engine, **self.options)
        normal_weights(task)
        return task

    def names(self, n: int) -> list[Any]:
        """n batches as the program takes them."""
        if self.kind == "text":
            return [i % 12 for i in range(n)]
        draw = torch.Generator().manual_seed(3)
        return [torch.randint(0, self.count, (self.batch,), generator=draw) for _ in range(n)]

    def batch_of(self, name: Any, dtype: torch.dtype) -> Any:
        """The same batch as the task's own `loss` takes it."""
        if self.kind == "series":
            horizon = self.spec["horizon"]
            x = torch.stack([self.series[s : s + self.steps] for s in name])
            y = torch.stack(
                [self.series[s + self.steps : s + self.steps + horizon][:, self.index] for s in name]
            )
            return x.to(dtype), y.to(dtype)
        if self.kind == "text":
            from rnnlab.data.chars import Segment

            at = slice(name * self.steps, (name + 1) * self.steps)
            return Segment(self.rows[:, :-1][:, at], self.rows[:, 1:][:, at], name == 0)
        from rnnlab.data.tokens import Labelled

        return Labelled(self.x[name], self.lengths[name], self.y[name])

    def program(self, optimizer: Any = None, precision: str | None = None, **options: Any) -> native.Program:
        """A fresh program over a fresh task, which it keeps as `task`."""
        task = self.task("auto")
        task.stack.precision = precision
        flat = native.flatten(task)
        made = (optimizer or torch.optim.Adam)(task.parameters())
        program = native.Program(task.outline(), flat, made, self.source, rows=self.batch, **options)
        program.task = task  # type: ignore[attr-defined]
        return program


SIZES: dict[str, dict[str, int]] = {
    "series": {"inputs": 1, "targets": 1, "horizon": 1},
    "text": {"vocabulary": 11},
    "labelled": {"vocabulary": 13, "classes": 2},
}


def torchs_gradients(
    case: Case, name: Any, dtype: torch.dtype, engine: str
) -> tuple[float, list[torch.Tensor]]:
    """Loss and gradients of a batch by autograd."""
    task = copy.deepcopy(case.task(engine)).to(dtype)
    loss = task.loss(case.batch_of(name, dtype))
    parameters = list(task.parameters())
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)  # a cell may have more than it uses
    pairs = zip(gradients, parameters, strict=True)
    return float(loss.detach()), [(torch.zeros_like(p) if g is None else g).double() for g, p in pairs]


def relative_error(found: list[torch.Tensor], truth: list[torch.Tensor]) -> float:
    """Of all tensors taken as one vector."""
    error = sum(float((f.double() - t).square().sum()) for f, t in zip(found, truth, strict=True))
    return (error / sum(float(t.square().sum()) for t in truth)) ** 0.5
