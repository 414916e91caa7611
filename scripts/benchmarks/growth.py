"""Measures how costs grow: of a run with the number of other runs and the length of its text; of recording with steps.

Options: runs=100,1000,10000, text=30,300 (MB), steps=100000,1000000.
"""

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SMALL = ("trainer.max_steps=50", "trainer.max_epochs=-1", "trainer.accelerator=cpu", "trainer.threads=1")


def main(options: dict[str, str]) -> None:
    runs = numbers(options.get("runs", "100,1000,10000"))
    beside = [run_beside(n) for n in runs]
    told("a run beside", [f"{n:,} others" for n in runs], beside)
    sizes = numbers(options.get("text", "30,300"))
    texts = [run_on_text(mb) for mb in sizes]
    told("a run in a warm worker on a text of", [f"{mb:,} MB" for mb in sizes], texts)
    steps = numbers(options.get("steps", "100000,1000000"))
    written = [recorded(n) for n in steps]
    told("recording 1,000 steps, after", [f"{n:,} steps" for n in steps], [each for each, _ in written])
    told("reading metrics.csv again, of each 1,000 steps, after", [f"{n:,} steps" for n in steps],
         [read for _, read in written])  # fmt: skip


def numbers(words: str) -> list[int]:
    return [int(word) for word in words.split(",")]


def told(what: str, names: list[str], seconds: list[float]) -> None:
    each = ", ".join(f"{name} {1e3 * s:.2f} ms" for name, s in zip(names, seconds, strict=True))
    print(f"  {what} {each}: {seconds[-1] / seconds[0]:.2f} times (1 wanted)", flush=True)


def trained(asked: list[str], repeats: int = 9, before: Callable[[Any], None] = lambda folder: None) -> float:
    """CPU seconds of a run in a warm process, with the data set up."""
    from rnnlab.config import base_config, check, compose, deciding
    from rnnlab.display import InFiles
    from rnnlab.runs.run_path import place
    from rnnlab.training.quiet import quiet
    from rnnlab.training.train import load_data, train_config

    config, base = check(compose(asked)), deciding(base_config(asked))
    config.pop("sweep")
    data, times = load_data(config), []
    with quiet():
        for seed in range(repeats + 2):
            if seed == 1:  # after the first run, whose folder serves as a model
                before(where.folder)  # noqa: F821
            one = config | {"seed": seed}
            begin = time.process_time()
            where = place(one, deciding(one), base)
            train_config(
                one, where, asked, command=[], display=InFiles(figures=False), data_of=lambda _: data
            )
            times.append(time.process_time() - begin)
    return statistics.median(times[2:])


def run_beside(n: int) -> float:
    """CPU seconds of a run in an experiment's folder with n other runs."""
    folder = tempfile.mkdtemp()

    def fill(first: Path) -> None:
        for i in range(n):
            other = first.with_name(f"other-{i}")
            other.mkdir()
            for name in ("run.json", "config.yaml", "overrides.yaml"):
                shutil.copyfile(first / name, other / name)

    try:
        return trained(["experiment=sine", *SMALL, f"paths.outputs={folder}"], before=fill)
    finally:
        shutil.rmtree(folder)


def run_on_text(mb: int) -> float:
    """CPU seconds of a run on a text of `mb` MB, which its worker has read before."""
    folder = tempfile.mkdtemp()
    try:
        text = Path(folder) / "text.txt"
        line = "".join(chr(97 + (i * i + i // 7) % 26) for i in range(999)) + "\n"
        with text.open("w") as f:
            for _ in range(mb):
                f.write(line * 1000)
        asked = ["data=chars", f"data.path={text}", "model=char_lm", "model.hidden_size=16", *SMALL,
                 "trainer.limit_val_batches=10", "trainer.limit_test_batches=10", "trainer.val_every_n_steps=25",
                 f"paths.outputs={folder}"]  # fmt: skip
        return trained(asked, repeats=3)
    finally:
        shutil.rmtree(folder)


def recorded(n: int) -> tuple[float, float]:
    """CPU seconds for writing the last 1,000 of n steps, and for reading all of them, per 1,000 steps."""
    import numpy as np

    from rnnlab import native
    from rnnlab.runs.metrics import Scalars, read_metrics
    from rnnlab.tensorboard.logger import TensorBoard
    from rnnlab.training.loggers import MetricsFile

    native.obstacle()
    with tempfile.TemporaryDirectory() as folder:
        loggers, draw, times = (MetricsFile(Path(folder)), TensorBoard(folder)), np.random.default_rng(0), []
        for first in range(0, n, 1000):
            columns = {name: draw.normal(size=1000) for name in ("loss/train", "optim/lr", "optim/grad_norm")}
            batch = Scalars(range(first + 1, first + 1001), columns).floats()
            begin = time.process_time()
            for logger in loggers:
                logger.log_scalars(batch)
                logger.flush()
            times.append(time.process_time() - begin)
        begin = time.process_time()
        read_metrics(Path(folder) / "metrics.csv")
        return statistics.median(times[-20:]), (time.process_time() - begin) / n * 1000
