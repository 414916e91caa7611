"""Checks that a refactoring keeps all bits: `python scripts/same_bits.py record FILE`, then `... compare FILE`.

Trains small runs of every task, cell, engine, optimizer and schedule, through the command only, and records (or
compares) the SHA-256 of each run's metrics.csv, of its best weights, and of the weights and the optimizer's state at
its end. Call `record` with the sources before the change, `compare` with those after it. Exit code 1 if a run differs.
"""

import contextlib
import hashlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CELL = """
from torch import sigmoid, tanh
from rnnlab import Cell


class UGRNN(Cell):
    gates, states = 2, 1

    def step(self, u, state):
        (h,) = state
        c, g = (u + self.recur(h)).chunk(2, dim=-1)
        g = sigmoid(g)
        h = g * h + (1 - g) * tanh(c)
        return h, (h,)
"""
SINE = ("data=sine", "model=forecaster", "data.n_points=200", "model.hidden_size=9", "trainer.max_epochs=3")
TEXT = ("data=chars", "data.path=text.txt", "data.segment=12", "data.batch_size=6", "model.hidden_size=10",
        "data.unknown=skip", "trainer.max_epochs=2", "data.limit=3000")  # fmt: skip
TOKENS = ("data=tokens", "data.n_sequences=150", "data.max_length=12", "model.hidden_size=7",
          "model.embedding_size=5", "trainer.max_epochs=2")  # fmt: skip
SERIES = ("data=series", "data.path=series.csv", "data.target=b", "data.columns=all", "data.window=12",
          "data.horizon=3", "model.hidden_size=8", "trainer.max_epochs=2")  # fmt: skip
TASKS = {"sine": SINE, "text": TEXT, "tokens": TOKENS, "series": SERIES}
VARIANTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "two layers, dropout": ("sine", ("model.num_layers=2", "model.dropout=0.3", "model.cell=gru")),
    "both directions": ("tokens", ("model.bidirectional=true", "model.cell=lstm", "model.num_layers=2")),
    "learned start, one bias": ("sine", ("model.initial_state=learned", "model.bias=one", "model.cell=lstm")),
    "relu, orthogonal": ("sine", ("model.nonlinearity=relu", "model.init=orthogonal")),
    "torch's draw, forget bias": ("text", ("model.init=torch", "model.forget_bias=1.0", "model.cell=lstm")),
    "embedded text": ("text", ("model.embedding_size=6", "model.cell=gru", "model.num_layers=2")),
    "huber, differences": ("series", ("model.loss=huber", "model.subtract_last=true", "model.cell=gru")),
    "mae, clip by norm": ("sine", ("model.loss=mae", "trainer.gradient_clip_val=0.1")),
    "clip by value": ("sine", ("trainer.gradient_clip_val=0.01", "trainer.gradient_clip_algorithm=value")),
    "accumulation": ("sine", ("trainer.accumulate_grad_batches=2",)),
    "adamw": ("sine", ("optimizer=adamw",)),
    "sgd, momentum": ("text", ("optimizer=sgd", "optimizer.momentum=0.9", "optimizer.lr=0.05")),
    "rmsprop": ("text", ("optimizer=rmsprop",)),
    "cosine, warmup": ("sine", ("scheduler=cosine", "scheduler.warmup_steps=3")),
    "exponential": ("sine", ("scheduler=exponential",)),
    "step by step": ("sine", ("scheduler=step", "scheduler.interval=step", "scheduler.step_size=3")),
    "plateau": ("sine", ("scheduler=plateau", "scheduler.patience=0", "optimizer.lr=0.1",
                         "trainer.max_epochs=6")),
    "early stopping": ("sine", ("callbacks=early_stopping", "callbacks.early_stopping.patience=1",
                                "optimizer.lr=0.2", "trainer.max_epochs=8")),
    "validation between epochs": ("text", ("trainer.max_epochs=-1", "trainer.max_steps=37",
                                           "trainer.check_val_every_n_epoch=null",
                                           "trainer.val_check_interval=8")),
    "validation within an epoch": ("sine", ("trainer.val_check_interval=0.5",)),
    "limits": ("sine", ("trainer.limit_train_batches=2", "trainer.limit_val_batches=1")),
    "overfit": ("sine", ("trainer.overfit_batches=2",)),
    "a batch a step": ("sine", ("trainer.steps_per_call=1",)),
    "a cell of one's own": ("sine", ("model.cell=samecells.UGRNN", "model.num_layers=2")),
    "a cell of one's own, text": ("text", ("model.cell=samecells.UGRNN",)),
}  # fmt: skip
ALWAYS = ("trainer.accelerator=cpu", "trainer.threads=1", "~callbacks.progress", "~callbacks.pictures")


def runs() -> dict[str, tuple[str, ...]]:
    """{name of a run: arguments of `rnnlab train`}."""
    found = {}
    for task, asked in TASKS.items():
        for cell in ("elman", "gru", "lstm"):
            for engine in ("reference", "torch", "native"):
                found[f"{task}, {cell}, {engine}"] = (*asked, f"model.cell={cell}", f"model.engine={engine}")
    for name, (task, more) in VARIANTS.items():
        engines = ("auto",) if "own" in name else ("torch", "native")
        for engine in engines:
            found[f"{name}, {engine}"] = (*TASKS[task], *more, f"model.engine={engine}")
    return found


def digests(folder: Path) -> dict[str, str]:
    """{file: SHA-256} of what a run has left."""
    import torch

    found = {"metrics.csv": hashlib.sha256((folder / "metrics.csv").read_bytes()).hexdigest()}
    for name, keys in (("best", ("state_dict",)), ("last", ("state_dict", "optimizer_states"))):
        checkpoint = torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)
        digest = hashlib.sha256()
        for key in keys:
            feed(digest, checkpoint[key])
        found[f"{name}.ckpt"] = digest.hexdigest()
    return found


def feed(digest: Any, value: Any) -> None:
    import torch

    if isinstance(value, torch.Tensor):
        digest.update(value.detach().contiguous().numpy().tobytes())
    elif isinstance(value, dict):
        for key in sorted(value, key=str):
            digest.update(str(key).encode())
            feed(digest, value[key])
    elif isinstance(value, (list, tuple)):
        for item in value:
            feed(digest, item)
    else:
        digest.update(repr(value).encode())


@contextlib.contextmanager
def chdir(place: str) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(place)
    try:
        yield
    finally:
        os.chdir(before)


def inputs(folder: Path) -> None:
    """Writes the cell, the text and the series that the runs use."""
    (folder / "samecells.py").write_text(CELL)
    words = [f"word{i * i % 97} " + "abcdefghij"[: i % 10] + "\n" for i in range(900)]
    (folder / "text.txt").write_text("".join(words))
    rows = [f"{(i * 37 % 101) / 10},{(i * i % 89) / 7}" for i in range(300)]
    (folder / "series.csv").write_text("a,b\n" + "\n".join(rows) + "\n")


def train_all(only: str = "") -> dict[str, dict[str, str]]:
    from rnnlab.cli import main

    found = {}
    with tempfile.TemporaryDirectory() as place, chdir(place):
        inputs(Path(place))
        for number, (name, asked) in enumerate(runs().items()):
            if only not in name:
                continue
            said = io.StringIO()
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                code = main(["train", *asked, *ALWAYS, f"name=r{number}", "paths.outputs=out"])
            folders = list(Path("out", f"r{number}").glob("*/run.json"))
            if code or len(folders) != 1:
                found[name] = {"failed": said.getvalue()[-300:]}
                print(f"{name}: exit code {code}: {said.getvalue()[-300:]}")
                continue
            found[name] = digests(folders[0].parent)
    return found


def main(arguments: list[str]) -> int:
    if len(arguments) not in (2, 3) or arguments[0] not in ("record", "compare"):
        print(__doc__)
        return 2
    file = Path(arguments[1]).absolute()
    found = train_all(*arguments[2:])
    if arguments[0] == "record":
        file.write_text(json.dumps(found, indent=1))
        print(f"{len(found)} runs recorded")
        return any("failed" in run for run in found.values())
    before = json.loads(file.read_text())
    wrong = [f"{name}: {key}" for name in found for key in sorted(found[name].keys() | before.get(name, {}).keys())
             if found[name].get(key) != before.get(name, {}).get(key)]  # fmt: skip
    print(f"{len(found)} runs compared, {len(wrong)} files differ", *wrong, sep="\n    ")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
