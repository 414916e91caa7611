"""What recording and checkpointing cost of the training time of the default sine run: a share, within each run."""

import functools
import statistics
import time

from benchmarks import clock

spent = 0.0


def timed(owner, name):
    method = getattr(owner, name)

    @functools.wraps(method)
    def call(*args, **kwargs):
        global spent
        begin = time.perf_counter()
        try:
            return method(*args, **kwargs)
        finally:
            spent += time.perf_counter() - begin

    setattr(owner, name, call)


def main(options: dict[str, str]) -> None:
    global spent
    from rnnlab.training.checkpoints import Checkpoints
    from rnnlab.training.recorder import Recorder

    # no method of one list calls another of it: on_train_end and save flush, so flush is timed in its callers
    for name in ("on_train_batch_end", "on_validation_end"):
        timed(Recorder, name)
    for name in ("on_train_batch_start", "on_validation_end", "on_train_end"):
        timed(Checkpoints, name)
    for engine in ("auto", "torch"):
        shares = []
        for seed in range(5):
            spent = 0.0
            clock.seconds_per_step("experiment=sine", f"model.engine={engine}", f"seed={seed}")
            shares.append(spent / clock_seconds())
        print(f"  engine {engine}: {100 * statistics.median(shares):.1f}% of the training time (median of 5, from "
              f"{100 * min(shares):.1f} to {100 * max(shares):.1f}; under 5 wanted)")  # fmt: skip


def clock_seconds() -> float:
    import sys

    return sys.modules["benchmarks.clock"].Clock.seconds
