"""What a training leaves, compared bit by bit; scripts/torture.py and the tests of resuming ask."""

from pathlib import Path
from typing import Any

CLOCKED = ("speed/", "run/seconds")  # by the clock on the wall


def content(folder: Path) -> dict[str, Any]:
    """All of a run's folder that must be the same bits."""
    import torch

    from rnnlab.ledger.run import Run
    from rnnlab.ledger.seal import broken

    run = Run(folder)
    found: dict[str, Any] = {"metrics.csv": run.metrics_file.read_bytes(), "status": run.status,
                             "results": run.results, "scalars": scalars(folder)}  # fmt: skip
    for path in (run.last_checkpoint, run.best_checkpoint):
        found[f"seal of {path.name}"] = broken(path)
        weights = torch.load(path, weights_only=True)["state_dict"]
        found[path.name] = {k: v.numpy().tobytes() for k, v in weights.items()}
    found["leftovers"] = sorted(p.name for p in folder.rglob(".*"))
    return found


def scalars(folder: Path) -> list[tuple[int, str, float]]:
    """TensorBoard's scalars in the order of their files, without speeds."""
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event

    found = []
    for file in sorted(folder.glob("events.out*")):
        for record in RawEventFileLoader(str(file)).Load():
            event = Event.FromString(record)
            values = [v for v in event.summary.value if v.HasField("simple_value")]
            found += [(event.step, v.tag, v.simple_value) for v in values]
    return [(step, tag, value) for step, tag, value in found if not tag.startswith(CLOCKED)]


def mismatches(whole: Path, other: Path) -> list[str]:
    """What differs between two experiments' folders, run by run."""
    wrong = []
    if not other.is_dir():
        return ["nothing"]
    names = {p.parent.name for p in whole.glob("*/run.json")}
    if names != {p.parent.name for p in other.glob("*/run.json")}:
        wrong.append("other runs")
    for name in sorted(names & {p.name for p in other.iterdir()}):
        a, b = content(whole / name), content(other / name)
        wrong += [f"{name}: {key}" for key in a if repr(a[key]) != repr(b[key])]  # repr: NaN is NaN
    return wrong
