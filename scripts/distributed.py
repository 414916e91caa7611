"""Checks runs in several processes: `python scripts/distributed.py [checks=agree,stock,killed,speed] [out=FILE]`.

Trains each task with each engine, and every variant of scripts/same_bits.py, in one process and in two, and compares
all metrics; compares with Lightning's DDPStrategy on the same batches; kills each rank with -9 and resumes; measures
the speed of two processes. Prints a table (and writes it as Markdown to `out`); exit code 1 if a check fails.
"""

import contextlib
import io
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))
sys.path.insert(0, str(Path(__file__).parent))
from accelerators import Row, call, command, concluded, environment, only  # noqa: E402
from options import parsed  # noqa: E402
from same_bits import TASKS, VARIANTS, inputs  # noqa: E402

LIMIT = 1e-5  # allowed difference between two processes and one, relative to the first value of a metric
QUIET = ("~callbacks.progress", "~callbacks.pictures", "trainer.accelerator=cpu", "trainer.threads=1")
# (old, new): with the old rate even a run of one process is chaotic
CALM = ("optimizer.lr=0.2", "optimizer.lr=0.05")
MORE = {
    "sines, all that is drawn": ("sine", ("model.cell=lstm", "model.num_layers=2", "model.dropout=0.3",
                                          "model.recurrent_dropout=0.2", "model.input_dropout=0.1",
                                          "model.zoneout=0.1", "data.batch_size=17")),
    "rows that do not divide, text": ("text", ("data.batch_size=5", "model.cell=lstm")),
    "accumulated, short batches": ("tokens", ("trainer.accumulate_grad_batches=3", "data.batch_size=17")),
    "64-bit": ("text", ("trainer.precision=64-true", "model.engine=reference")),
    "quantiles": ("series", ("model.loss=quantile",)),
    "Student's t": ("series", ("model.loss=student_t",)),
    "instruments": ("text", ("callbacks=inspect",)),
    "Lightning's profiler": ("sine", ("trainer.profiler=simple",)),
}  # fmt: skip


def main(words: list[str]) -> int:
    options, _ = parsed(__doc__, words, "checks out")
    checks: dict[str, Callable[[], Iterator[Row]]] = {
        "agree": agree, "stock": stock, "killed": killed, "speed": speed}  # fmt: skip
    chosen = options["checks"].split(",") if "checks" in options else list(checks)
    if unknown := [name for name in chosen if name not in checks]:
        sys.exit(f"checks={','.join(unknown)}: there are {', '.join(checks)}")
    rows, before = list[Row](), Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        sys.path.insert(0, folder)
        inputs(Path(folder))
        for name in chosen:
            for row in checks[name]():
                print(f"{'  ' if row.well else '! '}{row.check:8} {row.what:44} {row.result}", flush=True)
                rows.append(row)
        os.chdir(before)
    return concluded(rows, options)


def train(*overrides: str) -> Any:
    import rnnlab

    with contextlib.redirect_stdout(io.StringIO()):
        return rnnlab.train(*overrides, *QUIET, quiet=True)


def apart(one: Any, other: Any) -> float:
    """The largest relative difference of all metrics of two runs, and of their test scores."""
    if one.metrics.keys() != other.metrics.keys():
        return math.inf
    found = [0.0]
    for name in one.metrics:
        values, others = one.metrics[name][1], other.metrics[name][1]
        if len(values) != len(others):
            return math.inf
        found += [relative(a, b, values[0]) for a, b in zip(values, others, strict=True)]
    scores, others = one.results["test"], other.results["test"]
    return max(*found, *(relative(v, others[k], v) for k, v in scores.items()))


def relative(a: float, b: float, scale: float) -> float:
    """The difference of two numbers, relative to `scale`; infinite where one is NaN (`max` ignores NaN)."""
    if a == b or (math.isnan(a) and math.isnan(b)):
        return 0.0
    found = abs(a - b) / max(abs(scale), 1e-12)
    return math.inf if math.isnan(found) else found


def agree() -> Iterator[Row]:
    engines = {"torch": "lstm", "reference": "elman", "native": "gru"}
    cases = {f"{task}, engine {engine}, {cell}": (task, (f"model.engine={engine}", f"model.cell={cell}"))
             for task in TASKS for engine, cell in engines.items()}  # fmt: skip
    for n, (name, (task, more)) in enumerate((cases | VARIANTS | MORE).items()):
        asked = [*TASKS[task], *(word.replace(*CALM) for word in more), f"name=agree{n}"]
        runs = [train(*asked, f"trainer.devices={devices}") for devices in (1, 2)]
        difference = apart(*runs)
        yield Row("agree", name, f"{difference:.1e}", difference < LIMIT)


STOCK = """
import json, sys
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy

started = json.load(open(sys.argv[1]))
weights, batches = torch.load(started["weights"]), torch.load(started["batches"])

class Plain(LightningModule):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = torch.nn.GRU(1, 9, batch_first=True), torch.nn.Linear(9, 1)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                parameter.copy_(weights[name])
        self.losses = []
    def train_dataloader(self):  # of each batch the first half of the rows, or the second
        half = slice(0, 15) if self.global_rank == 0 else slice(15, 30)
        return torch.utils.data.DataLoader([(x[half], y[half]) for x, y in batches], batch_size=None)
    def training_step(self, batch, index):
        x, y = batch
        loss = torch.nn.functional.mse_loss(self.head(self.rnn(x)[0][:, -1])[:, None], y)
        self.losses.append(float(self.trainer.strategy.reduce(loss.detach().clone())))
        return loss
    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-2)

model = Plain()
trainer = Trainer(accelerator="cpu", devices=2, strategy=DDPStrategy(), max_epochs=1, logger=False,
                  use_distributed_sampler=False, enable_checkpointing=False, enable_progress_bar=False,
                  enable_model_summary=False)
trainer.fit(model)
if trainer.is_global_zero:
    json.dump(model.losses, open(started["losses"], "w"))
"""


def stock() -> Iterator[Row]:
    """Compares losses with those of a GRU under Lightning's DDPStrategy, with the same weights and batches."""
    import torch

    from rnnlab.config import check, compose
    from rnnlab.training.assembly import make_task
    from rnnlab.training.train import load_data

    # one epoch of whole batches of 30 of the 180 windows: each rank has 15 rows
    asked = ["data=sine", "model=forecaster", "data.n_points=286", "data.batch_size=30", "model.cell=gru",
             "model.hidden_size=9", "model.engine=torch", "optimizer=adam", "optimizer.lr=0.01",
             "trainer.max_epochs=1", "name=ours", "trainer.devices=2"]  # fmt: skip
    config = check(compose([*asked, *QUIET]))
    data = load_data(config)
    task, loader = make_task(config, data), data.loader("train", shuffle=True)
    batches = [tuple(batch[:2]) for batch in loader]
    cell = task.stack.layers[0]
    ours = {f"rnn.{name}_l0": value for name, value in cell.named_parameters()} | {
        f"head.{name}": value for name, value in task.head.named_parameters()}  # fmt: skip
    torch.save({name: value.detach().clone() for name, value in ours.items()}, "weights.pt")
    torch.save(batches, "batches.pt")
    Path("started.json").write_text(
        json.dumps({"weights": "weights.pt", "batches": "batches.pt", "losses": "losses.json"})
    )
    Path("stock.py").write_text(STOCK)
    done = subprocess.run(
        [sys.executable, "stock.py", "started.json"], capture_output=True, text=True, timeout=180
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    theirs = json.loads(Path("losses.json").read_text())
    mine = train(*asked).metrics["loss/train"][1]
    difference = max(relative(a, b, theirs[0]) for a, b in zip(mine, theirs, strict=True))
    well = difference < LIMIT and {len(batch[0]) for batch in batches} == {30}
    yield Row("stock", f"Lightning's DDPStrategy, {len(theirs)} steps", f"{difference:.1e}", well)


def killed() -> Iterator[Row]:
    """Kills a rank with -9 after the first checkpoint; then the same command resumes."""
    asked = ["train", *TASKS["text"], "model.cell=lstm", "trainer.devices=2", "checkpoint.every_n_steps=5",
             "trainer.max_epochs=40", *QUIET]  # fmt: skip
    if (done := call(*asked, "name=whole")).returncode:
        raise RuntimeError(done.stderr)
    for rank in (0, 1):
        name = f"killed{rank}"
        process = subprocess.Popen(
            command(*asked, f"name={name}"),
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        while process.poll() is None and not list(Path("outputs", name).glob("*/checkpoints/last.ckpt")):
            time.sleep(0.01)
        if process.returncode is not None:
            raise RuntimeError(f"ended before it could be killed: {process.communicate()[1].decode()}")
        followers = children(process.pid)
        os.kill(process.pid if rank == 0 else followers[0], signal.SIGKILL)
        begin = time.monotonic()
        process.wait(60)
        while any(Path(f"/proc/{pid}").exists() for pid in followers) and time.monotonic() - begin < 60:
            time.sleep(0.01)
        took = time.monotonic() - begin
        status = json.loads((only(name) / "run.json").read_text())
        again = call(*asked, f"name={name}")
        same = (only("whole") / "metrics.csv").read_bytes() == (only(name) / "metrics.csv").read_bytes()
        said = status.get("why") or status["status"]
        yield Row("killed", f"rank {rank}: all ended after {took:.1f} s; run.json: {said}",
                  "resumed: the same bits" if same else "other bits", same and again.returncode == 0)  # fmt: skip


def children(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found


def speed() -> Iterator[Row]:
    """Optimizer steps per second, from the time that additional steps take: the best of three."""
    for size, engine, steps in (
        (32, "native", 200),
        (32, "torch", 100),
        (512, "native", 4),
        (512, "torch", 4),
    ):
        asked = ["data=sine", "model=forecaster", "data.n_points=8000", "data.window=50", "data.batch_size=64",
                 "model.cell=gru", f"model.hidden_size={size}", f"model.engine={engine}", "trainer.max_epochs=-1",
                 "trainer.limit_val_batches=0", "trainer.limit_test_batches=1", "rerun=true"]  # fmt: skip
        found = []
        for devices in (1, 2):
            took = {}
            for n in (2, steps, 2 * steps):
                runs = [train(*asked, f"trainer.max_steps={n}", f"trainer.devices={devices}", f"name=speed{n}")
                        for _ in range(3 if n > 2 else 1)]  # fmt: skip
                took[n] = min(run.record["seconds"] for run in runs)
            found.append(steps / max(took[2 * steps] - took[steps], 1e-9))
        yield Row("speed", f"GRU, h = {size}, B = 64, T = 50, engine {engine}",
                  f"one process {found[0]:,.1f}, two {found[1]:,.1f} steps per second", True)  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
