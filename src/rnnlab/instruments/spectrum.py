"""`RecurrentWeights`: the eigenvalues of the recurrent weights, which act on the state at every step."""

from typing import Any, cast

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from rnnlab.cells import Cell
from rnnlab.data.module import SequenceData
from rnnlab.figures.canvas import BLUE, GREY, INK, ORANGE, PALE, headline, panels, quiet
from rnnlab.instruments.instrument import Instrument
from rnnlab.instruments.probe import Probe
from rnnlab.tasks.task import Task


class RecurrentWeights(Instrument):
    """Eigenvalues of the top layer's W_hh; its spectral radius (their largest modulus) and 2-norm over the training. Of
    a gated cell it uses the candidate's block of W_hh, or the first block if no gate is named "candidate".

    They describe the linear part only: with a radius below 1 it forgets, above 1 it grows; tanh and gates change both.
    """

    name, title = "recurrent_weights", "eigenvalues of the recurrent weights"

    def __init__(self, every: int = 10) -> None:
        super().__init__(every)
        self.first: np.ndarray | None = None

    def look(self, task: Task, seen: Probe, data: SequenceData) -> dict[str, float]:
        stack = task.stack
        cell = cast(Cell, stack.layers[(stack.num_layers - 1) * stack.directions])
        matrix = candidate(cell)
        if matrix is None or not np.isfinite(matrix).all():  # of a training that its next loss will end
            return {}
        # computed by torch, with the training's number of threads; NumPy would use all cores
        self.values = torch.linalg.eigvals(torch.from_numpy(matrix)).numpy()
        self.of = called(cell)
        self.of += f" in layer {stack.num_layers}" if stack.num_layers > 1 else ""
        if self.first is None:
            self.first = self.values
        radius, norm = (
            float(np.abs(self.values).max()),
            float(torch.linalg.matrix_norm(torch.from_numpy(matrix), 2)),
        )
        self.remember(self.step, [radius, norm])
        return {"spectral_radius": radius, "recurrent_norm": norm}

    def draw(self, task: Task, data: SequenceData) -> Figure:
        figure, left, *rest = panels(10, 4.6, *([1, 1.25] if self.is_curve else [1]), narrow=self.narrow)
        quiet(left, "real part", "imaginary part")
        left.add_patch(Circle((0, 0), 1.0, fill=False, color=GREY, linewidth=1.2))
        left.axhline(0, color=PALE, linewidth=0.7)
        left.axvline(0, color=PALE, linewidth=0.7)
        if self.first is not None and self.first is not self.values:
            left.plot(self.first.real, self.first.imag, "o", mfc="none", mec=GREY, ms=4, mew=0.8,
                      label=f"at step {self.history[0][0]:,}")  # fmt: skip
        left.plot(self.values.real, self.values.imag, "o", color=ORANGE, ms=4, mec="white", mew=0.3,
                  label=f"at step {self.step:,}")  # fmt: skip
        limit = max(1.15, 1.1 * float(np.abs(self.values).max()))
        left.set_xlim(-limit, limit)
        left.set_ylim(-limit, limit)
        left.set_aspect("equal")
        below = -0.3 if self.narrow else -0.12
        left.legend(frameon=False, fontsize=8.5, loc="upper left", bbox_to_anchor=(0.0, below), ncol=2,
                    handletextpad=0.2, borderaxespad=0.4)  # fmt: skip
        left.set_title("eigenvalues and the unit circle", loc="left", fontsize=10.5)
        for right in rest:
            steps = [step for step, _ in self.history]
            marker = "o" if len(steps) < 25 else ""
            for i, (name, colour) in enumerate((("spectral radius", BLUE), ("2-norm", INK))):
                right.plot(steps, [found[i] for _, found in self.history], color=colour, linewidth=1.6,
                           marker=marker, markersize=3.5, label=name)  # fmt: skip
            quiet(right, "optimizer step", "")
            right.axhline(1.0, color=GREY, linewidth=1.0, linestyle=(0, (5, 3)))
            right.set_ylim(0, None)
            right.legend(frameon=False, fontsize=8.5, loc="best")
            right.set_title("over the training", loc="left", fontsize=10.5)
        headline(figure, f"Spectral radius {self.history[-1][1][0]:.2f}", f"{self.of}; {self.when}")
        return figure

    def state_dict(self) -> dict[str, Any]:
        first = None if self.first is None else [[float(v.real), float(v.imag)] for v in self.first]
        return super().state_dict() | {"first": first}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        first = state.get("first")
        self.first = None if first is None else np.array([complex(a, b) for a, b in first])


def candidate(cell: Cell) -> np.ndarray | None:
    """The matrix (H, H) with which the state enters the candidate, in float64; None where there is none.

    It is the candidate's own matrix, or its block of W_hh. For a cell without a gate named "candidate" it is the first
    block.
    """
    place, own = cell.gate_index("candidate"), getattr(cell, "weight_hn", None)
    if own is not None:
        return own.detach().cpu().double().numpy()
    weight = getattr(cell, "weight_hh", None)
    if weight is None or weight.dim() != 2 or weight.shape[0] % weight.shape[1]:
        return None
    blocks = weight.detach().cpu().double().numpy().reshape(-1, weight.shape[1], weight.shape[1])
    return blocks[place if place is not None and place < len(blocks) else 0]


def called(cell: Cell) -> str:
    """The name of the matrix that `candidate` returns."""
    if hasattr(cell, "weight_hn"):
        return "of the candidate's W_hn"
    assert cell.weight_hh is not None
    blocks, place = cell.weight_hh.shape[0] // cell.weight_hh.shape[1], cell.gate_index("candidate")
    if blocks > 1 and place is not None and place < blocks:
        return "of the candidate's block of W_hh"
    return "of W_hh" if blocks == 1 else f"of the first of {blocks} blocks of W_hh"
