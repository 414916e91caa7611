"""experiment=ett: 24 hours of oil temperature from 96, against persistence and seasonal naive."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main(options: dict[str, str]) -> None:
    import rnnlab

    path = options.get("ett")
    if path is None or not Path(path).is_file():
        print("  needs the series: ett=PATH of ETTh1.csv")
        return
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        words = ["train", "experiment=ett", f"data.path={path}", f"paths.outputs={folder}"]
        subprocess.run([sys.executable, "-m", "rnnlab", *words], check=True, capture_output=True)
        seconds = time.perf_counter() - begin
        (run,) = rnnlab.runs(f"{folder}/ett")
        results = run.results
    scores = {"rnnlab": results["test"]} | results["baselines"]["test"]
    for name, score in scores.items():
        print(f"  {name:16} mae {score['mae']:.3f}  mse {score['mse']:.3f}  rmse {score['rmse']:.3f}")
    print(f"  {seconds:.0f} s from start to finish (under 180 wanted)")
