"""`Sine`: a sum of sines with noise, of which the lowest possible error is known."""

from collections.abc import Sequence
from functools import cache
from typing import Literal

import numpy as np

from rnnlab import streams
from rnnlab.config import data_schema as schema
from rnnlab.config.arguments import check_arguments
from rnnlab.data import baselines
from rnnlab.data.baselines import Predictor
from rnnlab.data.floor import estimate, rounded
from rnnlab.data.frame import Frame
from rnnlab.data.module import Split
from rnnlab.data.parts import parts
from rnnlab.data.windows import Windowed
from rnnlab.memory import check_memory

NOISE, SHUFFLE, FLOOR = range(3)  # counters of the stream "data"
# times the amplitudes: the least noise for which the floor is computed; less is lost in rounding
LEAST = 1e-6


class Sine(Windowed):
    """`n_points` of sum a_k sin(w_k t) over [0, t_max], each with Gaussian noise; not scaled. conf/data/sine.yaml
    describes the keywords.

    With split="points" the points are cut in time order and no window crosses a cut. With split="targets" only targets
    stay within their part, and inputs reach back over the cut. With split="windows" all windows are assigned to
    the parts at random, so that the points of a part are also inputs in the others.
    """

    def __init__(
        self,
        n_points: int = 1000,
        t_max: float = 100.0,
        amplitudes: Sequence[float] = (1.0,),
        frequencies: Sequence[float] = (1.0,),
        noise_std: float = 0.1,
        window: int = 20,
        horizon: int = 1,
        split: Literal["points", "targets", "windows"] = "points",
        fractions: tuple[float, float, float] = (0.7, 0.15, 0.15),
        batch_size: int = 32,
        seed: int = 0,
    ) -> None:
        check_arguments(schema.SineSchema, "data", locals())
        super().__init__(window, horizon, fractions, batch_size, seed)
        self.n_points, self.t_max, self.noise_std, self.split = n_points, t_max, noise_std, split
        self.reaching = split == "targets"
        self.amplitudes, self.frequencies = list(amplitudes), list(frequencies)

    def read(self) -> Frame:
        """The series; also sets `clean` and `noise` (N,), whose sum are its values."""
        each = 8 * (12 + len(self.amplitudes) + 2 * self.horizon)  # bytes, with a target for each step ahead
        check_memory(each * self.n_points, f"data.n_points={self.n_points} with data.horizon={self.horizon}")
        times = np.linspace(0, self.t_max, self.n_points)
        terms = zip(self.amplitudes, self.frequencies, strict=True)
        self.clean = np.sum([a * np.sin(w * times) for a, w in terms], axis=0)
        noise = streams.generator(self.seed, "data", NOISE).standard_normal(self.n_points)
        self.noise = self.noise_std * noise
        return Frame(times, (self.clean + self.noise)[:, None], ["value"], ["value"])

    def fit(self, train: np.ndarray, columns: list[str]) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros(1), np.ones(1)

    def place(self, n: int) -> dict[Split, np.ndarray]:
        if self.split != "windows":
            return super().place(n)
        windows = max(0, n - self.window - self.horizon + 1)
        dealt = streams.generator(self.seed, "data", SHUFFLE).permutation(windows)
        return {split: np.sort(dealt[place]) for split, place in parts(windows, self.fractions).items()}

    def rows(self, split: Split) -> tuple[int, int]:
        """See `Windowed.rows`; with split="windows" every part is spread over all rows."""
        return super().rows(split) if self.split != "windows" else (0, self.n_points)

    def make_predictors(self) -> dict[str, Predictor]:
        values, fitted = self.frame.values, self.starts("train").numpy()
        shape = (self.window, self.horizon)
        found: dict[str, Predictor | None] = {"persistence": baselines.persistence(values, self.window)}
        if len(fitted):
            found["mean"] = baselines.mean(values, *shape, fitted)
            found["linear"] = baselines.linear(values, values, *shape, fitted, self.starts("val").numpy())
        return {name: predictor for name, predictor in found.items() if predictor}

    @property
    def _is_sine(self) -> bool:
        return type(self).read is Sine.read

    @property
    def _bayes(self) -> tuple[float, float]:
        step = self.t_max / (self.n_points - 1)
        length = self.t_max - step * (self.window + self.horizon - 1)
        signal = tuple(self.amplitudes), tuple(self.frequencies)
        return bayes_error(*signal, step, self.window, self.horizon, self.noise_std, length)

    def floor(self, split: Split) -> dict[str, float]:
        """{mse, rmse}, the Bayes error of a forecast from the window alone, the same for every part; see floor.py.

        It is rounded to the digits that the error of its Monte Carlo allows. {} for a subclass with another `read`.
        """
        if not self._is_sine:
            return {}
        mse, error = self._bayes
        rmse = mse**0.5
        return {"mse": rounded(mse, error), "rmse": rounded(rmse, error / (2 * rmse) if rmse else 0.0)}

    def facts(self, split: Split) -> dict[str, float]:
        """`realised_noise`: the mean squared noise of the part's targets."""
        starts = self.starts(split).numpy()
        if not len(starts) or not self._is_sine:
            return {}
        targets = starts[:, None] + self.window + np.arange(self.horizon)
        return {"realised_noise": float(np.square(self.noise[targets]).mean())}


@cache
def bayes_error(
    amplitudes: tuple[float, ...],
    frequencies: tuple[float, ...],
    step: float,
    window: int,
    horizon: int,
    noise_std: float,
    length: float,
) -> tuple[float, float]:
    """The mean squared error of the best forecast, and its standard error; cached for all seeds of a sweep."""

    def unknown(noise_std: float) -> tuple[float, float]:
        # always seed 0: the floor belongs to the data's distribution, not to one draw from it
        stream = streams.generator(0, "data", FLOOR)
        return estimate(amplitudes, frequencies, step, window, horizon, noise_std, length, stream)

    size = sum(map(abs, amplitudes))
    if noise_std and noise_std >= LEAST * size:
        variance, error = unknown(noise_std)
        return noise_std**2 + variance, error
    # Less noise: the variance that noise alone causes falls with the square of noise_std, a hundredfold from `little`
    # to `less`. Another part stays even without noise, such as a sine's direction in a window of one point.
    (little, _), (less, error) = unknown(10 * LEAST * size), unknown(LEAST * size)
    hidden = 1.0 if less > little / 2 else (noise_std / (LEAST * size)) ** 2 if size else 0.0
    return noise_std**2 + hidden * less, hidden * error
