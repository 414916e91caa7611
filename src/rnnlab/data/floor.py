"""The Bayes error of forecasting a known signal seen through noise at an unknown position.

A perfect model knows amplitudes, frequencies and noise of a sum of sines, but not the position of a window on it. It
must average over the positions that it cannot tell apart. So the expected squared error of the best forecast is the
noise of the target plus the posterior variance of its clean value. No model that sees only the window has a lower
expected error.

With c(t) the clean window at position t and z the noisy one, p(t | z) ~ exp(-|z - c(t)|^2 / 2 sigma^2) under
a uniform prior.
"""

from collections.abc import Sequence
from math import ceil, log10

import numpy as np

from rnnlab.memory import check_memory

SAMPLES = 1024  # noisy windows, at evenly spaced true positions
AT_ONCE = 64
SETS = 16  # groups of noisy windows, whose spread gives the standard error
RADIANS = 500.0  # the longest stretch of several sines, in radians of the fastest
NEGLIGIBLE = 20.0  # a position is dropped where its weight is below exp(-20) of the true position's


def rounded(value: float, error: float) -> float:
    """A value rounded by its standard error: one unit of its last digit is at least two standard errors."""
    return round(value, -ceil(log10(2 * error))) if error > 0 and value else value


def estimate(
    amplitudes: Sequence[float],
    frequencies: Sequence[float],
    step: float,
    window: int,
    horizon: int,
    noise_std: float,
    length: float,
    generator: np.random.Generator,
) -> tuple[float, float]:
    """The expected posterior variance of the next clean values given a noisy window, averaged over the horizon, and its
    standard error.

    `step` is the time between two points, `length` the time over which a window may start. A single sine is periodic,
    so its position is uniform over one period, for any length. The position on several sines is uniform over the
    length, of which at most `RADIANS` are used.

    The integral over true positions is a quadrature, that over the noise is Monte Carlo, and the posterior is an exact
    sum: cells of positions are halved until they are finer than the posterior is wide, and dropped when the whole cell
    is too far from the noisy window. So the cost grows only with log(1/noise_std).
    """
    terms = [(a, w) for a, w in zip(amplitudes, frequencies, strict=True) if a and w]
    if not terms or not noise_std or not length:
        return 0.0, 0.0
    a, w = np.array(terms).T
    length = 2 * np.pi / abs(w[0]) if len(terms) == 1 else min(length, RADIANS / np.abs(w).max())
    phase = np.outer(w, step * np.arange(window + horizon))
    turn = np.vstack([np.cos(phase), np.sin(phase)])

    def signal(t: np.ndarray) -> np.ndarray:  # (n,) -> (n, window + horizon)
        at = np.outer(t, w)
        return np.hstack([a * np.sin(at), a * np.cos(at)]) @ turn

    speed = np.sqrt(window) * np.abs(a * w).sum()  # |dc/dt| is nowhere larger
    cells = int(np.ceil(2 * length * np.abs(w).max()))
    check_memory(16.0 * AT_ONCE * cells * window, f"data.window={window}: the floor of several sines")
    centres = (np.arange(cells) + 0.5) * length / cells
    coarse = signal(centres)[:, :window]
    variance = []
    for truths in np.split((np.arange(SAMPLES) + 0.5) * length / SAMPLES, SAMPLES // AT_ONCE):
        truth, noise = signal(truths), noise_std * generator.standard_normal((AT_ONCE, window))
        seen, energy = truth[:, :window] + noise, np.square(noise).sum(1)
        reach = np.sqrt(energy + 2 * NEGLIGIBLE * noise_std**2)

        width = length / cells
        distance = np.sqrt(np.square(seen[:, None] - coarse).sum(2))
        sample, cell = np.nonzero(distance - speed * width / 2 <= reach[:, None])
        t = centres[cell]
        while True:
            distance = np.sqrt(np.square(seen[sample] - signal(t)[:, :window]).sum(1))
            near = distance - speed * width / 2 <= reach[sample]
            t, sample, distance = t[near], sample[near], distance[near]
            if width <= noise_std / speed:
                break
            width /= 2
            t, sample = np.concatenate([t - width / 2, t + width / 2]), np.concatenate([sample, sample])

        weight = np.exp((energy[sample] - distance**2) / (2 * noise_std**2))
        weight /= np.bincount(sample, weight, AT_ONCE)[sample]
        off = signal(t)[:, window:] - truth[sample, window:]  # (n, horizon)
        for step_off in off.T:
            bias = np.bincount(sample, weight * step_off, AT_ONCE)
            variance.append(np.bincount(sample, weight * step_off**2, AT_ONCE) - bias**2)
    by_sample = np.reshape(variance, (-1, horizon, AT_ONCE)).mean(1)
    by_set = by_sample.reshape(-1, SETS).mean(0)  # in each set, too, the positions are evenly spaced
    return float(by_sample.mean()), float(by_set.std(ddof=1) / SETS**0.5)
