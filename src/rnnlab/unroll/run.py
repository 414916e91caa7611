"""Unrolls a trained model over an input of the user's: every step by hand and by the model."""

import copy
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from rnnlab.cells import Cell
from rnnlab.cells.registry import name_of
from rnnlab.errors import UserError, counted
from rnnlab.recurrence.stack import Stack
from rnnlab.runs.load import load_model
from rnnlab.runs.run import Run
from rnnlab.tasks.task import Task
from rnnlab.unroll import numpy_cells
from rnnlab.unroll.numpy_cells import Quantity
from rnnlab.unroll.unroll import Example, Line, Unrolled, subscript

LONGEST = 200  # the most steps of an input


def unroll_run(run: Run, text: str, trust: bool = False) -> Unrolled:
    """Computes each step by the equations in float64 NumPy and by the model's cells in float32, on the best weights.

    `text` is the text for a character model, the numbers of a series in its own units (steps separated by spaces,
    columns of a step by commas), or the tokens of a sequence. Raises UserError for a text that the model cannot read,
    for a bidirectional model and for one that is no Task with a stack and a head.
    """
    task: Task = load_model(run, trust)
    stack, head = getattr(task, "stack", None), getattr(task, "head", None)
    if not (isinstance(task, Task) and isinstance(stack, Stack) and isinstance(head, nn.Linear)):
        raise UserError(
            f"{run.folder} holds a {type(task).__name__}; only a Task with a stack and a linear head can be unrolled"
        )
    if stack.bidirectional:
        raise UserError("a bidirectional model has no one order of steps to unroll")
    cell, step = cast(Cell, stack.layers[0]), by_hand(stack.layers[0])
    with torch.no_grad():
        x, words, subtracted = read_input(task, text)
        steps = _steps(task, x, words, step)
        said = tuple(task.meaning(torch.from_numpy(lines[-1].by_hand), subtracted) for lines in steps)
    if subtracted is not None:  # what was subtracted, such as the last value, is not known before the end
        said = ("",) * (len(said) - 1) + said[-1:]
    name = stack.kind.__name__
    example = Example(
        title=f"{run.folder.name}, {counted(len(words), 'step')}",
        seed=run.config["seed"],
        hidden=stack.hidden_size,
        outputs=head.out_features,
        x=x.numpy() if x.is_floating_point() else np.eye(stack.input_size)[x.numpy()],
        drawn="those that the run has learned",
        scheme="",
        cell=stack.kind,
        words=tuple(words),
        note="" if step else f"{name} is not written out by hand: its own step, in float64, stands for it.",
        bounded=bool(cell.named_gates) and all(gate.bounded for gate in cell.named_gates),
    )
    parameters = {name: p.detach().numpy() for name, p in task.named_parameters()}
    return Unrolled(example, parameters, steps, said)


def by_hand(cell: Any) -> numpy_cells.Step | None:
    """The step in NumPy for a cell; None if there is none, or if zoneout changes the state after the step."""
    if cell.zoneout:
        return None
    step = numpy_cells.STEPS.get(name_of(type(cell)) or "")
    return numpy_cells.elman_relu if step and getattr(cell, "nonlinearity", "tanh") == "relu" else step


def read_input(task: Task, text: str) -> tuple[torch.Tensor, list[str], torch.Tensor | None]:
    """The stack's input, (T, I) or (T,) indices, a word for each of its steps, and the subtracted value or None.

    With a scale of differences, the stack has fewer steps than the text; the words of the first ones are left out.
    """
    try:
        x, words = task.parse(text)
    except UserError as error:
        raise UserError(f"--input: {error}") from None
    least = 1 + getattr(getattr(task, "per_window", None), "back", 0)
    if not least <= len(words) <= LONGEST:
        raise UserError(f"--input: {counted(len(words), 'step')}; from {least} to {LONGEST} can be shown")
    x, subtracted = task.stack_input(x[None])
    return x[0], words[least - 1 :], None if subtracted is None else subtracted[0]


def _steps(task: Task, x: torch.Tensor, words: list[str], step: numpy_cells.Step | None) -> list[list[Line]]:
    """The lines of each step; without a `step` in NumPy, the cell's own step in float64 takes its place."""
    stack = task.stack
    cells = [cast(Cell, layer) for layer in stack.layers]
    hands = [Hand(cell, step) for cell in cells]
    states = [cell.start(1) for cell in cells]
    head = cast(nn.Linear, task.head)
    weight, bias = head.weight.double().numpy(), head.bias.double().numpy()
    steps = []
    for t in range(len(words)):
        now, before, lines = subscript(t + 1), subscript(t), []
        library, hand = x[t : t + 1], _as_vector(x[t], stack.input_size)
        for layer, (cell, own) in enumerate(zip(cells, hands, strict=True)):
            name = f"layer {layer + 1}: " if len(cells) > 1 else ""
            source = f"x{now}" if layer == 0 else f"h{now} below"
            u, v = cell.project(library), cell.recur(states[layer][0]) if step else None
            gates = cell.activations(u, states[layer])
            library, states[layer] = cell.advance(u, states[layer])
            theirs = (
                gates | dict(zip(cell.named_states or ("h",), states[layer], strict=False)) | {"h": library}
            )
            if v is not None:
                hand_u, hand_v = own.sums(hand)
                lines.append(Line("input", f"{name}W_ih {source} + b_ih", hand_u, u[0].numpy()))
                lines.append(Line("state", f"{name}W_hh h{before} + b_hh", hand_v, v[0].numpy()))
            else:
                theirs |= {f"state {i}": s for i, s in enumerate(states[layer], 1)}
            quantities, hand = own.step(hand)
            for kind, quantity, formula, value in quantities:
                formula = formula.replace("@", now).replace("<", before)
                lines.append(Line(kind, name + formula, value, theirs[quantity][0].numpy()))
        y = weight @ hand + bias
        lines.append(Line("output", f"y{now} = W_hy h{now} + b_y", y, head(library)[0].numpy()))
        steps.append(lines)
    return steps


class Hand:
    """Computes a layer by hand: its weights and its state in float64."""

    def __init__(self, cell: Cell, step: numpy_cells.Step | None) -> None:
        self.cell, self.by_hand = copy.deepcopy(cell).double(), step
        self.weights = {n: p.double().numpy() for n, p in cell.named_parameters()}
        self.state: numpy_cells.State = tuple(s[0].double().numpy() for s in cell.start(1))

    def sums(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        w = self.weights
        return w["weight_ih"] @ x + w.get("bias_ih", 0), w["weight_hh"] @ self.state[0] + w.get("bias_hh", 0)

    def step(self, x: np.ndarray) -> tuple[list[Quantity], np.ndarray]:
        """One step, in NumPy or by the cell's own step: its quantities, and its output (H,)."""
        if self.by_hand is not None:
            quantities, self.state = self.by_hand(*self.sums(x), self.state)
            return quantities, self.state[0]
        state = tuple(torch.from_numpy(s)[None] for s in self.state)
        y, state = self.cell.advance(self.cell.project(torch.from_numpy(x)[None]), state)
        self.state = tuple(s[0].numpy() for s in state)
        shown = [Quantity("new", "h", f"h@ = {type(self.cell).__name__}(x@, h<)", y[0].numpy())]
        # an output that is a state stands above
        first = 1 if np.array_equal(self.state[0], shown[0].value) else 0
        shown += [
            Quantity("sum", f"state {i}", f"state {i}", s)
            for i, s in enumerate(self.state[first:], 1 + first)
        ]
        return shown, y[0].numpy()


def _as_vector(x: torch.Tensor, size: int) -> np.ndarray:
    """A step's input in float64; an index becomes its one-hot vector."""
    return x.double().numpy() if x.is_floating_point() else np.eye(size)[int(x)]
