"""A sweep of 1,000 runs: its time, the parts of this time, plain Lightning for comparison, and whether bits agree.

Options: runs=1000 (a multiple of 20), stock=64 (0 leaves the stock set-up out), bits=20.
"""

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import budget
from benchmarks.budget import SINE

GRID = ("model.hidden_size=16,32", "model.num_layers=1,2", "optimizer.lr=1e-3,2e-3,3e-3,5e-3,1e-2")


def main(options: dict[str, str]) -> None:
    runs, stock, bits = (int(options.get(k, v)) for k, v in (("runs", 1000), ("stock", 64), ("bits", 20)))
    planning()
    with tempfile.TemporaryDirectory() as folder:
        wall = sweep(folder, runs // 20)
        account(folder, wall)
        same_bits(folder, bits)
    if stock:
        beside_stock(stock)


def train(folder: str, *words: str) -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-m", "rnnlab", "train", "-m", *SINE, *words, f"paths.outputs={folder}"],
                   check=True, stdout=subprocess.DEVNULL)  # fmt: skip
    return time.perf_counter() - begin


def planning() -> None:
    import resource

    from rnnlab.config import base_config, compose
    from rnnlab.sweeps.grid import grid
    from rnnlab.sweeps.planner import Planner

    groups = {"experiment"}
    for seeds in (50, 5000):
        begin = time.perf_counter()
        points = grid([*SINE, *GRID, f"seed=range(0,{seeds})"], groups.__contains__)
        plan = Planner(compose, base_config, lambda asked: "cpu").plan(points)
        took, memory = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        print(f"  planning {len(plan.runs):,} runs: {took:.2f} s, {memory:,.0f} MB in all", flush=True)
        assert len({r.place.id for r in plan.runs}) == len(points)
    times = []
    for seed in range(5):
        begin = time.perf_counter()
        compose([*SINE, f"seed={seed}"])
        times.append(time.perf_counter() - begin)
    each = statistics.median(times)
    print(f"  Hydra composes a job in {each * 1e3:.0f} ms, twice a job: {2 * each * 1000:.0f} s for 1,000")


def sweep(folder: str, seeds: int) -> float:
    wall = train(folder, *GRID, f"seed=range(0,{seeds})")
    print(f"  {20 * seeds:,} runs, command line to leaderboard: {wall:.1f} s "
          "(for 1,000 at most 18 wanted, on two idle cores)", flush=True)  # fmt: skip
    return wall


def account(folder: str, wall: float) -> None:
    """Prints where the time went, per run and core; `budget` shows the parts of a run."""
    import os

    import rnnlab
    from rnnlab.sweeps.devices import cores

    runs = rnnlab.runs(f"{folder}/sine")
    assert all(r.status == "finished" for r in runs)
    files = sum(len(names) for _, _, names in os.walk(folder))
    print(f"  {cores() * wall / len(runs) * 1e3:.1f} ms a run and core, start and end of the sweep included; "
          f"{files:,} files")  # fmt: skip
    budget.main({})


ALONE = """
import json, sys, rnnlab
for words in json.loads(sys.argv[1]):
    rnnlab.train(*words, "~callbacks.progress", "~callbacks.pictures", "paths.outputs=" + sys.argv[2])
"""


def same_bits(folder: str, n: int) -> None:
    import torch

    import rnnlab

    drawn = random.Random(0).sample(rnnlab.runs(f"{folder}/sine"), n)
    asked = [
        [w for w in json.loads(r.manifest_file.read_text())["command"][1:] if "outputs=" not in w]
        for r in drawn
    ]
    with tempfile.TemporaryDirectory() as alone:
        subprocess.run(
            [sys.executable, "-c", ALONE, json.dumps(asked), alone], check=True, stdout=subprocess.DEVNULL
        )
        same = 0
        for run in drawn:
            other = rnnlab.load(Path(alone) / "sine" / run.folder.name)
            weights = [torch.load(r.last_checkpoint, weights_only=True)["state_dict"] for r in (run, other)]
            equal = all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])
            same += equal and run.metrics_file.read_bytes() == other.metrics_file.read_bytes()
    print(
        f"  {same} of {n} runs of the sweep, trained alone, give the same metrics.csv and weights", flush=True
    )


def beside_stock(n: int) -> None:
    """Trains the first `n` runs with rnnlab and with plain Lightning; steady-state rates need two sweep lengths."""
    try:
        import hydra_plugins.hydra_joblib_launcher  # noqa: F401
    except ImportError:
        print(
            "  without hydra-joblib-launcher (pip install 'rnnlab[bench]') there is no stock set-up to compare with"
        )
        return
    script = Path(__file__).parent / "stock" / "train.py"

    def stock(seeds: int, folder: str) -> float:
        begin = time.perf_counter()
        subprocess.run([sys.executable, str(script), "-m", "hidden_size=16,32", "num_layers=1,2", "lr=1e-3,2e-3",
                        f"seed=range(0,{seeds})", f"hydra.sweep.dir={folder}"],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        return time.perf_counter() - begin

    def ours(seeds: int, folder: str) -> float:
        return train(folder, GRID[0], GRID[1], "optimizer.lr=1e-3,2e-3", f"seed=range(0,{seeds})")

    # the steady-state rate is that of the runs by which a long sweep exceeds a short one; rnnlab's runs are so short
    # that many are needed before this difference exceeds the variation of the start
    took = {}
    for name, run, lengths in (("rnnlab", ours, (n // 8, 5 * n // 8)), ("stock", stock, (n // 32, n // 8))):
        with tempfile.TemporaryDirectory() as a, tempfile.TemporaryDirectory() as b:
            short, long = run(lengths[0], a), run(lengths[1], b)
        rate = 8 * (lengths[1] - lengths[0]) / (long - short)
        took[name] = short if name == "rnnlab" else long, rate
        print(
            f"  {n} runs, {name}: {took[name][0]:.1f} s; {rate:.2f} runs a second in the steady state",
            flush=True,
        )
    print(f"  rnnlab is {took['stock'][0] / took['rnnlab'][0]:.1f} times faster in wall time (20 wanted), "
          f"{took['rnnlab'][1] / took['stock'][1]:.1f} times in the steady state (60 wanted)")  # fmt: skip
