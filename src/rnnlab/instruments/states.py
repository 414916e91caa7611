"""`States`: the hidden units on fixed sequences, with shares of saturated gates and dead units."""

from typing import cast

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rnnlab.cells import Cell, Gate
from rnnlab.data.module import SequenceData
from rnnlab.figures.canvas import BLUE, GREY, ORANGE, headline, panels, quiet, whole
from rnnlab.instruments.instrument import Instrument
from rnnlab.instruments.probe import Probe, trace
from rnnlab.tasks.task import Task

STUCK = 0.01  # a gate nearer than this to a limit of its range is saturated
DEAD = 1e-3  # a unit with a smaller standard deviation over steps and sequences is dead
UNITS = 96  # the most units that a heat map shows


class States(Instrument):
    """A heat map of the units over time on one sequence, and the share of saturated gates and of dead units.

    A gate is saturated where it is within 1% of an end of its range: 0 and 1, or -1 and 1. A unit is dead where
    its output hardly moves over all steps and sequences of the probe.
    """

    name, title = "states", "states of the hidden units"

    def look(self, task: Task, seen: Probe, data: SequenceData) -> dict[str, float]:
        run = trace(task, seen.x)
        self.h = [torch.stack(steps) for steps in run.steps]  # (T, B, H) of each layer
        self.saturated = {
            f"layer {i + 1} {gate.name}" if len(run.gates) > 1 else gate.name: saturation(
                gate, gates[gate.name]
            )
            for i, gates in enumerate(run.gates)
            for gate in cast(Cell, task.stack.layers[i * task.stack.directions]).named_gates
            if gate.squeeze not in ("exp", "linear")  # their range has no two ends
        }
        self.dead = float(np.mean([dead(h) for h in self.h]))
        self.remember(self.step, self.dead)
        found = {"dead_units": self.dead, "state_norm": float(self.h[-1].norm(dim=-1).mean())}
        if self.saturated:
            found["saturated"] = float(np.mean(list(self.saturated.values())))
        return found

    def draw(self, task: Task, data: SequenceData) -> Figure:
        widths = (2.4, 1) if self.saturated else (1,)  # dead units alone are in the headline
        figure, left, *beside = panels(10, 4.6, *widths, narrow=self.narrow)
        h = self.h[-1]
        moving = h.std(dim=(0, 1)).argsort(descending=True)[:UNITS]
        shown = h[:, 0, moving].T.float().cpu().numpy()  # (units, T), the most active on top
        limit = float(max(np.abs(shown).max(), 1e-6))
        limit = 1.0 if 0.3 < limit <= 1 else limit
        picture = left.imshow(shown, aspect="auto", cmap="RdBu_r", vmin=-limit, vmax=limit,
                              interpolation="nearest")  # fmt: skip
        quiet(left, "step of the sequence", "hidden unit, the liveliest on top")
        left.grid(False)
        whole(left.xaxis)
        whole(left.yaxis)
        left.set_title("output of the top layer, one sequence", loc="left", fontsize=10.5)
        bar = figure.colorbar(picture, ax=left, pad=0.01, aspect=30)
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=8.5, color=GREY)
        for axes in beside:
            self._shares(axes)
        units = f"{h.shape[-1] * len(self.h)} units"
        message = f"{100 * self.dead:.3g}% of {units} are dead" if self.dead else f"All {units} move"
        headline(figure, message, self.when)
        return figure

    def _shares(self, axes: Axes) -> None:
        """Bars with the shares of saturated gates and of dead units."""
        names = [*self.saturated, "dead units"]
        shares = [*self.saturated.values(), self.dead]
        colours = [BLUE] * len(self.saturated) + [ORANGE]
        places = np.arange(len(names))[::-1]
        axes.barh(places, [100 * s for s in shares], color=colours, height=0.6)
        quiet(axes, "percent", "")
        axes.grid(axis="y", visible=False)
        axes.set_yticks(places, names)
        axes.set_xlim(0, max(10.0, 115 * max(shares)))
        for place, share in zip(places, shares, strict=True):
            axes.annotate(f"{100 * share:.1f}", (100 * share, place), (4, 0), textcoords="offset points",
                          va="center", fontsize=8.5)  # fmt: skip
        axes.set_title("saturated, dead", loc="left", fontsize=10.5)


def saturation(gate: Gate, values: torch.Tensor) -> float:
    """The share of a gate's values within `STUCK` of an end of its range."""
    if gate.squeeze != "sigmoid":
        return float((values.abs() > 1 - STUCK).cpu().double().mean())
    return float(((values < STUCK) | (values > 1 - STUCK)).cpu().double().mean())


def dead(h: torch.Tensor) -> float:
    """The share of dead units in h (T, B, H)."""
    return float((h.cpu().double().std(dim=(0, 1)) < DEAD).double().mean())
