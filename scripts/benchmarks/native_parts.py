"""Measures the parts of one optimizer step, with kernels that are built with clocks around their functions.

Options: cells=mgu,lem and hidden=32,128, instead of Elman, GRU and LSTM.
"""

import contextlib
import ctypes
from collections.abc import Iterator

import numpy as np

from benchmarks import networks, roof, turns
from rnnlab.native import bindings as library

PARTS = (  # in the order of parts.c
    "packing, clearing, collecting",
    "gather of windows",
    "gate functions",
    "products forward",
    "head and loss, both ways",
    "gate gradients",
    "products backward",
    "gradients of weights",
    "norm and Adam",
)
TIMED = ("read_block", "stack_forward", "apply_head", "stack_backward", "product", "add_outer", "add_narrow")
TIMED += ("optimizer_update",)
SHAPES = [
    ("elman", 16),
    ("elman", 32),
    ("elman", 128),
    ("gru", 32),
    ("gru", 128),
    ("lstm", 32),
    ("lstm", 128),
]


TURNS = 400  # short ones: few are interrupted, and the median ignores these


def main(options: dict[str, str]) -> None:
    columns = []
    asked = (
        [(c, int(h)) for c in options["cells"].split(",") for h in options.get("hidden", "32,128").split(",")]
        if "cells" in options
        else SHAPES
    )
    with turns.cores(1):
        for cell, hidden in asked:
            model = networks.Forecasting(cell, hidden)
            n = max(3, int(1e8 / model.flop))
            plain = model.native(n)
            with clocked() as kernels:
                run, measured = networks.Forecasting(cell, hidden).native(n), []

            def timed(run=run, kernels=kernels, measured=measured) -> None:
                ticks = np.zeros(len(PARTS), dtype=np.int64)
                run()
                kernels.c.parts_ticks(ctypes.c_void_p(ticks.ctypes.data))
                measured.append(ticks)

            without, within = turns.seconds(plain, timed, repeats=TURNS, clock=turns.clock(1))
            columns.append((f"{cell} {hidden}", without / n, within / without - 1, np.median(measured, 0)))
    print("  B=32, T=20, one core; shares of an optimizer step\n")
    print("| | " + " | ".join(name for name, *_ in columns) + " |")
    print("| --- |" + " --- |" * len(columns))
    for i, part in enumerate(PARTS):
        print(f"| {part} | " + " | ".join(f"{ticks[i] / ticks.sum():.0%}" for *_, ticks in columns) + " |")
    print("| microseconds in all | " + " | ".join(f"{taken * 1e6:,.0f}" for _, taken, *_ in columns) + " |")
    print("\n  what the clocks add: " + ", ".join(f"{name} {more:+.0%}" for name, _, more, _ in columns))


@contextlib.contextmanager
def clocked() -> Iterator[library.Library]:
    """Inside, programs use kernels with clocks."""
    before = library.library()
    library._loaded = made = library.Library(roof.built_with("parts.c", *(f"-Wl,--wrap={f}" for f in TIMED)))
    made.c.parts_run.restype, made.c.parts_run.argtypes = (
        made.c.rnnlab_run.restype,
        made.c.rnnlab_run.argtypes,
    )
    made.c.rnnlab_run = made.c.parts_run
    try:
        yield made
    finally:
        library._loaded = before
