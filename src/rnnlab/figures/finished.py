"""What a finished run of each task is shown by."""

from pathlib import Path
from typing import Any

from rnnlab.data.chars import Chars
from rnnlab.data.module import SPLITS, Split
from rnnlab.data.windows import Windowed
from rnnlab.figures import forecast as forecast_figure
from rnnlab.figures import text_sample
from rnnlab.figures.canvas import PART, canvas, headline, save
from rnnlab.figures.learning import WORDS, Learning, draw, learning
from rnnlab.runs.files import write_whole
from rnnlab.runs.run import Run
from rnnlab.tasks import CharLM, Classifier, Forecaster


def portrait(run: Run, task: Any, data: Any) -> list[Path]:
    """Draws what fits the task; returns the files."""
    if isinstance(task, Forecaster):
        return forecaster(run, task, data)
    if isinstance(task, CharLM):
        return char_lm(run, task, data)
    if isinstance(task, Classifier):
        return classifier(run, data)
    return []


def forecaster(run: Run, task: Forecaster, data: Any) -> list[Path]:
    metric = "mae" if task.loss_name == "mae" else "mse"
    scales, factor = set(task.spec["target_scale"]), None
    if len(scales) == 1 and task.loss_name != "huber":  # then the loss is the metric in other units
        factor = scales.pop() ** (1 if metric == "mae" else 2)
    curve = curve_of(run, data, metric, factor)
    title = message(run, data, curve)
    if isinstance(data, Windowed):
        figure = forecast_figure.finished(task, data, last_part(data), title, curve)
        return [save(figure, run.figures / "forecast.png")]
    figure = canvas(9, 4)
    draw(figure.subplots(), curve)
    headline(figure, *title)
    return [save(figure, run.figures / "learning.png")]


def char_lm(run: Run, task: CharLM, data: Any) -> list[Path]:
    figure = canvas(9, 4)
    curve = curve_of(run, data, "nats", 1.0)
    draw(figure.subplots(), curve, log=False)
    headline(figure, *message(run, data, curve))
    files = [save(figure, run.figures / "learning.png")]
    if isinstance(data, Chars):
        run.samples.mkdir(parents=True, exist_ok=True)
        files.append(run.samples / "sample.txt")
        write_whole(files[-1], text_sample.sample(task, data).encode("utf-8", "surrogatepass"))
    return files


def classifier(run: Run, data: Any) -> list[Path]:
    figure = canvas(10, 4)
    left, right = figure.subplots(1, 2)
    draw(left, curve_of(run, data, "cross_entropy", 1.0), log=False)
    curve = curve_of(run, data, "accuracy", None)
    draw(right, curve, log=False)
    headline(figure, *message(run, data, curve))
    return [save(figure, run.figures / "learning.png")]


def curve_of(run: Run, data: Any, metric: str, train_factor: float | None) -> Learning:
    watched = watched_part(data)
    return learning(run, metric, train_factor, data.baselines(watched), data.floor(watched))


def last_part(data: Any) -> Split:
    """The test part; where it is empty the validation part, and at last the training part."""
    for split in SPLITS[:0:-1]:
        if data.loader(split) is not None:
            return split
    return "train"


def watched_part(data: Any) -> Split:
    """The part that the learning curve is compared on: the validation part, without one the training part."""
    return "train" if data.loader("val") is None else "val"


def message(run: Run, data: Any, curve: Learning) -> tuple[str, str]:
    """What the run came to: its score, and the floor and baselines that it stands beside.

    The score is the test part's; where there is none the best on the validation part, or the last in training.
    """
    results, metric, split = run.results, curve.metric, last_part(data)
    value = results.get("test", {}).get(metric) if split == "test" else None
    if value is None:
        split = watched_part(data)
        value = results.get("best", {}).get("metrics", {}).get(f"metric/{metric}")
    if value is None and split == "train" and curve.train is not None:
        value = curve.train[1][-1]
    name = run.record.get("experiment", run.folder.parent.name)
    words = WORDS.get(metric, metric)
    if value is None:
        return f"{name}: {words} by step", ""
    beside = {n: s[metric] for n, s in data.baselines(split).items() if metric in s}
    if (floor := data.floor(split).get(metric)) is not None:
        beside[curve.floor_name] = floor
    compared = ", ".join(f"{n} {v:.3g}" for n, v in sorted(beside.items(), key=lambda item: item[1]))
    return f"{name}: {PART[split]} {words} {value:.3g}", f"({compared})" if compared else ""
