"""The share of recording (including TensorBoard) and of checkpointing in the training time of the default sine run."""

import functools
import statistics
import sys
import time
from collections import defaultdict

from benchmarks import clock

spent: dict[str, float] = defaultdict(float)
inside: dict[str, int] = defaultdict(int)


def timed(what: str, owner: type, *names: str, sign: int = 1) -> None:
    """Adds the time in these methods to `what`; nested calls count once."""
    for name in names:
        setattr(owner, name, _timed(what, getattr(owner, name), sign))


def _timed(what, method, sign):
    level = what if sign > 0 else f"not {what}"

    @functools.wraps(method)
    def call(*args, **kwargs):
        inside[level] += 1
        begin = time.perf_counter()
        try:
            return method(*args, **kwargs)
        finally:
            inside[level] -= 1
            if not inside[level]:
                spent[what] += sign * (time.perf_counter() - begin)

    return call


def main(options: dict[str, str]) -> None:
    from rnnlab.tensorboard.logger import TensorBoard
    from rnnlab.training.checkpoints import Checkpoints
    from rnnlab.training.recorder import Recorder

    both, board = "recording and checkpoints", "TensorBoard alone"
    timed(both, Recorder, "on_train_batch_end", "on_validation_end", "on_train_end")
    timed(both, Checkpoints, "on_train_batch_start", "on_validation_end", "on_train_end")
    timed(board, TensorBoard, "log_metrics", "log_scalars", "log_events", "flush", "begin", "end")
    timed(board, TensorBoard, "lines", sign=-1)  # not counted: the results need baselines and floor, too
    for engine in ("auto", "torch"):
        shares = defaultdict(list)
        for seed in range(5):
            spent.clear()
            clock.seconds_per_step("experiment=sine", f"model.engine={engine}", f"seed={seed}")
            for what, seconds in spent.items():
                shares[what].append(100 * seconds / sys.modules["benchmarks.clock"].Clock.seconds)
        for what, wanted in ((both, 5), (board, 3)):
            print(f"  engine {engine}, {what}: {statistics.median(shares[what]):.1f}% of the training time (median of "
                  f"5, from {min(shares[what]):.1f} to {max(shares[what]):.1f}; under {wanted} wanted)")  # fmt: skip
