"""Measures rnnlab's training time within the training: from the first step to the last."""

import contextlib
import io
import sys
import tempfile
import time

from lightning.pytorch import Callback


class Clock(Callback):
    patient = True  # need not be called within a call of the kernels
    seconds = steps = 0.0

    def on_train_start(self, trainer, *_):
        self.begin, self.first = time.perf_counter(), trainer.global_step

    def on_train_end(self, trainer, *_):
        Clock.seconds = time.perf_counter() - self.begin
        Clock.steps = trainer.global_step - self.first


def seconds_per_step(*overrides: str) -> float:
    import rnnlab

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        rnnlab.train(
            *overrides, "~callbacks.pictures", "+callbacks.clock._target_=benchmarks.clock.Clock",
            f"paths.outputs={folder}",
        )  # fmt: skip
    this = sys.modules["benchmarks.clock"].Clock
    return this.seconds / this.steps
