"""Draws the figures and writes the samples of a finished run, as its task describes them."""

from pathlib import Path
from typing import cast

import numpy as np
from lightning.pytorch import LightningModule

from rnnlab.data.module import SPLITS, SequenceData, Split
from rnnlab.data.windows import Windowed
from rnnlab.figures import forecast as forecast_figure
from rnnlab.figures.canvas import PART, alike, canvas, headline, save
from rnnlab.figures.learning import WORDS, Learning, draw, learning
from rnnlab.figures.units import record_units
from rnnlab.runs.files import write_whole
from rnnlab.runs.run import Run
from rnnlab.tasks import Forecaster
from rnnlab.tasks.task import Task


@alike()
def draw_finished(run: Run, task: LightningModule, data: SequenceData) -> list[Path]:
    """Draws the figures and writes the samples of a run; returns the files, none for a task that is not rnnlab's."""
    if not isinstance(task, Task):
        return []
    panels = task.panels()
    curves = [curve_of(run, data, panel.metric, panel.factor) for panel in panels]
    title = message(run, data, curves[-1])
    if task.forecasts and isinstance(data, Windowed):
        figure = forecast_figure.finished(cast(Forecaster, task), data, last_part(data), title, curves[-1])
        files = [save(figure, run.figures / "forecast.png")]
    else:
        figure = canvas(8 + len(panels), 4)
        for axes, curve, panel in zip(
            np.atleast_1d(figure.subplots(1, len(panels))), curves, panels, strict=True
        ):
            draw(axes, curve, log=panel.log)
        headline(figure, *title)
        files = [save(figure, run.figures / "learning.png")]
    if (text := task.text_sample(data)) is not None:
        run.samples.mkdir(parents=True, exist_ok=True)
        files.append(run.samples / "sample.txt")
        write_whole(files[-1], text.encode("utf-8", "surrogatepass"))
    if (states := record_units(run, task, data)) is not None:
        files.append(states)
    return files


def curve_of(run: Run, data: SequenceData, metric: str, train_factor: float | None) -> Learning:
    watched = data.held_out()
    return learning(run, metric, train_factor, data.baselines(watched), data.floor(watched))


def last_part(data: SequenceData) -> Split:
    """The last part that is not empty: test, validation or training."""
    for split in SPLITS[:0:-1]:
        if data.loader(split) is not None:
            return split
    return "train"


def message(run: Run, data: SequenceData, curve: Learning) -> tuple[str, str]:
    """The title of a run's figure: its score, and the floor and baselines to compare with.

    The score is that on the test part; without one the best on the validation part, or else the last in training.
    """
    results, metric, split = run.results, curve.metric, last_part(data)
    value = results.get("test", {}).get(metric) if split == "test" else None
    if value is None:
        split = data.held_out()
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
    compared += "; all fitted to this part" if split == "train" and compared else ""
    return f"{name}: {PART[split]} {words} {value:.3g}", f"({compared})" if compared else ""
