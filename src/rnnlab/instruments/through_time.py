"""`GradientThroughTime` and `Memory`: how far back the gradient reaches, and how many steps of input a model needs."""

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure

from rnnlab.data.module import SequenceData
from rnnlab.errors import counted
from rnnlab.figures.canvas import BLUE, GREY, INK, headline, panels, quiet, whole
from rnnlab.figures.learning import plain_ticks
from rnnlab.instruments.instrument import Instrument
from rnnlab.instruments.probe import Probe, trace
from rnnlab.tasks.task import Task

GONE = 0.01  # a gradient below this share of that at the last step counts as vanished
SHOWN = 8  # the most validations with a curve in the figure


class GradientThroughTime(Instrument):
    """The norm of dL/dh_t against t, L the loss at the sequences' ends, h_t the top layer's output.

    `gradient_lag` is the first lag at which the norm is below 1% of that at the last step (Bengio, Simard and
    Frasconi 1994 on why it falls); the whole length where it never is. `gradient_ratio` is first over last.
    """

    name, title = "gradient_through_time", "how far back the gradient reaches"

    def look(self, task: Task, seen: Probe, data: SequenceData) -> dict[str, float]:
        norms = gradient_norms(task, seen)
        self.remember(self.step, norms.tolist(), limit=4 * SHOWN)
        ratio = norms / max(norms[-1], 1e-300)
        return {"gradient_lag": float(lag(ratio)), "gradient_ratio": float(ratio[0])}

    def draw(self, task: Task, data: SequenceData) -> Figure:
        figure, axes = panels(9, 4, 1, narrow=self.narrow)
        lags = -np.arange(len(self.history[0][1]))[::-1]
        picks = sorted({int(i) for i in np.linspace(0, len(self.history) - 1, SHOWN)})
        colours = colormaps["Blues"](np.linspace(0.3, 0.95, len(picks)))
        least = 1e-12
        for colour, i in zip(colours, picks, strict=True):
            step, norms = self.history[i]
            values = np.maximum(np.array(norms) / max(norms[-1], 1e-300), least)
            newest = i == len(self.history) - 1
            axes.plot(lags, values, color=colour, linewidth=2.4 if newest else 1.2, label=f"step {step:,}")
        quiet(axes, "steps before the end", "norm of dL/dh, relative to the last step")
        axes.set_yscale("log")
        axes.axhline(GONE, color=GREY, linewidth=1.0, linestyle=(0, (5, 3)))
        axes.text(lags[0], GONE * 1.15, "1%", color=GREY, fontsize=8.5)
        axes.margins(x=0.01)
        whole(axes.xaxis)
        if self.narrow:
            figure.set_figheight(4.2)
            axes.legend(frameon=False, fontsize=8.5, loc="upper center", bbox_to_anchor=(0.45, -0.18), ncol=3)
        else:
            axes.legend(frameon=False, fontsize=8.5, loc="center left", bbox_to_anchor=(1.0, 0.5))
        ratio = np.array(self.history[-1][1]) / max(self.history[-1][1][-1], 1e-300)
        found = lag(ratio)
        message = (f"The gradient is below 1% after {counted(found, 'step')}" if found < len(ratio)
                   else "The gradient reaches the beginning of the sequence")  # fmt: skip
        headline(figure, message, f"first over last {ratio[0]:.2g}; {self.when}")
        return figure


def gradient_norms(task: Task, seen: Probe) -> np.ndarray:
    """|dL/dh_t| (T,) for the top layer, where L is the mean over the probe's sequences; the norms in float64."""
    with torch.enable_grad():
        start = seen.x.detach()
        run = trace(task, start)
        top = run.steps[-1]
        gradients = torch.autograd.grad(task.end_loss(run.y, seen), top)
    return np.array([float(g.cpu().double().norm()) for g in gradients])


def lag(ratio: np.ndarray) -> int:
    """The first lag at which a curve (T,), relative to its end, is below `GONE`; T where it never is."""
    gone = np.flatnonzero(~(ratio[::-1] >= GONE))
    return int(gone[0]) if len(gone) else len(ratio)


class Memory(Instrument):
    """The loss of the model on only the last k steps of each sequence, against k.

    `memory_steps` is the least k from which on the loss is at most 1% above that with the whole sequence.
    """

    name, title = "memory", "how far back the input counts"

    def look(self, task: Task, seen: Probe, data: SequenceData) -> dict[str, float]:
        self.kept, self.losses = ablated(task, seen)
        found = reach(self.kept, self.losses)
        self.remember(self.step, found)
        return {"memory_steps": float(found)}

    def draw(self, task: Task, data: SequenceData) -> Figure:
        figure, left, *rest = panels(10, 4, *([2, 1] if self.is_curve else [1]), narrow=self.narrow)
        quiet(left, "steps of the input that are kept", "loss at the end")
        left.plot(self.kept, self.losses, color=BLUE, linewidth=1.8, marker="o", markersize=3.5)
        left.axhspan(self.losses[-1] / 1.01, self.losses[-1] * 1.01, color=GREY, alpha=0.25, linewidth=0)
        left.set_xscale("log", base=2)
        named = [k for k in self.kept if k & (k - 1) == 0 and k < 0.8 * self.kept[-1]] + [self.kept[-1]]
        left.set_xticks(named, [str(k) for k in named], rotation=0)
        left.minorticks_off()
        if min(self.losses) > 0 and max(self.losses) / min(self.losses) > 8:
            left.set_yscale("log")
            plain_ticks(left, np.array(self.losses))
        left.axvline(self.history[-1][1], color=INK, linewidth=1.0, linestyle=(0, (1, 1.5)))
        left.set_title("grey: within 1% of the loss with all of it", loc="left", fontsize=10.5)
        for right in rest:
            quiet(right, "optimizer step", "steps that are needed")
            right.plot(*zip(*self.history, strict=True), color=INK, linewidth=1.5, marker="o", markersize=3.5)
            right.set_ylim(0, self.kept[-1] * 1.08)
            whole(right.yaxis)
            whole(right.xaxis)
            right.set_title("over the training", loc="left", fontsize=10.5)
        needed = self.history[-1][1]
        last = f"{needed} steps" if needed != 1 else "step"
        headline(figure, f"The model needs the last {last}", f"of {self.kept[-1]}; {self.when}")
        return figure


def ablated(task: Task, seen: Probe) -> tuple[list[int], list[float]]:
    """Lengths k, and the losses with only the last k steps of the input. k are the powers of two and the whole length;
    then the least sufficient k is found by bisection.
    """
    length = seen.x.shape[1]

    def loss(k: int) -> float:
        return float(task.end_loss(trace(task, seen.x[:, -k:]).y, seen))

    found = {k: loss(k) for k in [*(2**i for i in range(length.bit_length()) if 2**i < length), length]}
    needed = reach([*found], [*found.values()])
    short = max((k for k in found if k < needed), default=0)
    while needed - short > 1:
        middle = (needed + short) // 2
        found[middle] = loss(middle)
        if enough(found[middle], found[length]):
            needed = middle
        else:
            short = middle
    kept = sorted(found)
    return kept, [found[k] for k in kept]


def enough(loss: float, whole: float) -> bool:
    """Whether `loss` is at most 1% above `whole`, the loss with the whole sequence."""
    return loss <= whole + 0.01 * abs(whole)


def reach(kept: list[int], losses: list[float]) -> int:
    """The least of `kept` from which on all losses are `enough`."""
    needed = kept[-1]
    for k, loss in zip(reversed(kept), reversed(losses), strict=True):
        if not enough(loss, losses[-1]):
            break
        needed = k
    return needed
