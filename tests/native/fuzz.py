"""Random shapes through kernels built with the address and undefined-behaviour sanitizers.

Run by test_sanitizers.py under the sanitizer's runtime: whatever reads or writes a byte too far ends the process.
"""

import random
import sys

import torch
from own_cells import OWN
from programs import Case

from rnnlab import native
from rnnlab.native import bindings as library
from rnnlab.native import build
from rnnlab.recurrence import Stack

FLAGS = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")


CELLS = ["elman", "gru", "lstm", *(f"own_cells.{kind.__name__}" for kind in OWN)]


def recurrences(draw: random.Random) -> None:
    inputs, hidden = draw.choice([1, 8, 9, 16, 33]), draw.randint(1, 70)
    stack = Stack(
        draw.choice(CELLS), inputs, hidden, draw.randint(1, 2), engine="native",
        bias=draw.choice(["both", "one", "none"]), initial_state=draw.choice(["zero", "learned"]),
    )  # fmt: skip
    batch, steps = draw.choice([1, 2, 15, 16, 33, 65]), draw.choice([1, 2, 9, 70])
    if draw.random() < 0.3:
        x = torch.randint(0, inputs, (batch, steps))
    else:
        x = torch.randn(batch, steps, inputs, requires_grad=True)
    reset = torch.rand(batch, steps) < 0.3 if draw.random() < 0.5 else None
    y, last = stack(x, reset=reset)
    (y.sum() + sum(s.sum() for one in last for s in one)).backward()
    assert torch.isfinite(y).all()


def programs(draw: random.Random) -> None:
    kind = draw.choice(["series", "text", "labelled"])
    options = {"cell": draw.choice(CELLS), "hidden_size": draw.randint(1, 70)}
    options |= {"num_layers": draw.randint(1, 3), "bias": draw.choice(["both", "one", "none"])}
    options |= {"dropout": 0.3 if options["num_layers"] > 1 else 0.0}
    options |= {"initial_state": draw.choice(["zero", "learned"])}
    if kind == "series":
        options |= {"inputs": draw.choice([1, 8, 9, 20]), "horizon": draw.choice([1, 17]), "targets": 1}
        options |= {"subtract_last": draw.random() < 0.5, "loss": draw.choice(["mse", "mae", "huber"])}
    if kind == "text":
        options |= {"vocabulary": draw.choice([2, 33]), "embedding_size": draw.choice([None, 1, 19])}
    else:
        options["bidirectional"] = draw.random() < 0.5
    case = Case(kind, draw.choice([1, 2, 17, 33, 65]), draw.choice([1, 2, 13, 40]), **options)
    program = case.program(clip_val=1.0, threads=draw.randint(1, 3))
    assert program.run(case.names(3), [0.01] * 3).done == 3
    program.evaluate(case.names(1)[0], outputs=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    library._loaded = library.Library(build.build(extra=FLAGS))
    draw = random.Random(int(sys.argv[1]))
    for _ in range(int(sys.argv[2])):
        recurrences(draw)
        programs(draw)
    print("clean", native.status()["library"])
