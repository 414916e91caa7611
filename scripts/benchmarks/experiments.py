"""Trains every experiment and compares its score with the one in the head of its file."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONF = Path(__file__).parents[2] / "conf" / "experiment"


def main(options: dict[str, str]) -> None:
    """`shakespeare=FILE` and `ett=FILE` are the data files that are not in the package."""
    import rnnlab

    for file in sorted(CONF.rglob("*.yaml")):
        name = file.relative_to(CONF).with_suffix("").as_posix()
        lines = file.read_text(encoding="utf-8").splitlines()
        promise = next((line[2:] for line in lines if line.startswith("# About")), None)
        if promise is None or (name in ("shakespeare", "ett") and name not in options):
            continue
        data = [f"data.path={options[name]}"] if name in options else []
        with tempfile.TemporaryDirectory() as folder:
            begin = time.perf_counter()
            words = ["train", f"experiment={name}", f"paths.outputs={folder}", *data]
            subprocess.run([sys.executable, "-m", "rnnlab", *words], check=True, capture_output=True)
            seconds = time.perf_counter() - begin
            (run,) = rnnlab.runs(Path(folder) / name)
            results = run.results
        part = next(p for p in ("test", "train", "best") if p in results)
        scores = results[part]["metrics"] if part == "best" else results[part]
        found = ", ".join(f"{key} {value:.4g}" for key, value in scores.items() if key != "loss")
        print(f"  {name}: {promise}\n    measured: {seconds:.0f} s; {part} {found}", flush=True)
