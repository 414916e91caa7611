"""Measures what each part of a run in a warm worker costs, and the command around the runs; compares with targets.

Each part is CPU time on one core, without the parts inside it; other work on the machine and waiting for the disk do
not count. Shown are the median over 25 runs, and the mean over the four shapes of the sweep.

Options: runs=25.
"""

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

SINE = (
    "experiment=sine",
    "model.cell=elman",
    "trainer.max_steps=500",
    "trainer.max_epochs=-1",
    "trainer.accelerator=cpu",
)
WANTED = {"kernels": 14.0, "validations": 2.3, "loops": 2.0, "all else": 8.0}
COMMAND = 4.0  # seconds


def main(options: dict[str, str]) -> None:
    runs = int(options.get("runs", 25))
    found = [parts(hidden, layers, runs) for hidden in (16, 32) for layers in (1, 2)]
    ms = {name: 1e3 * statistics.mean(part.get(name, 0.0) for part in found) for name in found[0]}
    waited = ms.pop("waiting for the disk")
    groups = {group: sum(ms[name] for name in names if name in ms) for group, names in GROUPS.items()}
    print(
        f"  of {sum(groups.values()):.1f} ms a run in one warm process, beside {waited:.1f} ms that it waits for the "
        "disk:"
    )
    for group, names in GROUPS.items():
        print(f"    {group:12} {groups[group]:5.1f} ms ({WANTED[group]:g} wanted)")
        for name in names if len(names) > 1 else ():
            print(f"      {name:28} {ms.get(name, 0.0):5.2f}")
    whole = command()
    print(f"  the command around its runs (imports, planning, first workers, leaderboard): {whole:.1f} s "
          f"({COMMAND:g} wanted)")  # fmt: skip


def command() -> float:
    """Seconds of a sweep with two runs of one step each."""
    times = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            words = [*SINE, "trainer.max_steps=1", "seed=0,1", f"paths.outputs={folder}"]
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-m", "rnnlab", "train", "-m", *words], check=True,
                           stdout=subprocess.DEVNULL)  # fmt: skip
            times.append(time.perf_counter() - begin)
    return min(times)


Place = tuple[Any, str]


def places() -> dict[str, list[Place]]:
    """The functions and methods that make up each part."""
    from lightning.pytorch import Trainer

    from rnnlab.native import Program
    from rnnlab.runs.run import Run
    from rnnlab.tensorboard.logger import TensorBoard
    from rnnlab.training import train
    from rnnlab.training.checkpoints import Checkpoints
    from rnnlab.training.loop import Loop
    from rnnlab.training.native_steps import Kernels
    from rnnlab.training.recorder import Recorder

    return {
        "kernels": [(Program, "run")],
        "validations": [(Loop, "_validate")],
        "loops around batches": [(Loop, "run")],
        "calls of the kernels": [(Kernels, "steps")],
        "set-up: model": [(train, "make_task"), (train, "engine_of"), (train.preflight, "refuse"),
                          (train.preflight, "rehearse")],
        "set-up: Trainer and its fit": [(train, "make_trainer"), (Trainer, "fit")],
        "set-up: kernels": [(Kernels, "build")],
        "folder, config, run.json": [(Run, "create"), (Run, "update")],
        "manifest": [(train, "manifest"), (Run, "write_manifest")],
        "metrics.csv and events": [(Recorder, "take"), (Recorder, "flush")],
        "events: pages": [(TensorBoard, "begin"), (TensorBoard, "end")],
        "checkpoints": [(Checkpoints, "save"), (Checkpoints, "write_best"), (Checkpoints, "on_validation_end")],
        "test": [(train, "assess")],
        "the rest of it": [(train, "train_config")],
    }  # fmt: skip


GROUPS = {
    "kernels": ["kernels"],
    "validations": ["validations"],
    "loops": ["loops around batches", "calls of the kernels"],
    "all else": [
        "set-up: model", "set-up: Trainer and its fit", "set-up: kernels", "folder, config, run.json", "manifest",
        "metrics.csv and events", "events: pages", "checkpoints", "test", "the rest of it",
    ],
}  # fmt: skip


class Clocks:
    """Measures the time of parts of a program, without the parts inside them."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self._inside: list[float] = []
        self._before: list[tuple[Any, str, Any]] = []

    def put(self, owner: Any, name: str, label: str, clock: Callable[[], float] = time.thread_time) -> None:
        inner = getattr(owner, name)
        waits = clock is not time.thread_time  # counted in addition to the other parts

        def outer(*args: Any, **more: Any) -> Any:
            begin = clock()
            self._inside.append(0.0)
            try:
                return inner(*args, **more)
            finally:
                took, within = clock() - begin, self._inside.pop()
                if self._inside and not waits:
                    self._inside[-1] += took
                self.spent[label] = self.spent.get(label, 0.0) + took - within

        setattr(owner, name, outer)
        self._before.append((owner, name, inner))

    def remove(self) -> None:
        for owner, name, inner in reversed(self._before):
            setattr(owner, name, inner)


def parts(hidden: int, layers: int, runs: int) -> dict[str, float]:
    """{part: seconds} of a run with the sweep's shape, in a warm worker."""
    import torch

    from rnnlab.config import base_config, check, compose, deciding
    from rnnlab.display import InFiles
    from rnnlab.runs import files
    from rnnlab.runs.run_path import place
    from rnnlab.training import checkpoints, train
    from rnnlab.training.quiet import quiet

    torch.set_num_threads(1)
    folder = tempfile.mkdtemp()
    asked = [*SINE, f"model.hidden_size={hidden}", f"model.num_layers={layers}", "trainer.threads=1",
             f"paths.outputs={folder}"]  # fmt: skip
    config, base = check(compose(asked)), deciding(base_config(asked))
    config.pop("sweep")
    data, clocks, found = train.load_data(config), Clocks(), []
    for label, where in places().items():
        for owner, name in where:
            clocks.put(owner, name, label)
    for owner, name in ((checkpoints, "sync_all"), (checkpoints, "sync_folder"), (files, "sync_folder")):
        clocks.put(owner, name, "waiting for the disk", time.perf_counter)
    try:
        with quiet():
            for seed in range(runs + 5):
                one = config | {"seed": seed}
                where = place(one, deciding(one), base)
                clocks.spent.clear()
                train.train_config(one, where, asked, command=[], display=InFiles(figures=False),
                                   data_of=lambda _: data)  # fmt: skip
                found.append(dict(clocks.spent))
    finally:
        clocks.remove()
        shutil.rmtree(folder)
    names = {name for one in found for name in one}
    return {name: statistics.median(one.get(name, 0.0) for one in found[5:]) for name in names}
