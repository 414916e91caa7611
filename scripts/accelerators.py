"""Checks rnnlab on an accelerator: `python scripts/accelerators.py [device=gpu] [checks=agree,resume] [out=FILE]`.

Works offline, in a checkout, in at most 8 minutes. Trains each task and cell on the CPU and on the device from the
same seed, in full and mixed precision; stops and resumes; reproduces; sweeps over both; measures steps per second and
memory. Prints one table (and writes it as Markdown to `out`); exit code 1 if a check fails.
`device=cpu` tries the script itself where there is no accelerator.
"""

import contextlib
import csv
import importlib.util
import io
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from options import parsed

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))
sys.path.insert(0, str(Path(__file__).parent))
from same_bits import TASKS, inputs  # noqa: E402

QUIET = ("~callbacks.progress", "~callbacks.pictures")
TOLERANCE = 2e-3
"""The largest allowed difference of losses between two devices, from one seed in float32, relative to the first loss.
"""
MIXED = 0.1
"""The same between mixed precision and float32 on one device."""
CELLS = ("elman", "gru", "lstm", "samecells.UGRNN")
WIDE: dict[str, tuple[str, ...]] = {
    "two layers, dropout": ("sine", "model.cell=lstm", "model.num_layers=2", "model.dropout=0.3"),
    "both directions, lengths": ("tokens", "model.cell=gru", "model.bidirectional=true"),
    "embedded text, carry": ("text", "model.cell=lstm", "model.embedding_size=6", "model.num_layers=2"),
    "clipped, rmsprop": ("text", "model.cell=gru", "optimizer=rmsprop", "trainer.gradient_clip_val=0.1"),
    "accumulated, cosine": ("sine", "model.cell=gru", "trainer.accumulate_grad_batches=2", "scheduler=cosine"),
}  # fmt: skip
EXTRAS = {"mlflow": "mlflow", "wandb": "wandb", "comet": "comet_ml", "trackio": "trackio", "aim": "aim",
          "notebook": "ipykernel", "export": "onnxruntime", "search": "optuna", "slurm": "submitit", "ray": "ray",
          "holidays": "holidays", "launchers": "joblib", "bench": "jax"}  # fmt: skip
"""{extra of pyproject.toml: a package that it installs}."""
SPEED = ("data=sine", "data.n_points=8000", "data.window=20", "data.batch_size=32", "model.cell=gru",
         "trainer.max_epochs=-1", "trainer.limit_val_batches=0", "trainer.check_val_every_n_epoch=1000000",
         "trainer.log_every_n_steps=100")  # fmt: skip


class Row(NamedTuple):
    check: str
    what: str
    result: str
    well: bool


def main(words: list[str]) -> int:
    options, _ = parsed(__doc__, words, "device checks out")
    import torch

    device = options.get("device") or ("gpu" if torch.cuda.is_available() else "cpu")
    checks: dict[str, Callable[[str], Iterator[Row]]] = {
        "machine": machine, "agree": agree, "precision": precision, "resume": resume, "reproduce": reproduce,
        "sweep": sweep, "compile": compiled, "speed": speed,
    }  # fmt: skip
    chosen = options["checks"].split(",") if "checks" in options else list(checks)
    if unknown := [name for name in chosen if name not in checks]:
        sys.exit(f"checks={','.join(unknown)}: there are {', '.join(checks)}")
    rows: list[Row] = []
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        sys.path.insert(0, folder)
        inputs(Path(folder))
        try:
            for name in chosen:
                begin = time.perf_counter()
                try:
                    for row in checks[name](device):
                        print(
                            f"{'  ' if row.well else '! '}{row.check:10} {row.what:44} {row.result}",
                            flush=True,
                        )
                        rows.append(row)
                except Exception as error:  # the other checks must still run
                    traceback.print_exc(limit=-4)
                    rows.append(Row(name, "the check itself", f"{type(error).__name__}: {error}", False))
                print(f"   {name} took {time.perf_counter() - begin:.0f} s", flush=True)
        finally:
            os.chdir(before)
    return concluded(rows, options)


def concluded(rows: list[Row], options: dict[str, str]) -> int:
    """Writes the table to the file of `out`, if given; returns the exit code: 1 if a check failed."""
    if "out" in options:
        Path(options["out"]).write_text(markdown(rows), encoding="utf-8")
    wrong = sum(not row.well for row in rows)
    print(f"{len(rows)} lines, {wrong} not as they should be")
    return 1 if wrong or not rows else 0


def markdown(rows: list[Row]) -> str:
    lines = ["| check | what | result |", "| --- | --- | --- |"]
    return "\n".join([*lines, *(f"| {r.check} | {r.what} | {r.result} |" for r in rows)]) + "\n"


# ---------------------------------------------------------------- running


def words(device: str, *overrides: str) -> list[str]:
    return [*QUIET, f"trainer.accelerator={device}", *overrides]


def train(device: str, *overrides: str):
    """Trains a run in this process, so that runs share imports and the device's context."""
    import rnnlab

    with contextlib.redirect_stdout(io.StringIO()):
        return rnnlab.train(*words(device, *overrides))


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "rnnlab", *arguments]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])}


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), env=environment(), capture_output=True, text=True, timeout=180)


def only(experiment: str) -> Path:
    """The folder of the only run of an experiment."""
    (record,) = Path("outputs", experiment).glob("*/run.json")
    return record.parent


def losses(folder: Path) -> list[float]:
    """The training losses of a run, step by step."""
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        return [float(row["value"]) for row in csv.DictReader(file) if row["metric"] == "loss/train"]


def apart(one: list[float], other: list[float]) -> float:
    """The largest difference of two curves, relative to the first value; infinite where their lengths differ."""
    if len(one) != len(other) or not one:
        return math.inf
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) / abs(one[0])


# ---------------------------------------------------------------- checks


def machine(device: str) -> Iterator[Row]:
    import torch

    from rnnlab.training.accelerator import present

    there = ", ".join(f"{name} ({what})" for name, what in present().items())
    versions = f"Python {sys.version.split()[0]}, torch {torch.__version__}"
    if torch.cuda.is_available():
        versions += f", cuDNN {torch.backends.cudnn.version()}"
    yield Row("machine", "accelerators", there, device in present())
    yield Row("machine", "versions", versions, True)
    missing = [extra for extra, package in EXTRAS.items() if importlib.util.find_spec(package) is None]
    yield Row("machine", "extras that are not installed", ", ".join(missing) or "none", True)


def agree(device: str) -> Iterator[Row]:
    """Each task with each cell, and options of every kind, from one seed on both devices."""
    wanted = {f"{task}, {cell}": (task, f"model.cell={cell}") for task in TASKS for cell in CELLS} | WIDE
    for name, (task, *more) in wanted.items():
        asked = (*TASKS[task], *more)
        runs = {kind: train(kind, *asked, f"name=agree_{kind}", "rerun=true") for kind in ("cpu", device)}
        difference = apart(*(losses(run.folder) for run in (runs["cpu"], runs[device])))
        engines = "/".join(run.known["engine"]["name"] for run in runs.values())
        yield Row("agree", f"{name} ({engines})", f"{difference:.1e}", difference < TOLERANCE)


def precision(device: str) -> Iterator[Row]:
    """Compares mixed precision with float32 on the device."""
    asked = (*TASKS["text"], "model.cell=lstm", "trainer.max_epochs=1")
    full = losses(train(device, *asked).folder)
    kinds = ("bf16-mixed", "16-mixed") if device == "gpu" else ("bf16-mixed",)
    for kind in kinds:
        difference = apart(full, losses(train(device, *asked, f"trainer.precision={kind}").folder))
        yield Row("precision", f"{kind} beside 32-true", f"{difference:.1e}", difference < MIXED)


def resume(device: str) -> Iterator[Row]:
    """Compares a run that is killed with -9 after its first checkpoint, and resumes, with an uninterrupted one."""
    for task, cell in (("text", "lstm"), ("sine", "gru")):
        asked = words(device, *TASKS[task], f"model.cell={cell}", "model.num_layers=2", "model.dropout=0.2",
                      "checkpoint.every_n_steps=5", "trainer.max_epochs=12", "model.hidden_size=64")  # fmt: skip
        whole = call("train", *asked, f"name=whole_{task}")
        if whole.returncode:
            raise RuntimeError(whole.stderr)
        process = subprocess.Popen(
            command("train", *asked, f"name=killed_{task}"), env=environment(), stdout=subprocess.DEVNULL
        )
        until = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < until:
            if list(Path("outputs", f"killed_{task}").glob("*/checkpoints/last.ckpt")):
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.001)
        process.wait(30)
        folder = only(f"killed_{task}")
        kept = len(losses(folder))
        again = call("train", *asked, f"name=killed_{task}")
        unbroken = only(f"whole_{task}")
        both = losses(unbroken), losses(folder)
        same = (unbroken / "metrics.csv").read_bytes() == (folder / "metrics.csv").read_bytes()
        said = "the same bits" if same else f"{apart(*both):.1e} apart"
        yield Row("resume", f"{task}, {cell}: killed at step {kept} of {len(both[0])}", said,
                  again.returncode == 0 and kept < len(both[0]) and apart(*both) < TOLERANCE)  # fmt: skip


def reproduce(device: str) -> Iterator[Row]:
    """Runs `rnnlab reproduce` on a run of the device, and evaluates its weights again."""
    run = train(device, *TASKS["text"], "model.cell=lstm", "name=original")
    done = call("reproduce", str(run.folder))
    verdict = (done.stdout.split() or [done.stderr[-200:]])[0]
    yield Row("reproduce", "verdict", verdict, verdict in ("bitwise", "numeric"))
    done = call("evaluate", str(run.folder))
    yield Row("reproduce", "evaluate", f"exit code {done.returncode}", done.returncode == 0)


def sweep(device: str) -> Iterator[Row]:
    """Both devices in one sweep, several workers on the accelerator."""
    kinds = "cpu" if device == "cpu" else f"cpu,{device}"
    asked = [*TASKS["sine"], "model.cell=gru", "seed=0,1,2,3", "name=both", *QUIET,
             f"trainer.accelerator={kinds}", "sweep.workers_per_gpu=3", "sweep.workers=4"]  # fmt: skip
    begin = time.perf_counter()
    done = call("train", "-m", *asked)
    import rnnlab

    runs = rnnlab.runs("outputs/both")
    finished = [run for run in runs if run.status == "finished"]
    expected = 4 * len(kinds.split(","))
    yield Row("sweep", f"{kinds}: runs finished", f"{len(finished)} of {expected}, {time.perf_counter() - begin:.0f} s",
              done.returncode == 0 and len(finished) == expected)  # fmt: skip
    if done.returncode:
        print(done.stdout[-3000:], done.stderr[-3000:])
    curves: dict[tuple[int, str], list[float]] = {}
    for run in finished:
        curves[run.config["seed"], run.config["trainer"]["accelerator"]] = losses(run.folder)
    worst = max((apart(curves[seed, "cpu"], curves[seed, device]) for seed in range(4)
                 if (seed, device) in curves and (seed, "cpu") in curves), default=math.inf)  # fmt: skip
    yield Row("sweep", "the same seed on both", f"{worst:.1e}", worst < TOLERANCE)
    alone = losses(train(device, *TASKS["sine"], "model.cell=gru", "seed=1", "name=alone").folder)
    difference = apart(alone, curves.get((1, device), []))
    yield Row("sweep", "a run alone beside the sweep's", f"{difference:.1e}", difference < TOLERANCE)


def compiled(device: str) -> Iterator[Row]:
    """Compares torch.compile with the uncompiled loop, in training and in evaluation."""
    asked = (
        "experiment=sine",
        "data.window=5",
        "data.batch_size=0",
        "model.cell=ugrnn",
        "trainer.max_epochs=10",
    )
    loop = losses(train(device, *asked, "model.engine=reference").folder)
    begin = time.perf_counter()
    difference = apart(loop, losses(train(device, *asked, "model.engine=compiled").folder))
    took = f"{time.perf_counter() - begin:.0f} s with compiling"
    yield Row(
        "compile", "ugrnn: compiled beside reference", f"{difference:.1e}, {took}", difference < TOLERANCE
    )


def speed(device: str) -> Iterator[Row]:
    """Measures steps per second between two moments of a training, and its memory."""
    import torch
    from lightning.pytorch import Callback

    class Clock(Callback):
        patient = True  # need not be called within a call of the kernels

        def on_train_start(self, trainer, *_):
            self.begin, self.first = time.perf_counter(), trainer.global_step

        def on_train_end(self, trainer, *_):
            if device == "gpu":
                torch.cuda.synchronize()
            self.rate = (trainer.global_step - self.first) / (time.perf_counter() - self.begin)

    for hidden in (32, 128, 512, 1024):
        found = {}
        of_gpu = ((device, ()), (device, ("trainer.precision=bf16-mixed",)))
        for kind, more in (("cpu", ()), *(of_gpu if device != "cpu" else ())):
            steps = (400 if hidden <= 128 else 100) if kind != "cpu" else 51_200 // hidden
            if kind == "gpu":
                torch.cuda.reset_peak_memory_stats()
            rates = []
            for repeat in range(3):  # the first includes one-time costs
                clock = Clock()
                # a line on stderr says that nothing is validated
                with timed(clock), contextlib.redirect_stderr(io.StringIO()):
                    train(kind, *SPEED, *more, f"model.hidden_size={hidden}", f"trainer.max_steps={steps}",
                          f"name=speed_{kind}", f"seed={repeat}", "rerun=true")  # fmt: skip
                rates.append(clock.rate)
            name = kind + (" bf16" if more else "")
            found[name] = f"{name} {statistics.median(rates):,.0f}"
            if kind == "gpu":
                found[name] += f" ({torch.cuda.max_memory_allocated() / 2**20:,.0f} MB)"
        yield Row("speed", f"gru h={hidden}, B=32, T=20: steps/s", ", ".join(found.values()), True)


@contextlib.contextmanager
def timed(clock) -> Iterator[None]:
    """While open, adds the clock to the callbacks of runs."""
    from rnnlab.training import train as training

    before = training.make_trainer

    def with_clock(config, run, task, callbacks, **how):
        return before(config, run, task, [*callbacks, clock], **how)

    training.make_trainer = with_clock
    try:
        yield
    finally:
        training.make_trainer = before


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
