"""The curves of one run, as small pictures for its page."""

import math
from typing import Any

import numpy as np

from rnnlab.report.leaderboard import number
from rnnlab.report.svg import Plot, plot
from rnnlab.report.units import loss_units_of
from rnnlab.runs.curves import smoothed
from rnnlab.runs.run import Run
from rnnlab.tensorboard.columns import DERIVED

BLUE, ORANGE = "var(--blue)", "var(--orange)"
PANEL = (440, 280)


def run_curves(run: Run) -> str:
    """Loss of training and validation, then every metric with its baselines and floor, then the gradient."""
    found, results = run.metrics, run.results
    lines = results.get("baselines", {}).get("val", {}) | {"floor": results.get("floor", {}).get("val", {})}

    def levels(metric: str | None, factor: float = 1.0) -> dict[str, float]:
        return {name: scores[metric] / factor for name, scores in lines.items() if metric in scores}

    panels = []
    loss = [(t, c) for t, c in (("loss/train", BLUE), ("loss/val", ORANGE)) if t in found]
    panels.append(_panel("loss", [(found[tag], colour) for tag, colour in loss], levels(*loss_units_of(run))))
    for tag in found:
        name = tag.removeprefix("metric/")
        if tag.startswith("metric/") and name not in DERIVED:
            panels.append(_panel(name, [(found[tag], ORANGE)], levels(name)))
    for tag in ("optim/grad_norm", "optim/lr"):
        if tag in found and np.ptp(found[tag][1]) > 0:
            panels.append(
                _panel(
                    tag.removeprefix("optim/").replace("_", " "), [(found[tag], BLUE)], {}, tag != "optim/lr"
                )
            )
    named = (("training", "blue"), ("validation", "orange"))
    key = "".join(f"<span><i class={colour}></i>{name}</span>" for name, colour in named)
    drawn = [str(panel) for panel in panels if panel is not None]
    return (
        f"<div class=panels>{''.join(f'<div>{d}</div>' for d in drawn)}</div><p class=key>{key}</p>"
        if drawn
        else ""
    )


def _panel(title: str, curves: list[Any], levels: dict[str, float], log: bool = True) -> Plot | None:
    """Curves over steps, with lines across; without what is not finite."""
    shown = []
    for (steps, values), colour in curves:
        sound = np.isfinite(values)
        if sound.any():
            shown.append((*smoothed(steps[sound], values[sound]), colour))
    if not shown:
        return None
    values = np.concatenate([v for _, v, _ in shown])
    picture = plot(
        [int(s) for steps, _, _ in shown for s in (steps[0], steps[-1])],
        [float(values.min()), float(values.max())],
        PANEL, "optimizer step", title, log_x=False, log_ratio=8.0 if log else math.inf, levels=levels,
    )  # fmt: skip
    for steps, curve, colour in shown:
        if len(steps) == 1:
            picture.dot(int(steps[0]), float(curve[0]), colour, number(float(curve[0])))
        picture.line(list(zip(steps.tolist(), curve.tolist(), strict=True)), colour)
    return picture
