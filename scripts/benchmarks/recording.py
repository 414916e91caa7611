"""The share of recording (including TensorBoard) and of checkpointing in the training time of the default sine run."""

import contextlib
import functools
import io
import statistics
import tempfile
import time
from collections import defaultdict

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


def clocked(owner: type, began: str, ended: str, what: str = "training") -> None:
    """Takes the time from the beginning of one method to the end of another. A callback of the benchmark's own would
    make the run slower: rnnlab then asks before and after each call whether it has changed the model.
    """
    first, last = getattr(owner, began), getattr(owner, ended)

    def begin(self, *args, **kwargs):
        spent[what] = -time.perf_counter()
        return first(self, *args, **kwargs)

    def end(self, *args, **kwargs):
        found = last(self, *args, **kwargs)
        spent[what] += time.perf_counter()
        return found

    setattr(owner, began, begin)
    setattr(owner, ended, end)


def main(options: dict[str, str]) -> None:
    import rnnlab
    from rnnlab.tensorboard.logger import TensorBoard
    from rnnlab.training.checkpoints import Checkpoints
    from rnnlab.training.recorder import Recorder

    both, board = "recording and checkpoints", "TensorBoard alone"
    timed(both, Recorder, "on_train_batch_end", "on_validation_end", "on_train_end")
    timed(both, Checkpoints, "on_train_batch_start", "on_validation_end", "on_train_end")
    timed(board, TensorBoard, "log_metrics", "log_scalars", "log_events", "flush", "begin", "end")
    timed(board, TensorBoard, "lines", sign=-1)  # not counted: the results need baselines and floor, too
    clocked(Checkpoints, "on_train_start", "on_train_end")  # the last of the callbacks
    for engine in ("auto", "torch"):
        shares = defaultdict(list)
        for seed in range(5):
            spent.clear()
            with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
                rnnlab.train("experiment=sine", f"model.engine={engine}", f"seed={seed}", "~callbacks.pictures",
                             f"paths.outputs={folder}")  # fmt: skip
            for what in (both, board):
                shares[what].append(100 * spent[what] / spent["training"])
        for what, wanted in ((both, 5), (board, 3)):
            print(f"  engine {engine}, {what}: {statistics.median(shares[what]):.1f}% of the training time (median of "
                  f"5, from {min(shares[what]):.1f} to {max(shares[what]):.1f}; under {wanted} wanted)")  # fmt: skip
