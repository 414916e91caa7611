"""Steps per second through Lightning, validation every epoch, logging every 50 steps: rnnlab and stock."""

import statistics
import warnings

import torch

from benchmarks import clock, stock_lightning


def main(options: dict[str, str]) -> None:
    warnings.filterwarnings("ignore")
    for threads in sorted({1, torch.get_num_threads()}):
        torch.set_num_threads(threads)
        ours, theirs = [], []
        for _ in range(5):
            ours.append(
                clock.seconds_per_step(
                    "experiment=sine",
                    "model.cell=elman",
                    "model.hidden_size=32",
                    "trainer.log_every_n_steps=50",
                    f"trainer.threads={threads}",
                )
            )
            theirs.append(stock_lightning.seconds_per_step(20, validate=True, log_every_n_steps=50))
        o, s = statistics.median(ours), statistics.median(theirs)
        print(f"  {threads} thread{'s' * (threads > 1)}: rnnlab {1 / o:,.0f} steps/s, stock Lightning {1 / s:,.0f}; "
              f"ratio {s / o:.1f} (at least 20 wanted)")  # fmt: skip
