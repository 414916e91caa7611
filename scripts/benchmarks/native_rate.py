"""The rate of training relative to sgemm and to a core's peak; only the matrix products count as operations."""

from benchmarks import networks, roof, turns

WANTED = 0.8  # of sgemm, for Elman and GRU, h = 32 to 256
HELD = {(cell, hidden) for cell in ("elman", "gru") for hidden in (32, 64, 128, 256)}


def main(options: dict[str, str]) -> None:
    multiply_adds, peak_flop = roof.multiply_adds()
    lowest = None
    with turns.cores(1):
        multiply, sgemm_flop = roof.sgemm()
        print(f"  {'cell':5}{'h':>5}  B  T  {'GFLOP/s':>8}{'of sgemm':>10}{'of peak':>9}   (sgemm, peak)")
        for cell in networks.GATES:
            for hidden in (16, 32, 64, 128, 256, 512):
                rows, steps = (32, 20) if cell == "elman" else (50, 50)
                model = networks.Forecasting(cell, hidden, rows=rows, steps=steps)
                n = max(2, int(1e10 / model.flop))
                times = turns.seconds(
                    model.native(n), multiply, multiply_adds, repeats=5, clock=turns.clock(1)
                )
                ours, sgemm, peak = (
                    flop / taken / 1e9
                    for flop, taken in zip((n * model.flop, sgemm_flop, peak_flop), times, strict=True)
                )
                print(f"  {cell:5}{hidden:5} {rows} {steps} {ours:8.0f}{ours / sgemm:10.0%}{ours / peak:9.0%}   "
                      f"({sgemm:.0f}, {peak:.0f})", flush=True)  # fmt: skip
                if (cell, hidden) in HELD:
                    lowest = min(lowest or (9.0, ""), (ours / sgemm, f"{cell} {hidden}"))
    assert lowest is not None
    print(
        f"  lowest of Elman and GRU, h = 32 to 256: {lowest[1]}, {lowest[0]:.0%} of sgemm "
        f"(at least {WANTED:.0%} wanted)"
    )
