"""A core's peak rates: of multiply-adds on registers, and of torch's product of large matrices."""

import atexit
import ctypes
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from rnnlab.native import build

HERE = Path(__file__).parent
SGEMM, TIMES = 512, 30
ROUNDS = 2_000_000


def built_with(source: str, *flags: str) -> build.Built:
    """The kernels together with additional C code, built with the same compiler and flags."""
    before = os.environ.get("RNNLAB_CACHE")
    os.environ["RNNLAB_CACHE"] = folder = tempfile.mkdtemp(prefix="rnnlab-benchmark-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    try:
        built = build.build(extra=(str(HERE / source), f"-I{build.SOURCES}", *flags))
        return replace(built, flags=tuple(f for f in built.flags if f not in built.extra))  # not for cells
    finally:
        del os.environ["RNNLAB_CACHE"]
        if before is not None:
            os.environ["RNNLAB_CACHE"] = before


def multiply_adds() -> tuple[Callable[[], object], float]:
    """A function that keeps one core's multipliers busy, and its floating-point operations."""
    library = build.load(built_with("roof.c"))
    library.peak.restype, library.peak.argtypes = ctypes.c_float, [ctypes.c_int64, ctypes.c_void_p]
    flop = ctypes.c_double()
    library.peak(1, ctypes.byref(flop))
    return lambda: library.peak(ROUNDS, ctypes.byref(ctypes.c_double())), flop.value * ROUNDS


def sgemm() -> tuple[Callable[[], None], float]:
    """The same for torch.mm, with torch's number of threads."""
    a = torch.randn(SGEMM, SGEMM)

    def multiply() -> None:
        for _ in range(TIMES):
            torch.mm(a, a)

    return multiply, TIMES * 2.0 * SGEMM**3
