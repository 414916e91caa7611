"""Kills trainings at random and goes on with them: `python scripts/torture.py [kills=100 seed=0 only=WORD aim=HOW]`.

Runs alone and sweeps are killed, with SIGKILL and SIGTERM, at any time and in the middle of writing a file, until
each has come to its end; then every bit that it left is compared with that of a training that nobody killed:
metrics, weights, TensorBoard's scalars, results. Prints kills, resumes and mismatches; exit code 1 with any mismatch.

only=characters takes the kinds of runs whose names have that word. aim=writing kills at operations that make a file
last, aim=turns at the ends of calls, epochs, validations and checkpoints, and where a run is taken up again.

Leave the sources alone while it runs: a training that is taken up by other code has other bits, and should.
"""

import contextlib
import functools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from remains import mismatches

SHORT = ("data.n_points=400", "model.hidden_size=8", "trainer.threads=1", "trainer.accelerator=cpu",
         "checkpoint.every_n_steps=9", "~callbacks.progress", "~callbacks.pictures")  # fmt: skip
TEXT = "TEXT"  # stands for a copy of this file, as good a text as any
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


# ---------------------------------------------------------------------- killing


def fork(work: Callable[[], Any], log: Path) -> int:
    """A child process that does `work`, its complaints going to `log`, and ends with its exit code."""
    if (pid := os.fork()) == 0:
        code = 1
        try:
            said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1), os.dup2(said, 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            code = int(work() or 0)
            sys.stderr.flush()
        finally:
            os._exit(code)
    return pid


def train(overrides: tuple[str, ...], folder: Path) -> int:
    from rnnlab.cli import main

    return main(["train", *overrides, f"paths.outputs={folder}"])


def writes() -> list[tuple[Any, str]]:
    """What makes a file last."""
    return [(os, "fsync"), (Path, "replace")]


def turns() -> list[tuple[Any, str]]:
    """Where something of a training ends or begins."""
    from rnnlab.ledger.run import Run
    from rnnlab.training.checkpoints import Checkpoints
    from rnnlab.training.kernels import Kernels
    from rnnlab.training.loggers import Journal
    from rnnlab.training.recorder import Recorder

    return [(Checkpoints, "save"), (Checkpoints, "write_best"), (Checkpoints, "on_validation_end"),
            (Checkpoints, "on_fit_start"), (Checkpoints, "on_train_end"), (Recorder, "on_validation_end"),
            (Journal, "flush"), (Journal, "cut"), (Kernels, "steps"), (Run, "create"), (Run, "update")]  # fmt: skip


def die_at(
    at: int,
    places: list[tuple[Any, str]],
    *,
    number: int = signal.SIGKILL,
    half: bool = False,
    behind: bool = False,
) -> list[int]:
    """Kills this process at the `at`-th call of one of `places`, or behind it; returns the count of calls, kept up.

    With `half`, half of a file that is about to last is lost.
    """
    count = [0]

    def mortal(operation: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(operation)
        def perform(*args: Any, **kwargs: Any) -> Any:
            count[0] += 1
            now = count[0] == at
            if now and half and isinstance(args[0], int) and (size := os.fstat(args[0]).st_size):
                with contextlib.suppress(OSError):
                    os.ftruncate(args[0], size // 2)
            if now and not behind:
                os.kill(os.getpid(), number)
            done = operation(*args, **kwargs)
            if now and behind:
                os.kill(os.getpid(), number)
            return done

        return perform

    for owner, name in places:
        setattr(owner, name, mortal(getattr(owner, name)))
    return count


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


PLACES = {"writing": writes, "turns": turns}


class Torture:
    """`only`: a word in the names of what is killed; `aim`: "" for any time, "writing" or "turns"."""

    def __init__(self, folder: Path, kills: int, seed: int, only: str = "", aim: str = "") -> None:
        self.folder, self.log, self.kills, self.chance = folder, folder / "log", kills, random.Random(seed)
        self.only, self.aims = only, (aim,) if aim else ("SIGKILL", "SIGKILL", "SIGTERM", "writing")
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.whole: dict[str, tuple[Path, float]] = {}
        self.calls: dict[tuple[str, str], int] = {}  # of writes and turns in a whole training
        shutil.copy(__file__, folder / "text.txt")  # not the file itself, which somebody may be editing

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


def descendants(pid: int) -> list[int]:
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True
    ).stdout.split()
    return [int(p) for p in found] + [g for p in found for g in descendants(int(p))]


def main(arguments: list[str]) -> int:
    asked = dict(a.split("=") for a in arguments)
    options: dict[str, Any] = {"kills": 100, "seed": 0} | {
        k: int(v) if v.isdigit() else v for k, v in asked.items()
    }
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        torture = Torture(Path(folder), **options)
        torture.run()
    for what, n in sorted(torture.counts.items()):
        print(f"{n:6}  {what}")
    print(f"{torture.dead:6}  kills in all, in {time.perf_counter() - begin:.0f} s (seed {options['seed']})")
    print(f"{len(torture.wrong):6}  mismatches")
    print("\n".join(f"        {line}" for line in torture.wrong), end="\n" if torture.wrong else "")
    return bool(torture.wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
