"""Optimizer steps per second of small models, and of Elman 32 compared with JAX's jit of the whole loop."""

import importlib.util
import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor

import torch

from benchmarks import jax_loop, networks, turns

SHAPES = [
    ("elman", 16, 1),
    ("elman", 32, 1),
    ("elman", 32, 2),
    ("elman", 128, 1),
    ("gru", 32, 1),
    ("lstm", 32, 1),
]
UNROLL = (1, 5, 20)  # how many steps of the sequence JAX unrolls


def main(options: dict[str, str]) -> None:
    with turns.cores(1):
        print("  training only, B=32, T=20, Adam, one core:")
        for cell, hidden, layers in SHAPES:
            model = networks.Forecasting(cell, hidden, layers)
            n = max(20, int(1e10 / model.flop))
            m = max(10, n // 40)
            ours, theirs = turns.seconds(model.native(n), model.torch(m), repeats=5, clock=turns.clock(1))
            print(f"    {cell:5} {hidden:3} x{layers}: {n / ours:8,.0f} steps/s, plain torch loop {m / theirs:5,.0f}; "
                  f"ratio {n / ours / (m / theirs):.0f}", flush=True)  # fmt: skip
    if importlib.util.find_spec("jax") is None:
        print("  the comparison with JAX needs it: pip install 'rnnlab[bench]'")
        return
    for count in turns.core_counts():
        with turns.cores(count):
            against_jax(count)


def against_jax(cores: int, n: int = 2000, repeats: int = 9) -> None:
    model = networks.Forecasting("elman", 32)
    weights = [p.detach().t().contiguous().clone().numpy() for p in model.task.parameters()]
    batches = torch.stack(model.batches(n)).numpy()
    train, clock = model.native(n, threads=cores), turns.clock(cores)
    reference = train().losses[:100]
    for unroll in UNROLL:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as child:
            begin = time.perf_counter()
            arguments = (weights, model.series.numpy(), batches, model.steps, unroll, networks.LR)
            losses = torch.tensor(child.submit(jax_loop.prepare, *arguments).result(), dtype=torch.float64)
            compiled = time.perf_counter() - begin
            apart = ((losses - reference) / reference).abs().max()
            if not apart < 1e-2:
                raise SystemExit(f"JAX trains something else: losses are {apart:.1e} apart")
            ours, theirs = [], []
            for _ in range(repeats):
                ours.extend(turns.seconds(train, repeats=1, clock=clock))
                theirs.append(child.submit(jax_loop.seconds, clock).result())
        o, t = statistics.median(ours), statistics.median(theirs)
        how = (
            "a scan"
            if unroll == 1
            else f"a scan, {unroll} steps unrolled"
            if unroll < 20
            else "all written out"
        )
        print(f"  Elman 32 on {turns.named(cores)}: {n / o:,.0f} steps/s; JAX, the sequence {how}: {n / t:,.0f}, "
              f"ready in {compiled:.0f} s; {turns.verdict(t / o, 3)}", flush=True)  # fmt: skip
