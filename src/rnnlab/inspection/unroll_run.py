"""A trained model unrolled over an input of the user's: every step by hand and by the model, side by side."""

from typing import Any, cast

import numpy as np
import torch

from rnnlab.cells import GRU, LSTM, Cell, Elman
from rnnlab.data.vocabulary import Vocabulary
from rnnlab.errors import UserError
from rnnlab.inspection import by_hand
from rnnlab.inspection.probe import _gates
from rnnlab.inspection.unroll import Example, Line, Unrolled, subscript
from rnnlab.ledger.run import Run
from rnnlab.tasks import CharLM, Classifier, Forecaster

LONGEST = 200  # steps of an input


def unroll_run(run: Run, text: str) -> Unrolled:
    """The equations in float64 NumPy and the model's own cells in float32, on the run's best weights.

    `text` is what a character model reads, or the numbers of a series in its own units (steps apart by spaces,
    several columns of a step by commas), or the tokens of a sequence. Raises UserError for what does not fit.
    """
    task = run.model
    stack = task.stack
    if stack.bidirectional:
        raise UserError("a bidirectional model has no one order of steps to unroll")
    kinds = {Elman: f"elman_{getattr(stack.layers[0], 'nonlinearity', 'tanh')}", GRU: "gru", LSTM: "lstm"}
    if stack.kind not in kinds:
        raise UserError(f"{stack.kind.__name__}: only Elman, GRU and LSTM are written out by hand")
    with torch.no_grad():
        x, words = read_input(task, text)
        steps = _steps(task, x, words, kinds[stack.kind])
    parameters = {name: p.detach().numpy() for name, p in task.named_parameters()}
    example = Example(
        title=f"{run.folder.name}, {len(words)} steps",
        seed=run.config["seed"],
        hidden=stack.hidden_size,
        outputs=task.head.out_features,
        x=x.numpy() if x.is_floating_point() else np.eye(stack.input_size)[x.numpy()],
        drawn="those that the run has learned",
        scheme="",
        cell=stack.kind.__name__.lower(),
        words=tuple(words),
    )
    return Unrolled(example, parameters, steps)


def read_input(task: Any, text: str) -> tuple[torch.Tensor, list[str]]:
    """What the stack takes, (T, I) or (T,) indices, and a word for each step."""
    if isinstance(task, CharLM):
        ids, words = Vocabulary.from_spec(task.spec).encode(text), list(text)
    elif isinstance(task, Classifier):
        ids = torch.tensor([_whole(word, task.embedding.num_embeddings) for word in text.split()])
        words = text.split()
    else:
        ids, words = _series(task, text), text.split()
    if not 1 <= len(words) <= LONGEST:
        raise UserError(f"--input: {len(words)} steps; from 1 to {LONGEST} can be shown")
    embedding = getattr(task, "embedding", None)
    return (ids if embedding is None else embedding(ids)), words


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
    x = (torch.tensor(rows).reshape(-1, inputs) - shift) / scale
    return x - x[-1:] if task.subtract_last and len(x) else x


def _steps(task: Any, x: torch.Tensor, words: list[str], equations: str) -> list[list[Line]]:
    stack, step_by_hand = task.stack, by_hand.STEPS[equations]
    cells = [cast(Cell, layer) for layer in stack.layers]
    weights = [{n: p.double().numpy() for n, p in cell.named_parameters()} for cell in cells]
    states = [cell.start(1) for cell in cells]
    hand_states: list[by_hand.State] = [tuple(s[0].double().numpy() for s in state) for state in states]
    steps = []
    for t in range(len(words)):
        now, before, lines = subscript(t + 1), subscript(t), []
        library, hand = x[t : t + 1], _as_vector(x[t], stack.input_size)
        for layer, (cell, w) in enumerate(zip(cells, weights, strict=True)):
            name = f"layer {layer + 1}: " if len(cells) > 1 else ""
            source = f"x{now}" if layer == 0 else f"h{now} below"
            u, v = cell.project(library), cell.recur(states[layer][0])
            hand_u = w["weight_ih"] @ hand + w.get("bias_ih", 0)
            hand_v = w["weight_hh"] @ hand_states[layer][0] + w.get("bias_hh", 0)
            lines.append(Line("input", f"{name}W_ih {source} + b_ih", hand_u, u[0].numpy()))
            lines.append(Line("state", f"{name}W_hh h{before} + b_hh", hand_v, v[0].numpy()))
            opened = _gates(cell, u, states[layer][0])[0].numpy()
            quantities, hand_states[layer] = step_by_hand(hand_u, hand_v, hand_states[layer])
            library, states[layer] = cell.step(u, states[layer])
            gates = iter(np.split(opened, cell.gates))
            for kind, formula, value in quantities:
                if kind == "new":
                    theirs = library[0].numpy()
                elif formula.startswith("memory"):
                    theirs = states[layer][1][0].numpy()
                else:
                    theirs = next(gates)
                said = formula.replace("@", now).replace("<", before)
                lines.append(Line(cast(Any, kind), name + said, value, theirs))
            hand = hand_states[layer][0]
        head = {n: p.double().numpy() for n, p in task.head.named_parameters()}
        y = head["weight"] @ hand + head["bias"]
        lines.append(Line("output", f"y{now} = W_hy h{now} + b_y", y, task.head(library)[0].numpy()))
        steps.append(lines)
    return steps


def _as_vector(x: torch.Tensor, size: int) -> np.ndarray:
    """A step's input in float64; an index as the one-hot that it stands for."""
    return x.double().numpy() if x.is_floating_point() else np.eye(size)[int(x)]
