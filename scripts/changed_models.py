"""Trains randomly changed models on the native engine and on the reference, and compares the results:
`python scripts/changed_models.py [models=200 seed=0]`.

A model is a task with a random cell, and one or two changes that a user may make before training: a layer, a head or a
bias replaced, weights shared, frozen or made buffers, hooks, parametrizations, noise in one layer only. The kernels
must compute what the equations say, or leave the steps to Python. Each model that differs is printed with its number,
which is its seed; exit code 1 if there is one. tests/test_changed_models.py does the same with a few models.
"""

import copy
import math
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import rnnlab
from options import parsed
from rnnlab.cells import CELLS
from rnnlab.data import Chars, Sine, Tokens
from rnnlab.tasks import CharLM, Classifier, Forecaster
from rnnlab.training.recorder import Diverged

STEPS = 6  # few, because rounding errors grow from step to step
CLOSE = 3e-4
ASKED = ("trainer.accelerator=cpu", "trainer.threads=1", "trainer.max_epochs=-1", f"trainer.max_steps={STEPS}",
         "trainer.val_check_interval=3", "callbacks=none", "logger=none", "name=changed", "optimizer.lr=0.01",
         "monitor=loss/val")  # fmt: skip
TEXT = "the quick brown fox jumps over the lazy dog. " * 60


class Squashed(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return torch.tanh(super().forward(input))


def replace_layer(task: Any, draw: random.Random) -> None:
    at = draw.randrange(len(task.stack.layers))
    layer = copy.deepcopy(task.stack.layers[at])
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(1.3)
    task.stack.layers[at] = layer


def replace_head(task: Any, draw: random.Random) -> None:
    head = Squashed(task.head.in_features, task.head.out_features)
    head.load_state_dict(task.head.state_dict())
    task.head = head


def drop_biases(task: Any, draw: random.Random) -> None:
    layer = draw.choice(list(task.stack.layers))
    for name in ("bias_ih", "bias_hh"):
        if getattr(layer, name, None) is not None and draw.random() < 0.5:
            setattr(layer, name, None)


def share(task: Any, draw: random.Random) -> None:
    first, last = task.stack.layers[0], task.stack.layers[-1]
    theirs = dict(last.named_parameters())
    shared = [
        n for n, p in first.named_parameters() if n in theirs and theirs[n].shape == p.shape and "." not in n
    ]
    if first is not last and shared:
        setattr(last, name := draw.choice(shared), getattr(first, name))


def tie(task: Any, draw: random.Random) -> None:
    embedding = getattr(task, "embedding", None)
    if embedding is not None and embedding.weight.shape == task.head.weight.shape:
        task.head.weight = embedding.weight


def fix(task: Any, draw: random.Random) -> None:
    layer = draw.choice(list(task.stack.layers))
    name = draw.choice([name for name, _ in layer.named_parameters() if "." not in name])
    value = getattr(layer, name).detach().clone()
    delattr(layer, name)
    layer.register_buffer(name, value)


def freeze(task: Any, draw: random.Random) -> None:
    draw.choice(list(task.parameters())).requires_grad_(False)


def halve_gradient(task: Any, draw: random.Random) -> None:
    draw.choice(list(task.parameters())).register_hook(lambda gradient: 0.5 * gradient)


def halve_output(task: Any, draw: random.Random) -> None:
    def halved(module: nn.Module, given: Any, said: Any) -> Any:
        return (0.5 * said[0], *said[1:]) if isinstance(said, tuple) else 0.5 * said

    draw.choice([*task.stack.layers, task.stack, task.head]).register_forward_hook(halved)


def zoneout(task: Any, draw: random.Random) -> None:
    layer = draw.choice(list(task.stack.layers))
    layer.zoneout = (0.3, *[0.0 if layer.coupled_states else 0.3] * (len(layer.state_blocks) - 1))


def drop_state(task: Any, draw: random.Random) -> None:
    draw.choice(list(task.stack.layers)).recurrent_dropout = 0.3


def drop_inputs(task: Any, draw: random.Random) -> None:
    task.stack.input_dropout = 0.2


def drop_outputs(task: Any, draw: random.Random) -> None:
    task.stack.dropout = 0.3


def change_number(task: Any, draw: random.Random) -> None:
    layer = draw.choice(list(task.stack.layers))
    if numbers := [k for k, v in vars(layer).items() if isinstance(v, float) and k != "recurrent_dropout"]:
        setattr(layer, key := draw.choice(numbers), 0.7 * getattr(layer, key))


def transpose_memory(task: Any, draw: random.Random) -> None:
    weight = draw.choice([parameter for parameter in task.parameters() if parameter.dim() == 2])
    weight.data = weight.data.t().contiguous().t()


def normalise_weight(task: Any, draw: random.Random) -> None:
    layer = draw.choice(list(task.stack.layers))
    # where rows have one number, the gradient of their direction is only rounding, which Adam turns into whole steps
    wide = [name for name, p in layer.named_parameters() if p.dim() == 2 and p.shape[1] > 1]
    if names := [name for name in wide if "." not in name]:
        parametrizations.weight_norm(layer, draw.choice(names))


CHANGES: tuple[Callable[[Any, random.Random], None], ...] = (
    replace_layer, replace_head, drop_biases, share, tie, fix, freeze, halve_gradient, halve_output, zoneout,
    drop_state, drop_inputs, drop_outputs, change_number, transpose_memory, normalise_weight,
)  # fmt: skip


def build(draw: random.Random, engine: str, folder: Path) -> tuple[str, Any, Any]:
    """(description, model, data) of a random model."""
    kind, cell = draw.choice(["series", "text", "embedded text", "labelled"]), draw.choice(sorted(CELLS))
    layers, hidden = draw.choice([1, 2, 2]), draw.choice([5, 8])
    both = draw.random() < 0.3 and kind in ("series", "labelled")
    data: Any
    if kind == "series":
        make, data = Forecaster, Sine(n_points=200, window=8)
    elif kind == "labelled":
        make, data = Classifier, Tokens(n_sequences=300, vocab_size=99, max_length=9)
    else:
        (folder / "text.txt").write_text(TEXT)
        make, data = CharLM, Chars(path=str(folder / "text.txt"), segment=8, batch_size=4)
    data.setup("fit")
    options: dict[str, Any] = {"embedding_size": hidden} if kind == "embedded text" else {}
    options |= {
        "cell": cell,
        "hidden_size": hidden,
        "num_layers": layers,
        "bidirectional": both,
        "engine": engine,
    }
    task: Any = make(data.spec, seed=0, **options)
    return f"{kind}, {layers} x {cell} {hidden}{', both directions' if both else ''}", task, data


def outcome(seed: int, engine: str, folder: Path) -> tuple[str, list[float], str]:
    """(description, last losses of training and validation, what took the steps)."""
    draw = random.Random(seed)
    what, task, data = build(draw, engine, folder)
    changes = draw.sample(CHANGES, draw.choice([1, 1, 2]))
    for change in changes:
        change(task, draw)
    what += f": {', '.join(change.__name__ for change in changes)}"
    try:
        run = rnnlab.train(
            *ASKED, f"paths.outputs={folder}", "rerun=true", module=task, data=data, quiet=True
        )
    except Diverged:
        return what, [math.nan, math.nan], "until it diverged"
    losses = [float(run.metrics[name][1][-1]) for name in ("loss/train", "loss/val")]
    return what, losses, run.record["engine"]["steps"]


def compared(seed: int, folder: Path) -> tuple[bool, str, str]:
    """(whether the two engines agree, a message, what took the native engine's steps)."""
    what, losses, steps = outcome(seed, "auto", folder)
    _, truth, _ = outcome(seed, "reference", folder)
    same = all(
        abs(loss - known) <= CLOSE * abs(known) or (math.isnan(loss) and math.isnan(known))
        for loss, known in zip(losses, truth, strict=True)
    )
    return same, f"{seed}: {what}: {losses}, by the reference {truth} ({steps})", steps.partition(":")[0]


def main(words: list[str]) -> int:
    options, _ = parsed(__doc__, words, "models seed")
    first, n = int(options.get("seed", 0)), int(options.get("models", 200))
    taken, wrong = Counter[str](), 0
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, first + n):
            same, line, steps = compared(seed, Path(folder))
            taken[steps] += 1
            if not same:
                wrong += 1
                print(line, flush=True)
    by = ", ".join(f"{count} with steps {steps}" for steps, count in taken.most_common())
    print(f"{n} models ({by}): {wrong} differ from the reference")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
