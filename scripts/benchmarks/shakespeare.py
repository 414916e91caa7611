"""tinyshakespeare with char-rnn's defaults: nats after 2,000 and 4,000 steps, and time against a plain loop."""

import tempfile
import time
from pathlib import Path

from benchmarks import plain_char_rnn


def main(options: dict[str, str]) -> None:
    import rnnlab

    path = options.get("shakespeare")
    if path is None or not Path(path).is_file():
        print("  needs the text: shakespeare=PATH of tinyshakespeare.txt")
        return
    engine, steps = options.get("engine", "auto"), int(options.get("steps", 4000))
    plain = plain_char_rnn.train(Path(path).read_text(), steps, every=steps // 4)
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        run = rnnlab.train(
            "experiment=shakespeare", f"data.path={path}", f"model.engine={engine}", f"paths.outputs={folder}",
            f"trainer.max_steps={steps}", f"trainer.val_check_interval={steps // 4}",
        )  # fmt: skip
        ours = time.perf_counter() - begin
        at, values = run.metrics["loss/val"]
        taken = run.record["engine"]["name"]
    print(f"  plain torch loop with nn.LSTM: {plain['seconds']:.0f} s, nats {rounded(plain['nats'])}")
    print(
        f"  rnnlab, engine {taken}, all included: {ours:.0f} s, nats {rounded(dict(zip(at, values, strict=True)))}"
    )
    print(f"  time of rnnlab over that of the plain loop: {ours / plain['seconds']:.2f}")


def rounded(nats) -> str:
    return ", ".join(f"{float(v):.3f} at {int(k):,}" for k, v in nats.items())
