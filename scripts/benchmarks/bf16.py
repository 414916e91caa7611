"""Compares trainer.precision=bf16-mixed with 32-true on the native engine: optimizer steps per second on one core,
measured in turns.
"""

from benchmarks import networks, turns

WANTED = 1.6
SHAPES = [
    ("elman", 32, 20),
    ("gru", 32, 20),
    ("lstm", 32, 20),
    ("elman", 50, 50),
    ("gru", 50, 50),
    ("lstm", 50, 50),
]


def main(options: dict[str, str]) -> None:
    with turns.cores(1):
        for hidden in (32, 64, 128, 256):
            for cell, rows, steps in SHAPES:
                n, models = 0, []
                for precision in ("32-true", "bf16-mixed"):
                    model = networks.Forecasting(cell, hidden, rows=rows, steps=steps)
                    model.task.stack.precision = precision
                    n = max(2, int(3e9 / model.flop))
                    models.append(model.native(n))
                single, mixed = turns.seconds(*models, repeats=21, clock=turns.clock(1))
                gain, rates = single / mixed, f"{n / single:8,.0f} and {n / mixed:8,.0f} steps/s"
                said = turns.verdict(gain, WANTED) if hidden >= 128 else f"ratio {gain:.2f}"
                print(f"  {cell:5}{hidden:4}  B={rows} T={steps}: {rates}; {said}", flush=True)
