"""Kills trainings and sweeps at random, with kill -9 and SIGTERM, and while they write a file.

Each is resumed until it has ended; then all its files are compared bit by bit with those of an uninterrupted training.

Do not edit the sources while this runs: a training that is resumed with other code rightly has other bits.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from remains import mismatches
from tortures.death import descendants, die_at, ended, fork, turns, writes

SHORT = ("data.n_points=400", "model.hidden_size=8", "trainer.threads=1", "trainer.accelerator=cpu",
         "checkpoint.every_n_steps=9", "~callbacks.progress", "~callbacks.pictures")  # fmt: skip
TEXT = "TEXT"  # stands for the path of a text
RUNS = {
    "sine, torch": ("experiment=sine", *SHORT, "trainer.max_epochs=20", "model.engine=torch"),
    "sine, native, dropout, rmsprop": (
        "experiment=sine", *SHORT, "trainer.max_epochs=60", "model.engine=native", "model.num_layers=2",
        "model.dropout=0.2", "optimizer=rmsprop",
    ),
    "plateau and early stopping": (
        "experiment=sine", *SHORT, "trainer.max_epochs=40", "model.engine=torch", "scheduler=plateau",
        "scheduler.patience=0", "optimizer.lr=0.05", "callbacks=early_stopping",
        "callbacks.early_stopping.patience=4",
    ),
    "characters, native, sgd": (
        "data=chars", f"data.path={TEXT}", "data.unknown=skip", "data.segment=20", "data.batch_size=8", "model=char_lm",
        "model.hidden_size=16", "optimizer=sgd", "optimizer.momentum=0.9", "trainer.max_epochs=-1",
        "trainer.max_steps=150", "trainer.check_val_every_n_epoch=null", "trainer.val_check_interval=25",
        *SHORT[2:], "model.engine=native",
    ),
}  # fmt: skip
SWEEP = (
    "experiment=sine",
    *SHORT,
    "trainer.max_epochs=20",
    "model.cell=elman,gru",
    "seed=0,1,2",
    "sweep.workers=2",
)
PLACES = {"writing": writes, "turns": turns}


def train(overrides: tuple[str, ...], folder: Path) -> int:
    from rnnlab.cli import main

    return main(["train", *overrides, f"paths.outputs={folder}"])


class Kills:
    """Kills trainings. `only`: a word in their names; `aim`: "" for any time, "writing" or "turns"."""

    def __init__(self, folder: Path, kills: int, seed: int, only: str = "", aim: str = "") -> None:
        self.folder, self.log, self.kills, self.chance = folder, folder / "log", kills, random.Random(seed)
        self.only, self.aims = only, (aim,) if aim else ("SIGKILL", "SIGKILL", "SIGTERM", "writing")
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.whole: dict[str, tuple[Path, float]] = {}
        self.calls: dict[tuple[str, str], int] = {}  # {(training, aim): calls if uninterrupted}
        text = Path(__file__).with_name("configurations.py")
        shutil.copy(text, folder / "text.txt")  # a copy: the file itself may be edited meanwhile

    def run(self) -> None:
        import torch  # noqa: F401  here, for all children

        import rnnlab.native.program
        import rnnlab.sweeps.sweep
        import rnnlab.training.train  # noqa: F401

        victims = [name for name in (*RUNS, *RUNS, "sweep") if self.only in name]
        while self.dead < self.kills:
            for name in victims:
                if self.dead < self.kills:
                    self.one(name)

    @property
    def dead(self) -> int:
        return sum(n for what, n in self.counts.items() if what.startswith("killed"))

    def unbroken(self, name: str) -> tuple[Path, float]:
        if name not in self.whole:
            folder, begin = self.folder / "whole" / str(len(self.whole)), time.perf_counter()
            if name == "sweep":
                assert self.sweep(folder).wait() == 0
            else:
                assert ended(fork(lambda: self.train(name, folder), self.log)) == 0, self.log.read_text()
            self.whole[name] = folder, time.perf_counter() - begin
        return self.whole[name]

    def train(self, name: str, folder: Path) -> int:
        text = str(self.folder / "text.txt")
        return train(tuple(o.replace(TEXT, text) for o in RUNS[name]), folder)

    def sweep(self, folder: Path) -> "subprocess.Popen[bytes]":
        words = [sys.executable, "-m", "rnnlab", "train", "-m", *SWEEP, f"paths.outputs={folder}"]
        return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def one(self, name: str) -> None:
        """One training, killed up to three times, then left to end, and compared."""
        whole, seconds = self.unbroken(name)
        folder = self.folder / "killed"
        for _ in range(self.chance.randint(1, 3)):
            if self.dead < self.kills and (self.kill_sweep if name == "sweep" else self.kill_run)(
                name, folder, seconds
            ):
                self.counts["resumes"] += 1
        code = (
            self.sweep(folder).wait()
            if name == "sweep"
            else ended(fork(lambda: self.train(name, folder), self.log))
        )
        found = [f"exit code {code}: {self.log.read_text()[-300:]}"] if code else []
        for experiment in whole.iterdir():
            found += mismatches(experiment, folder / experiment.name)
        self.counts["compared"] += 1
        self.wrong += [f"{name}: {line}" for line in found]
        shutil.rmtree(folder)

    def kill_run(self, name: str, folder: Path, seconds: float) -> bool:
        how, fresh = self.chance.choice(self.aims), not folder.exists()
        if how in ("writing", "turns"):
            at, half, behind = (
                self.chance.randint(1, self.called(name, how)),
                self.chance.random() < 0.5,
                False,
            )
            number = signal.SIGKILL
            if how == "turns":
                half, behind, number = (
                    False,
                    half,
                    self.chance.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)),
                )

            def work() -> int:
                die_at(at, PLACES[how](), number=number, half=half, behind=behind)
                return self.train(name, folder)

            code = ended(fork(work, self.log))
            how = f"{how}, {number.name}"
        else:
            pid = fork(lambda: self.train(name, folder), self.log)
            time.sleep(self.chance.uniform(0, seconds))
            os.kill(pid, getattr(signal, how))
            code = ended(pid)
        # a SIGTERM before the training listens ends the process as ever
        dead = code in (-signal.SIGKILL, -signal.SIGTERM, 143)
        self.counts[f"killed: {how}" if dead else "had ended before"] += 1
        if not dead and fresh:  # the machine was busier when the whole training was timed
            self.whole[name] = self.whole[name][0], 0.7 * seconds
        return dead

    def called(self, name: str, how: str) -> int:
        """How many writes or turns a whole training has."""
        if (name, how) not in self.calls:
            folder, said = self.folder / "counted", self.folder / "count"

            def work() -> int:
                count = die_at(0, PLACES[how]())
                code = self.train(name, folder)
                said.write_text(str(count[0]))
                return code

            assert ended(fork(work, self.log)) == 0, self.log.read_text()
            self.calls[name, how] = int(said.read_text())
            shutil.rmtree(folder)
        return self.calls[name, how]

    def kill_sweep(self, name: str, folder: Path, seconds: float) -> bool:
        process = self.sweep(folder)
        time.sleep(self.chance.uniform(0.3 * seconds, seconds))
        how = self.chance.choice(("SIGKILL", "SIGKILL of all", "SIGTERM"))
        workers = descendants(process.pid) if how.endswith("all") else []
        process.send_signal(signal.SIGTERM if how == "SIGTERM" else signal.SIGKILL)
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        dead = process.wait() != 0
        self.counts[f"killed: sweep, {how}" if dead else "had ended before"] += 1
        return dead
