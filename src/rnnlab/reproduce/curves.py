"""Compares two runs' curves: the first step at which they differ, and by how much."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rnnlab.regular_files import read_file
from rnnlab.runs.metrics import BYTES
from rnnlab.runs.run import Run

Curves = dict[str, tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Divergence:
    """How two metrics.csv differ. `largest` is the largest relative difference; infinite where only one is finite."""

    bitwise: bool
    first: tuple[int, str] | None = None  # the first step at which a value differs, and its metric
    largest: float = 0.0
    largest_at: tuple[int, str] | None = None
    only: tuple[str, ...] = ()  # metrics that only one of them has
    ended: tuple[int, int] | None = None  # the last steps of both, where one ends before the other
    until: "Divergence | None" = None  # in this case: how they differ up to the shorter one's end

    def __str__(self) -> str:
        if self.bitwise:
            return "the curves are the same, bit for bit"
        if self.ended is not None and self.until is not None:
            short, long = self.ended
            said = f"the curves agree up to step {short:,}" if self.until.first is None else str(self.until)
            return f"{said}; there one run ends, and the other goes on to step {long:,}"
        if self.first is None:
            other = (
                f"only one has {', '.join(self.only)}"
                if self.only
                else "a sign of 0 or the order of lines differs"
            )
            return f"the curves agree where both have values; {other}"
        assert self.largest_at is not None
        return (f"the curves part at step {self.first[0]:,} ({self.first[1]}); the largest relative difference is "
                f"{self.largest:.2g} ({self.largest_at[1]}, step {self.largest_at[0]:,})")  # fmt: skip


def divergence(ours: Run, theirs: Run) -> Divergence:
    """Compares all scalars of two runs, step by step."""
    if same_bytes(ours.metrics_file, theirs.metrics_file):
        return Divergence(bitwise=True)
    a, b = ours.metrics, theirs.metrics
    only = tuple(sorted(a.keys() ^ b.keys()))
    last = [max((int(steps[-1]) for steps, _ in run.values() if len(steps)), default=0) for run in (a, b)]
    if len(set(last)) == 2:
        short, long = sorted(last)
        until = _compared(_cut(a, short), _cut(b, short), only)
        whole = _compared(a, b, only)
        return Divergence(False, whole.first, whole.largest, whole.largest_at, only, (short, long), until)
    return _compared(a, b, only)


def _cut(curves: Curves, step: int) -> Curves:
    """The curves up to a step."""
    return {name: (steps[steps <= step], values[steps <= step]) for name, (steps, values) in curves.items()}


def _compared(a: Curves, b: Curves, only: tuple[str, ...]) -> Divergence:
    firsts: list[tuple[int, str]] = []
    largest, at = 0.0, None
    for name in sorted(a.keys() & b.keys()):
        (steps, x), (others, y) = a[name], b[name]
        n = min(len(x), len(y))
        # several values at one step (after a resume in another tool) are compared in their order
        differ = (steps[:n] != others[:n]) | ((x[:n] != y[:n]) & ~(np.isnan(x[:n]) & np.isnan(y[:n])))
        found = np.flatnonzero(differ)
        if len(found):
            firsts.append((int(steps[found[0]]), name))
            apart = relative(x[found], y[found])
            apart[steps[found] != others[found]] = np.inf
            if (worst := float(apart.max())) > largest:
                largest, at = worst, (int(steps[found[apart.argmax()]]), name)
        if len(x) != len(y):
            longer = steps if len(x) > n else others
            firsts.append((int(longer[n]), name))
            largest, at = np.inf, (int(longer[n]), name)
    first = min(firsts, default=None)
    return Divergence(False, first, largest, at, only)


def relative(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """|x - y| over the larger magnitude; infinite where only one is finite."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        apart = np.abs(x - y) / np.maximum(np.abs(x), np.abs(y))
    return np.where(np.isfinite(apart), apart, np.where(x == y, 0.0, np.inf))


def same_bytes(a: Path, b: Path) -> bool:
    try:
        return a.stat().st_size == b.stat().st_size <= BYTES and read_file(a) == read_file(b)
    except FileNotFoundError:
        return a.exists() == b.exists()
    except OSError:  # such as a folder in its place, or no permission: reading it raises the error
        return False
