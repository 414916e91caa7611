"""Measures the figures that README and docs quote: `python scripts/benchmark.py [NAME ...]`.

Each figure is a ratio of two things measured in one run, the median of several such ratios, or a score; absolute times
depend on the machine. Without names all are measured, which takes about half an hour on two cores.
"""

import importlib
import platform
import sys
from pathlib import Path

from options import refuse_no_numbers

sys.path.insert(0, str(Path(__file__).parent))

BENCHMARKS = {
    "start": "start to first optimizer step",
    "lightning": "steps per second through Lightning, against stock Lightning",
    "overhead": "cost per step of everything that is not the model",
    "experiments": "each experiment beside what the head of its file promises",
    "recording": "the share of recording and checkpointing in a training",
    "sine": "experiment=sine over ten seeds",
    "sweep": "a sweep of 1,000 runs, and the stock set-up beside it",
    "pools": "the same sweep here, on Slurm, on Ray and by stock launchers",
    "budget": "what a run in a warm worker costs, part by part, and the command around the runs",
    "growth": "what grows with the runs of a folder, the length of a text and the steps recorded",
    "search": "a search with pruning, without, and by stock Optuna and Lightning",
    "ett": "experiment=ett, the oil temperature",
    "neuralforecast": "GRU and LSTM of neuralforecast on three real series",
    "shakespeare": "experiment=shakespeare against a plain torch loop",
    "native_steps": "optimizer steps of small models against plain torch loops, and against JAX",
    "native_rate": "the kernels' rate as a share of sgemm's and of all that a core can do",
    "native_models": "character models of 2x128 against plain torch loops with nn.LSTM and nn.GRU",
    "bf16": "trainer.precision=bf16-mixed against 32-true, on the native engine",
    "native_parts": "where the time of an optimizer step goes",
    "cells": "every cell on the engine that a run takes, on the reference, and by torch.compile",
    "roofline": "training rate over h, T and B: tables and picture of docs/performance.md",
}


def main(arguments: list[str]) -> int:
    if {"-h", "--help"} & set(arguments):
        print(
            (__doc__ or "").strip(), *(f"  {name:16} {what}" for name, what in BENCHMARKS.items()), sep="\n"
        )
        return 0
    options = dict(a.split("=", 1) for a in arguments if "=" in a)
    refuse_no_numbers(options)
    names = [a for a in arguments if "=" not in a] or list(BENCHMARKS)
    for name in names:
        if name not in BENCHMARKS:
            print(f"{name}: no such benchmark; possible: {', '.join(BENCHMARKS)}", file=sys.stderr)
            return 2
    import torch

    print(f"Python {platform.python_version()}, torch {torch.__version__}, {torch.get_num_threads()} threads, "
          f"{torch.backends.cpu.get_cpu_capability()}")  # fmt: skip
    for name in names:
        print(f"\n{name}: {BENCHMARKS[name]}", flush=True)
        importlib.import_module(f"benchmarks.{name}").main(options)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
