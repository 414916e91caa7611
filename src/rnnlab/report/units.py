"""In which units a loss is: the metric that it is, but for a factor."""

import math
from typing import Any

from rnnlab.runs.run import Run


def loss_units(task: Any) -> tuple[str | None, float]:
    """The metric that the loss is, and the factor that takes the loss to it; (None, 1) where it is none."""
    if task.kind != "series":
        return ("nats" if "nats" in task.metrics else "cross_entropy"), 1.0
    scales = set(task.spec["target_scale"])
    if len(scales) != 1 or task.loss_name == "huber":
        return None, 1.0
    scale = float(scales.pop())
    return task.loss_name, scale if task.loss_name == "mae" else scale**2


def loss_units_of(run: Run) -> tuple[str | None, float]:
    """`loss_units` of a run that is not loaded, from its results: its best loss beside its best metrics."""
    metrics = run.results.get("best", {}).get("metrics", {})
    loss = metrics.get("loss/val")
    wanted = run.config["model"].get("loss")
    for name in ("nats", "cross_entropy", "mse", "mae"):
        value = metrics.get(f"metric/{name}")
        if loss and value and math.isfinite(value / loss) and value / loss and wanted in (None, name):
            return name, value / loss
    return None, 1.0
