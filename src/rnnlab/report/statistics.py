"""Statistics with Student's t: intervals, paired tests, the number of seeds that a difference needs, Holm's method."""

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

LEVEL = 0.95
POWER = 0.8  # probability that the suggested number of seeds shows a difference as large as the observed one
MOST = 10_000  # the most seeds that are suggested
NAN = float("nan")


class Scale(NamedTuple):
    """A scale on which a score's distribution is symmetric: `to` maps scores to it, `back` maps back."""

    to: Callable[[np.ndarray], np.ndarray]
    back: Callable[[float], float]


PLAIN = Scale(lambda x: x, lambda y: y)


def _exp(x: float) -> float:
    """exp(x), infinite where it exceeds the range of floats."""
    with np.errstate(over="ignore"):
        return float(np.exp(x))


LOG = Scale(np.log, _exp)
LOGIT = Scale(lambda p: np.log(p / (1 - p)), lambda y: 1 / (1 + _exp(-y)))


GREATER = ("accuracy", "f1", "auroc")  # rnnlab's metrics where more is better


def scale_of(values: np.ndarray, more_is_better: bool) -> Scale:
    """The scale for values: the logarithm for errors and losses, which are positive and vary by factors; where more is
    better, the logit for values between 0 and 1, such as accuracies.
    """
    if more_is_better:
        return LOGIT if bool(((values > 0) & (values < 1)).all()) else PLAIN
    return LOG if bool((values > 0).all()) else PLAIN


def interval(values: np.ndarray, more_is_better: bool = False, level: float = LEVEL) -> tuple[float, float]:
    """The t interval of the typical run, the mean of `values` (n,) on their scale; NaN for fewer than two."""
    n = len(values)
    if n < 2:
        return NAN, NAN
    scale = scale_of(values, more_is_better)
    at = scale.to(values)
    half = t_quantile(0.5 + level / 2, n - 1) * float(at.std(ddof=1)) / math.sqrt(n)
    centre = float(at.mean())
    return scale.back(centre - half), scale.back(centre + half)


class Test(NamedTuple):
    """The t test of paired differences (n,)."""

    n: int
    mean: float
    std: float

    @classmethod
    def of(cls, differences: np.ndarray) -> "Test":
        n = len(differences)
        return cls(n, float(differences.mean()), float(differences.std(ddof=1)) if n > 1 else NAN)

    @property
    def t(self) -> float:
        if not self.std:
            return math.copysign(math.inf, self.mean) if self.mean else 0.0
        return self.mean / (self.std / math.sqrt(self.n))

    @property
    def p(self) -> float:
        """The two-sided p-value for no difference; NaN for a single pair."""
        return NAN if self.n < 2 else 2 * t_cdf(-abs(self.t), self.n - 1)

    @property
    def below(self) -> float:
        """The posterior probability that the true mean is below zero, with a flat prior of mean and log std."""
        return NAN if self.n < 2 else t_cdf(-self.t, self.n - 1)

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        if self.n < 2:
            return NAN, NAN
        half = t_quantile(0.5 + level / 2, self.n - 1) * self.std / math.sqrt(self.n)
        return self.mean - half, self.mean + half

    def needed(self, level: float = LEVEL, power: float = POWER) -> int | None:
        """How many pairs are needed to show a difference of this size and spread with this power; None above `MOST`."""
        if self.n < 2 or not self.mean:
            return None
        ratio = self.std / abs(self.mean)
        low, high = 2, MOST

        def enough(n: int) -> bool:
            reach = t_quantile(0.5 + level / 2, n - 1) + t_quantile(power, n - 1)
            return reach * ratio <= math.sqrt(n)

        if not enough(high):
            return None
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if enough(middle) else (middle + 1, high)
        return low


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) adjusted p-values, which control the family-wise error rate: rejecting all below a level is wrong
    anywhere with at most this probability.
    """
    adjusted, largest = [NAN] * len(p_values), 0.0
    known = sorted((p, i) for i, p in enumerate(p_values) if p == p)
    for rank, (p, i) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        adjusted[i] = largest
    return adjusted


def t_cdf(t: float, df: int) -> float:
    """P(T <= t) of Student's t with `df` degrees of freedom."""
    if math.isinf(t):
        return float(t > 0)
    tail = 0.5 * _incomplete_beta(df / 2, 0.5, df / (df + t * t))
    return 1 - tail if t > 0 else tail


@cache
def t_quantile(p: float, df: int) -> float:
    """The t with P(T <= t) = p, by bisection."""
    if p < 0.5:
        return -t_quantile(1 - p, df)
    low, high = 0.0, 2.0
    while t_cdf(high, df) < p:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if t_cdf(middle, df) < p else (low, middle)
    return (low + high) / 2


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised I_x(a, b) by its continued fraction (DLMF 8.17.22), evaluated from the front (Lentz 1976)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(b, a, 1 - x)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    c, d, value, tiny = 1.0, 0.0, 1.0, 1e-300
    for i in range(400):
        m = i // 2
        if i == 0:
            term = 1.0
        elif i % 2 == 0:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        else:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 / (1 + term * d or tiny)
        c = 1 + term / c or tiny
        value *= c * d
        if i and abs(c * d - 1) < 1e-15:
            break
    return math.exp(log_front) / a * (value - 1)
