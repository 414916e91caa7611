"""What is made of curves, each (steps (n,), values (n,)) as metrics.csv has them."""

import functools
from collections.abc import Sequence

import numpy as np

Curve = tuple[np.ndarray, np.ndarray]

POINTS = 120  # of a smoothed curve


def smoothed(steps: np.ndarray, values: np.ndarray) -> Curve:
    """Means of values over stretches of equal length, at the last step of each; as they are where few."""
    if len(steps) < 2 * POINTS:
        return steps, values
    ends = np.linspace(0, len(steps), POINTS + 1).astype(int)
    return steps[ends[1:] - 1], np.add.reduceat(values, ends[:-1]) / np.diff(ends)


def shared(curves: Sequence[Curve]) -> Curve:
    """The steps (n,) that all curves have, of which there is one at least, and their values there (curves, n).

    Where a curve has a step twice, as after a resume of another tool, its last value counts.
    """
    kept = [(*np.unique(steps[::-1], return_index=True), values[::-1]) for steps, values in curves]
    steps = functools.reduce(np.intersect1d, (own for own, _, _ in kept))
    return steps, np.stack([values[at[np.searchsorted(own, steps)]] for own, at, values in kept])
