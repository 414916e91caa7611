"""Compares the files that trainings leave, bit by bit; for scripts/torture.py and the tests of resuming."""

import re
from pathlib import Path
from typing import Any

CLOCKED = ("speed/", "run/seconds")  # wall-clock values, which differ
# parts of a checkpoint about loops and files in progress; only their final results are compared
ON_THE_WAY = ("loops", "Recorder", "stock")


def content(folder: Path) -> dict[str, Any]:
    """The content of a run's folder that must have the same bits."""
    from rnnlab.runs.checksum import checksum_error
    from rnnlab.runs.run import Run

    run = Run(folder)
    found: dict[str, Any] = {"metrics.csv": run.metrics_file.read_bytes(), "status": run.status,
                             "results": run.results, "scalars": scalars(folder), "files": files(folder)}  # fmt: skip
    for name in (name for name in found["files"] if name.endswith(".ckpt")):
        found[f"checksum of {name}"] = checksum_error(folder / name)
        for part, value in checkpoint(folder / name, folder).items():
            found[f"{name}: {part}"] = value
    return found


def files(folder: Path) -> list[str]:
    """The names of a folder's files, without previous.ckpt, which exists only after two checkpoints."""
    names = (str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir())
    return sorted(name for name in names if name != "checkpoints/previous.ckpt")


def checkpoint(path: Path, folder: Path) -> dict[str, Any]:
    """A checkpoint's weights and states of optimizer, schedule and callbacks, in a comparable form."""
    import torch

    loaded = torch.load(path, weights_only=True)
    loaded |= {f"callback {name}": state for name, state in loaded.pop("callbacks", {}).items()}
    kept = {k: v for k, v in loaded.items() if k.removeprefix("callback ") not in ON_THE_WAY}
    return {key: plain(value, folder.name) for key, value in kept.items()}


def plain(value: Any, name: str) -> Any:
    """A value with tensors as bytes, and with paths relative to the run's folder `name`."""
    import torch

    if isinstance(value, torch.Tensor):
        return value.dtype, tuple(value.shape), value.contiguous().numpy().tobytes()
    if isinstance(value, dict):
        return {plain(k, name): plain(v, name) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v, name) for v in value]
    return re.sub(rf"[^'\"]*/{re.escape(name)}", name, value) if isinstance(value, str) else value


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
    """The differences between two experiments' folders, run by run."""
    wrong = []
    if not other.is_dir():
        return ["nothing"]
    names = {p.parent.name for p in whole.glob("*/run.json")}
    if not names:
        wrong.append("no run to compare with")
    if names != {p.parent.name for p in other.glob("*/run.json")}:
        wrong.append("other runs")
    for name in sorted(names & {p.name for p in other.iterdir()}):
        a, b = content(whole / name), content(other / name)
        # NaN equals NaN
        found = [key for key in dict.fromkeys([*a, *b]) if repr(a.get(key)) != repr(b.get(key))]
        wrong += [f"{name}: {key}" for key in found]
    return wrong
