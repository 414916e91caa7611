"""What a finished run of each task is shown by."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rnnlab.data.module import SPLITS, Split
from rnnlab.inspection import forecast_figure, text_sample
from rnnlab.inspection.canvas import PART, canvas, headline, save
from rnnlab.inspection.learning import draw, learning
from rnnlab.ledger.files import write_whole
from rnnlab.ledger.run import Run
from rnnlab.tasks import CharLM, Classifier, Forecaster


def portrait(run: Run, task: Any, data: Any, results: dict[str, Any]) -> list[Path]:
    """Draws what fits the task; returns the files."""
    for kind, draw_it in PORTRAITS.items():
        if isinstance(task, kind):
            return draw_it(run, task, data, results)
    return []


def forecaster(run: Run, task: Forecaster, data: Any, results: dict[str, Any]) -> list[Path]:
    metric = "mae" if task.loss_name == "mae" else "mse"
    scales = set(task.spec["target_scale"])
    factor = None
    if len(scales) == 1 and task.loss_name != "huber":  # then the loss is the metric in other units
        factor = scales.pop() ** (1 if metric == "mae" else 2)
    split = last_part(data)
    curve = learning(run, metric, factor, data.baselines("val"), data.floor("val"))
    figure = forecast_figure.finished(task, data, split, message(run, data, results, metric), curve)
    return [save(figure, run.figures / "forecast.png")]


def char_lm(run: Run, task: CharLM, data: Any, results: dict[str, Any]) -> list[Path]:
    figure = canvas(9, 4)
    curve = learning(run, "nats", 1.0, data.baselines("val"), data.floor("val"))
    draw(figure.subplots(), curve._replace(metric="nats per character"), log=False)
    headline(figure, *message(run, data, results, "nats"))
    run.samples.mkdir(parents=True, exist_ok=True)
    text = run.samples / "sample.txt"
    write_whole(text, text_sample.sample(task, data).encode("utf-8", "surrogatepass"))
    return [save(figure, run.figures / "learning.png"), text]


def classifier(run: Run, task: Classifier, data: Any, results: dict[str, Any]) -> list[Path]:
    figure = canvas(10, 4)
    left, right = figure.subplots(1, 2)
    baselines, floor = data.baselines("val"), data.floor("val")
    curve = learning(run, "cross_entropy", 1.0, baselines, floor)
    draw(left, curve._replace(metric="cross-entropy, nats"), log=False)
    draw(right, learning(run, "accuracy", None, baselines, floor), log=False)
    headline(figure, *message(run, data, results, "accuracy"))
    return [save(figure, run.figures / "learning.png")]


PORTRAITS: dict[type, Callable[..., list[Path]]] = {
    Forecaster: forecaster, CharLM: char_lm, Classifier: classifier,
}  # fmt: skip


def last_part(data: Any) -> Split:
    """The test part; where it is empty the validation part, and at last the training part."""
    for split in SPLITS[:0:-1]:
        if data.loader(split) is not None:
            return split
    return "train"


def message(run: Run, data: Any, results: dict[str, Any], metric: str) -> tuple[str, str]:
    """What the run came to: its score, and the floor and baselines that it stands beside."""
    split = last_part(data)
    value = results.get("test", {}).get(metric)
    if value is None or split != "test":
        value = results.get("best", {}).get("metrics", {}).get(f"metric/{metric}")
        split = "val" if data.loader("val") is not None else "train"
    name = run.record.get("experiment", run.folder.parent.name)
    words = metric.replace("_", "-").replace("nats", "nats per character")
    if value is None:
        return f"{name}: {words} by step", ""
    beside = {n: s[metric] for n, s in data.baselines(split).items() if metric in s}
    if (floor := data.floor(split).get(metric)) is not None:
        beside["best possible" if metric == "accuracy" else "floor"] = floor
    compared = ", ".join(f"{n} {v:.3g}" for n, v in sorted(beside.items(), key=lambda item: item[1]))
    return f"{name}: {PART[split]} {words} {value:.3g}", f"({compared})" if compared else ""
