"""Compares a search with pruning with the same search without, with random search, and with plain Optuna and Lightning.

Options: trials=500, stock=12 (trials of the stock set-up, one at a time; 0 leaves it out).
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

LINE = ("experiment=sine", "trainer.max_steps=1000", "trainer.max_epochs=-1", "trainer.accelerator=cpu", "seed=0",
        "model.hidden_size=8,16,32", "model.num_layers=1,2", "model.cell=elman,gru,lstm",
        "optimizer.lr=tag(log,interval(1e-4,1e-1))")  # fmt: skip
WAYS = {
    "tpe, pruned by asha": ("sweep.search=tpe", "sweep.prune=asha"),
    "tpe, pruned by the median": ("sweep.search=tpe", "sweep.prune=median"),
    "tpe, not pruned": ("sweep.search=tpe",),
    "random, not pruned": ("sweep.search=random",),
    "tpe, halving, deterministic": ("sweep.search=tpe", "sweep.prune=halving", "sweep.search_order=deterministic",
                                    "sweep.search_batch=27"),
}  # fmt: skip


def main(options: dict[str, str]) -> None:
    trials, stock = (int(options.get(key, value)) for key, value in (("trials", 500), ("stock", 12)))
    each = {}
    for name, how in WAYS.items():
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            subprocess.run([sys.executable, "-m", "rnnlab", "train", "-m", *LINE, *how, f"sweep.trials={trials}",
                            f"paths.outputs={folder}"], check=True, stdout=subprocess.DEVNULL)  # fmt: skip
            took = time.perf_counter() - began
            best, steps = _found(Path(folder) / "sine")
        each[name] = took / trials
        print(f"  {name:28} {took:6.1f} s, best {best:.5f}, {steps:,} optimizer steps", flush=True)
    if stock:
        mean = _stock(stock)
        ratio = mean / each["tpe, pruned by asha"]
        print(f"  stock Optuna, MedianPruner and Lightning, one run at a time: {mean:.2f} s a trial, "
              f"{ratio:.0f} times as long (20 wanted)")  # fmt: skip


def _found(folder: Path) -> tuple[float, int]:
    import rnnlab

    runs = rnnlab.runs(folder)
    best = min(run.objective for run in runs if run.status == "finished")
    return best, sum(run.results.get("steps", 0) for run in runs)


def _stock(trials: int) -> float:
    """Seconds per trial, without imports."""
    script = Path(__file__).parent / "stock" / "search.py"
    done = subprocess.run([sys.executable, str(script), str(trials)], check=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True)  # fmt: skip
    return float(done.stdout.split()[-1])
