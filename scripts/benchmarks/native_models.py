"""Compares character models (two layers of 128, B=T=50, RMSprop) with a plain torch loop with torch's own layers."""

from benchmarks import networks, turns

WANTED = {"lstm": 1.3, "gru": 2.2}


def main(options: dict[str, str]) -> None:
    n = 10
    for count in turns.core_counts():
        for cell, wanted in WANTED.items():
            with turns.cores(count):
                model = networks.Characters(cell, n)
                ours, theirs = turns.seconds(
                    model.native(count), model.torch(), repeats=9, clock=turns.clock(count)
                )
            name = cell.upper()
            print(f"  {name:4} 2x128 on {turns.named(count)}: {ours / n * 1e3:5.2f} ms a step, nn.{name:4} "
                  f"{theirs / n * 1e3:6.2f} ms; {turns.verdict(theirs / ours, wanted)}", flush=True)  # fmt: skip
