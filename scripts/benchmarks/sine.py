"""experiment=sine: the test error over the realised noise, as the mean of ten seeds; time of a run."""

import statistics
import subprocess
import sys
import tempfile
import time


def main(options: dict[str, str]) -> None:
    import rnnlab

    ratios, times = [], []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(10):
            begin = time.perf_counter()
            words = ["train", "experiment=sine", f"seed={seed}", f"paths.outputs={folder}"]
            subprocess.run([sys.executable, "-m", "rnnlab", *words], check=True, capture_output=True)
            times.append(time.perf_counter() - begin)
        for run in rnnlab.runs(f"{folder}/sine"):
            results = run.results
            ratios.append(results["test"]["mse"] / results["facts"]["test"]["realised_noise"])
    print(f"  test mse over realised noise: mean {statistics.mean(ratios):.3f} (at most 1.25 wanted), "
          f"from {min(ratios):.3f} to {max(ratios):.3f}")  # fmt: skip
    print(f"  a run from start to finish: {statistics.median(times):.1f} s (median of 10; under 20 wanted)")
