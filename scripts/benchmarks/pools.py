"""Runs the same sweep with each pool and with Hydra's launchers: wall time of the command, and whether bits agree.

Options: runs=64 (a multiple of 8), of=local,slurm,ray,joblib,stock. tests/sweeps/slurm.py starts a real Slurm, where it
is installed (needs root); Ray starts its own cluster. `joblib` is Hydra's launcher with rnnlab's runs; `stock` is
benchmarks/stock/train.py: plain Lightning with Hydra and joblib.
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.budget import SINE

ROOT = Path(__file__).parents[2]
GRID = ("model.hidden_size=16,32", "model.num_layers=1,2", "optimizer.lr=1e-3,2e-3")
WAYS: dict[str, tuple[str, ...]] = {
    "local": (),
    "slurm": ("sweep.pool=slurm", f"sweep.slurm.cpus={os.cpu_count()}"),
    "ray": ("sweep.pool=ray",),
    "joblib": ("hydra/launcher=joblib",),
}


def main(options: dict[str, str]) -> None:
    seeds = int(options.get("runs", 64)) // 8
    first: dict[str, bytes] = {}
    for way in options.get("of", "local,slurm,ray,joblib,stock").split(","):
        with (
            tempfile.TemporaryDirectory() as folder,
            a_slurm(way == "slurm", Path(folder) / "slurmd") as lacking,
        ):
            if why := lacking or missing(way):
                print(f"  {way:7} left out: {why}", flush=True)
                continue
            begin = time.perf_counter()
            done = subprocess.run(words(way, seeds, folder), capture_output=True, text=True)
            took = time.perf_counter() - begin
            found = {p.parent.name: p.read_bytes() for p in Path(folder).glob("sine/*/metrics.csv")}
            first = first or found
            same = f"{sum(first.get(name) == said for name, said in found.items())} with the same metrics.csv"
            load = ", ".join(f"{x:.1f}" for x in os.getloadavg()[:2])
            print(f"  {way:7} {8 * seeds} runs: {took:.1f} s, {took / 8 / seeds:.2f} s a run; {same if found else ''}; "
                  f"exit code {done.returncode}, load {load}", flush=True)  # fmt: skip


def words(way: str, seeds: int, folder: str) -> list[str]:
    if way == "stock":
        asked = ["hidden_size=16,32", "num_layers=1,2", "lr=1e-3,2e-3", f"hydra.sweep.dir={folder}"]
        script = str(Path(__file__).parent / "stock" / "train.py")
        return [sys.executable, script, "-m", *asked, f"seed=range(0,{seeds})"]
    outputs = f"paths.outputs={folder}"
    asked = [*SINE, *GRID, f"seed=range(0,{seeds})", *WAYS[way], outputs]
    return [sys.executable, "-m", "rnnlab", "train", "-m", *asked]


def missing(way: str) -> str:
    """A package that this way needs and that is not installed; "" where there is none."""
    needed = {"slurm": "submitit", "ray": "ray", "joblib": "hydra_plugins.hydra_joblib_launcher"}
    name = needed.get(way, needed["joblib"] if way == "stock" else "")
    there = not name or importlib.util.find_spec(name) is not None
    return "" if there else f"{name} is not installed"


@contextmanager
def a_slurm(wanted: bool, folder: Path) -> Iterator[str]:
    """While open, a Slurm runs on this machine, with its commands on PATH. Gives the reason if it cannot, else ""."""
    if not wanted:
        yield ""
        return
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "sweeps")]
    import slurm

    if why := slurm.why_not():
        yield why
        return
    os.environ |= slurm.start(folder)
    try:
        yield ""
    finally:
        slurm.stop(folder)
        del os.environ["SLURM_CONF"]
        time.sleep(1)  # the daemons still write into their folder
