"""Runs as a training leaves them, for what looks at many."""

from rnnlab.runs.run import Run


def finished(folder, name, seed, data, scores, *, model=None, baselines=None, floor=None, mode="min"):
    """A finished run as a training writes it; `scores` are its best metrics, of which it watched the loss."""
    config = {"model": {"_target_": "m.M", "loss": "mse"} | (model or {}), "data": data | {"seed": seed},
              "seed": seed, "mode": mode}  # fmt: skip
    run = Run(folder / f"{name}+seed-{seed}-0123456789ab")
    run.create(f"{name}{seed}", "exp", config, [], group=name, label=name)
    best = {"value": scores["loss/val"], "monitor": "loss/val", "step": 2, "metrics": scores}
    results = {
        "best": best,
        "steps": 10,
        "baselines": {"val": baselines or {}},
        "floor": {"val": floor or {}},
    }
    run.update(status="finished", results=results, seconds=2.0)
    return run
