"""In which units a loss is: the metric that it is, but for a factor."""

import math

from rnnlab.runs.run import Run


def loss_units_of(run: Run) -> tuple[str | None, float]:
    """`Task.loss_units` of a run that is not loaded, from its results: its best loss beside its best metrics."""
    metrics = run.results.get("best", {}).get("metrics", {})
    loss = metrics.get("loss/val")
    wanted = run.config["model"].get("loss")
    for name in ("nats", "cross_entropy", "mse", "mae"):
        value = metrics.get(f"metric/{name}")
        if loss and value and math.isfinite(value / loss) and value / loss and wanted in (None, name):
            return name, value / loss
    return None, 1.0
