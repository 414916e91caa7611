"""A trained model unrolled over an input of the user's: every step by hand and by the model, side by side."""

import copy
from typing import Any, cast

import numpy as np
import torch

from rnnlab.cells import GRU, LSTM, Cell, Elman
from rnnlab.data.vocabulary import Vocabulary
from rnnlab.errors import UserError
from rnnlab.instruments.probe import gates_of
from rnnlab.runs.load import load_model
from rnnlab.runs.run import Run
from rnnlab.tasks import CharLM, Classifier, Forecaster
from rnnlab.unroll import by_hand
from rnnlab.unroll.meaning import meaning
from rnnlab.unroll.unroll import Example, Line, Unrolled, subscript

LONGEST = 200  # steps of an input


def unroll_run(run: Run, text: str, trust: bool = False) -> Unrolled:
    """The equations in float64 NumPy and the model's own cells in float32, on the run's best weights.

    `text` is what a character model reads, or the numbers of a series in its own units (steps apart by spaces,
    several columns of a step by commas), or the tokens of a sequence. Raises UserError for what does not fit.
    """
    task = load_model(run, trust)
    stack = task.stack
    if stack.bidirectional:
        raise UserError("a bidirectional model has no one order of steps to unroll")
    kinds = {Elman: f"elman_{getattr(stack.layers[0], 'nonlinearity', 'tanh')}", GRU: "gru", LSTM: "lstm"}
    with torch.no_grad():
        x, words, last = read_input(task, text)
        steps = _steps(task, x, words, kinds.get(stack.kind))
    said = tuple(meaning(task, lines[-1].by_hand, last) for lines in steps)
    if last is not None:  # before the end, what was subtracted is not known yet
        said = ("",) * (len(said) - 1) + said[-1:]
    parameters = {name: p.detach().numpy() for name, p in task.named_parameters()}
    example = Example(
        title=f"{run.folder.name}, {len(words)} steps",
        seed=run.config["seed"],
        hidden=stack.hidden_size,
        outputs=task.head.out_features,
        x=x.numpy() if x.is_floating_point() else np.eye(stack.input_size)[x.numpy()],
        drawn="those that the run has learned",
        scheme="",
        cell=stack.kind.__name__.lower() if stack.kind in kinds else "",
        words=tuple(words),
        note=""
        if stack.kind in kinds
        else f"{stack.kind.__name__} is not written out by hand: its own step, in float64, stands for it.",
    )
    return Unrolled(example, parameters, steps, said)


def read_input(task: Any, text: str) -> tuple[torch.Tensor, list[str], torch.Tensor | None]:
    """What the stack takes, (T, I) or (T,) indices, a word for each step, and what was subtracted, (I,) or None."""
    last = None
    if isinstance(task, CharLM):
        ids, words = Vocabulary.from_spec(task.spec).encode(text), list(text)
    elif isinstance(task, Classifier):
        ids = torch.tensor([_whole(word, task.embedding.num_embeddings) for word in text.split()])
        words = text.split()
    else:
        ids, words = _series(task, text), text.split()
        if task.subtract_last and len(ids):
            ids, last = ids - ids[-1:], ids[-1]
    if not 1 <= len(words) <= LONGEST:
        raise UserError(f"--input: {len(words)} steps; from 1 to {LONGEST} can be shown")
    embedding = getattr(task, "embedding", None)
    return (ids if embedding is None else embedding(ids)), words, last


def _whole(word: str, size: int) -> int:
    if not word.isdigit() or int(word) >= size:
        raise UserError(f"--input {word}: not a token from 0 to {size - 1}")
    return int(word)


def _series(task: Forecaster, text: str) -> torch.Tensor:
    """Rows of a series in its own units, scaled as the model was trained."""
    try:
        rows = [[float(value) for value in step.split(",")] for step in text.split()]
    except ValueError as error:
        raise UserError(f"--input: {str(error).rpartition(': ')[2]} is not a number") from None
    inputs = task.spec["inputs"]
    for row in rows:
        if len(row) != inputs:
            names = ",".join(task.spec["input_names"])
            raise UserError(f"--input: each step has {inputs} values ({names}), and one has {len(row)}")
    shift, scale = (torch.tensor(task.spec[key]) for key in ("input_shift", "input_scale"))
    return (torch.tensor(rows).reshape(-1, inputs) - shift) / scale


def _steps(task: Any, x: torch.Tensor, words: list[str], equations: str | None) -> list[list[Line]]:
    """Each step's lines; without `equations` a cell of the user's own, by its own step in float64."""
    stack = task.stack
    cells = [cast(Cell, layer) for layer in stack.layers]
    step_by_hand = by_hand.STEPS[equations] if equations else None
    hands = [Hand(cell) for cell in cells]
    states = [cell.start(1) for cell in cells]
    head = {n: p.double().numpy() for n, p in task.head.named_parameters()}
    steps = []
    for t in range(len(words)):
        now, before, lines = subscript(t + 1), subscript(t), []
        library, hand = x[t : t + 1], _as_vector(x[t], stack.input_size)
        for layer, (cell, own) in enumerate(zip(cells, hands, strict=True)):
            name = f"layer {layer + 1}: " if len(cells) > 1 else ""
            source = f"x{now}" if layer == 0 else f"h{now} below"
            u = cell.project(library)
            if step_by_hand is None:
                library, states[layer] = cell.step(u, states[layer])
                quantities = own.step(hand)
                theirs = [library[0].numpy(), *(s[0].numpy() for s in states[layer][1:])]
            else:
                v = cell.recur(states[layer][0])
                hand_u, hand_v = own.sums(hand)
                lines.append(Line("input", f"{name}W_ih {source} + b_ih", hand_u, u[0].numpy()))
                lines.append(Line("state", f"{name}W_hh h{before} + b_hh", hand_v, v[0].numpy()))
                opened = np.split(gates_of(cell, u, states[layer][0])[0].numpy(), cell.gates)
                quantities, own.state = step_by_hand(hand_u, hand_v, own.state)
                library, states[layer] = cell.step(u, states[layer])
                theirs = _in_order(quantities, opened, library[0].numpy(), states[layer])
            for (kind, formula, value), model in zip(quantities, theirs, strict=True):
                said = formula.replace("@", now).replace("<", before)
                lines.append(Line(cast(Any, kind), name + said, value, model))
            hand = quantities[0][2] if step_by_hand is None else own.state[0]
        y = head["weight"] @ hand + head["bias"]
        lines.append(Line("output", f"y{now} = W_hy h{now} + b_y", y, task.head(library)[0].numpy()))
        steps.append(lines)
    return steps


class Hand:
    """A layer's weights and its state, in float64."""

    def __init__(self, cell: Cell) -> None:
        self.cell = copy.deepcopy(cell).double()
        self.weights = {n: p.double().numpy() for n, p in cell.named_parameters()}
        self.state: by_hand.State = tuple(s[0].double().numpy() for s in cell.start(1))

    def sums(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        w = self.weights
        return w["weight_ih"] @ x + w.get("bias_ih", 0), w["weight_hh"] @ self.state[0] + w.get("bias_hh", 0)

    def step(self, x: np.ndarray) -> list[by_hand.Quantity]:
        """By the cell's own step: its output, and what it keeps besides."""
        state = tuple(torch.from_numpy(s)[None] for s in self.state)
        y, state = self.cell.step(self.cell.project(torch.from_numpy(x)[None]), state)
        self.state = tuple(s[0].numpy() for s in state)
        name = type(self.cell).__name__
        shown: list[by_hand.Quantity] = [("new", f"h@ = {name}(x@, h<)", y[0].numpy())]
        return shown + [("sum", f"state {i}", s) for i, s in enumerate(self.state[1:], 2)]


def _in_order(
    quantities: list[by_hand.Quantity], opened: list[np.ndarray], h: np.ndarray, state: Any
) -> list[np.ndarray]:
    """The model's values in the order of the equations': its gates, its memory, its output."""
    gates, found = iter(opened), []
    for kind, formula, _ in quantities:
        memory = formula.startswith("memory")
        found.append(h if kind == "new" else state[1][0].numpy() if memory else next(gates))
    return found


def _as_vector(x: torch.Tensor, size: int) -> np.ndarray:
    """A step's input in float64; an index as the one-hot that it stands for."""
    return x.double().numpy() if x.is_floating_point() else np.eye(size)[int(x)]
