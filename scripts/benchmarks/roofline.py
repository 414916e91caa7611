"""The training rate by hidden size, sequence length and batch size: tables, and a picture with the roofline.

Prints the tables of docs/performance.md and writes docs/images/roofline.png (or picture=PATH). Each rate is measured
relative to the core's peak at the same time, and multiplied by the median peak, so that a busy moment does not shift
it.
"""

import statistics
from dataclasses import dataclass
from pathlib import Path

from benchmarks import networks, roof, roofline_picture, turns

BASE = {"h": 64, "T": 50, "B": 32}
SWEPT = {
    "h": (16, 32, 64, 128, 256, 512),
    "T": (10, 20, 50, 100, 200, 500, 1000),
    "B": (1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
}
WORK = 4e9  # floating-point operations of one measurement
REPEATS = 5


@dataclass
class Point:
    """The rates of a configuration, as shares of the core's peak."""

    native: float
    torch: float
    steps: float
    """Optimizer steps per second."""


def main(options: dict[str, str]) -> None:
    multiply_adds, peak_flop = roof.multiply_adds()
    peaks, sgemms = [], []
    points: dict[tuple[str, str, int], Point] = {}
    with turns.cores(1):
        multiply, sgemm_flop = roof.sgemm()
        for swept, values in SWEPT.items():
            for cell in networks.GATES:
                for value in values:
                    at = BASE | {swept: value}
                    model = networks.Forecasting(cell, at["h"], rows=at["B"], steps=at["T"])
                    n = max(1, min(2000, int(WORK / model.flop)))
                    m = max(1, n // 20)
                    functions = model.native(n), model.torch(m), multiply_adds, multiply
                    ours, theirs, peak, sgemm = turns.seconds(
                        *functions, repeats=REPEATS, clock=turns.clock(1)
                    )
                    peaks.append(peak_flop / peak)
                    sgemms.append(sgemm_flop / sgemm / peaks[-1])
                    points[swept, cell, value] = Point(
                        n * model.flop / ours / peaks[-1], m * model.flop / theirs / peaks[-1], n / ours
                    )
    peak, sgemm = statistics.median(peaks) / 1e9, statistics.median(sgemms)
    print(f"  a core's peak {peak:.0f} GFLOP/s; torch's sgemm reaches {sgemm:.0%} of it\n")
    for swept, values in SWEPT.items():
        others = ", ".join(f"{name}={value}" for name, value in BASE.items() if name != swept)
        print(f"Over {swept}, with {others}:\n")
        print(f"| {swept} | " + " | ".join(f"{value:,}" for value in values) + " |")
        print("| --- |" + " --- |" * len(values))
        for cell in networks.GATES:
            row = [points[swept, cell, value] for value in values]
            print(f"| {cell}: GFLOP/s | " + " | ".join(f"{p.native * peak:.0f}" for p in row) + " |")
            print("| of the peak | " + " | ".join(f"{p.native:.0%}" for p in row) + " |")
            print(
                "| steps/s | " + " | ".join(f"{p.steps:,.{0 if p.steps >= 10 else 1}f}" for p in row) + " |"
            )
            print("| times plain torch | " + " | ".join(f"{p.native / p.torch:.1f}" for p in row) + " |")
        print()
    picture = Path(options.get("picture", Path(__file__).parents[2] / "docs" / "images" / "roofline.png"))
    roofline_picture.draw(picture, points, SWEPT, BASE, peak, sgemm)
    print(f"  {picture.name} written")
