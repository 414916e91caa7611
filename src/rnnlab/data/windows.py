"""Windows of a series: what the data sets of kind "series" share."""

import hashlib
from abc import abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch

from rnnlab.data.baselines import Predictor, score
from rnnlab.data.loader import Loader, in_order, shuffled
from rnnlab.data.module import SPLITS, SequenceData, Split, spread
from rnnlab.data.parts import parts
from rnnlab.errors import UserError
from rnnlab.memory import afford

EVALUATED = 1024  # windows in a batch that is not trained on, at least


class Frame(NamedTuple):
    """A series before it is scaled: `values` (N, columns) float64 in the order of `columns`."""

    times: np.ndarray  # (N,) increasing: numbers or datetime64
    values: np.ndarray
    inputs: list[str]
    targets: list[str]

    @property
    def columns(self) -> list[str]:
        return self.inputs + [name for name in self.targets if name not in self.inputs]


class Stretch(NamedTuple):
    """A part of a series as it was measured: `times` (n,), `values` (n, columns) float64 in raw units."""

    times: np.ndarray
    values: np.ndarray


def gatherer(series: torch.Tensor, length: int, offset: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """A function of window starts (B,): copies of `series[start+offset :][:length]`, (B, length, C).

    NumPy sees every stretch of the series as one item of many bytes and copies it in one go. torch's
    index_select is as fast alone, but wakes its threads for large batches, which can cost 100 times the copy.
    """
    rows, width = series.shape
    array = series.contiguous().numpy()
    item = np.dtype((np.void, length * width * array.itemsize))
    first = offset * array.strides[0]
    stretches = np.ndarray((rows - offset - length + 1,), item, array, first, array.strides[:1])

    def gather(starts: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(stretches[starts.numpy()].view(array.dtype).reshape(-1, length, width))

    return gather


class Windowed(SequenceData):
    """A series in memory, seen through windows that are strided views of it.

    After `setup()`, besides what every data set has:

    * `series` (N, columns) float32, scaled: first the inputs, then those targets that are no inputs;
    * `target_columns`: the targets' positions among these columns; `column_names`: all their names;
    * `starts(split)`: a window that starts at s has the inputs `series[s : s+window, :inputs]` and the
      targets `series[s+window : s+window+horizon, target_columns]`;
    * `predictors`: the baselines as functions of window starts, in raw units (see baselines.py).

    A subclass says what the series is (`read`), how its columns are scaled (`fit`) and which predictors to
    compare with (`make_predictors`).
    """

    kind = "series"
    season: int | None = None

    def __init__(
        self, window: int, horizon: int, fractions: tuple[float, float, float], batch_size: int, seed: int
    ) -> None:
        super().__init__()
        parts(0, fractions)
        for key, value, least in (
            ("window", window, 1),
            ("horizon", horizon, 1),
            ("batch_size", batch_size, 0),
        ):
            if value < least:
                raise UserError(f"data.{key}={value}: must be at least {least}")
        self.window, self.horizon, self.batch_size, self.seed = window, horizon, batch_size, seed
        self.fractions = (float(fractions[0]), float(fractions[1]), float(fractions[2]))
        self._given: dict[str, Any] | None = None
        self._ready = False
        self._scores: dict[Split, dict[str, dict[str, float]]] = {}

    def with_spec(self, spec: dict[str, Any]) -> "Windowed":
        """Before `setup()`: take the scale of a trained model's `spec` instead of fitting one; returns self.

        For new data under an old model. `setup()` then refuses columns, a window or a horizon other than the
        model's; a part may be without windows (its loader is None) as long as the whole series holds one
        window of inputs, from which one can forecast.
        """
        self._given = spec
        return self

    @abstractmethod
    def read(self) -> Frame:
        """The whole series, raw."""

    @abstractmethod
    def fit(self, train: np.ndarray, columns: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Shift and scale of each column, from the training rows (n, columns) alone."""

    @abstractmethod
    def make_predictors(self) -> dict[str, Predictor]:
        """The baselines by name; called once, when first asked for."""

    def place(self, n: int) -> dict[Split, np.ndarray]:
        """The window starts of each part of a series of `n` rows: no window straddles a cut."""
        last = self.window + self.horizon - 1
        places = parts(n, self.fractions)
        return {split: np.arange(at.start, max(at.start, at.stop - last)) for split, at in places.items()}

    def rows(self, split: Split) -> tuple[int, int]:
        """First row of a part, and the row behind its last."""
        place = parts(len(self.frame.values), self.fractions)[split]
        return place.start, place.stop

    def setup(self, stage: str | None = None) -> None:
        if self._ready:
            return
        self.frame = frame = self.read()
        self.column_names, self.inputs = frame.columns, len(frame.inputs)
        self.target_columns = [frame.columns.index(name) for name in frame.targets]
        placed = self.place(len(frame.values))
        self._starts = {split: torch.from_numpy(starts) for split, starts in placed.items()}
        shift, scale = self._given_scale() if self._given else self._fitted_scale()
        with np.errstate(all="ignore"):
            scaled = ((frame.values - shift) / scale).astype(np.float32)
        if not np.isfinite(scaled).all():
            name = frame.columns[int(np.flatnonzero(~np.isfinite(scaled).all(0))[0])]
            raise UserError(f"column {name}: its values are too large for float32, even scaled")
        self.series = torch.from_numpy(scaled)
        self.spec = {
            "kind": "series",
            "inputs": self.inputs,
            "targets": len(frame.targets),
            "window": self.window,
            "horizon": self.horizon,
            "season": self.season,
            "input_names": list(frame.inputs),
            "target_names": list(frame.targets),
            "target_index": [i if i < self.inputs else None for i in self.target_columns],
            # raw = scaled * scale + shift
            "input_shift": shift[: self.inputs].tolist(),
            "input_scale": scale[: self.inputs].tolist(),
            "target_shift": shift[self.target_columns].tolist(),
            "target_scale": scale[self.target_columns].tolist(),
        }
        # as float32: the last bits of a float64 sine differ between machines and are seen by no model
        seen = [frame.values.astype("<f4"), *(placed[split].astype("<i8") for split in SPLITS)]
        digest = hashlib.sha256()
        for array in seen:
            digest.update(f"{array.dtype.str}{array.shape}".encode() + array.tobytes())
        self.content_hash = digest.hexdigest()
        self._ready = True

    def _fitted_scale(self) -> tuple[np.ndarray, np.ndarray]:
        wanted = [s for s, share in zip(SPLITS, self.fractions, strict=True) if share or s == "train"]
        without = [s for s in wanted if not len(self._starts[s])]
        if without:
            held = ", ".join(f"{s} {b - a}" for s in SPLITS for a, b in [self.rows(s)])
            raise UserError(
                f"too short: a window and its horizon take {self.window} + {self.horizon} = "
                f"{self.window + self.horizon} rows, of {len(self.frame.values)} rows the parts hold {held}. "
                "Take a smaller data.window or data.horizon, or other data.fractions"
            )
        first, behind = self.rows("train")
        return self.fit(self.frame.values[first:behind], self.column_names)

    def _given_scale(self) -> tuple[np.ndarray, np.ndarray]:
        spec, frame = self._given or {}, self.frame
        ours = {"input_names": frame.inputs, "target_names": frame.targets, "window": self.window,
                "horizon": self.horizon}  # fmt: skip
        for key, value in ours.items():
            if spec[key] != value:
                raise UserError(f"the model was trained with {key}={spec[key]}, this data has {key}={value}")
        if len(frame.values) < self.window:
            raise UserError(f"the model looks at {self.window} rows, this data has only {len(frame.values)}")
        outside = [i for i, column in enumerate(self.target_columns) if column >= self.inputs]
        shift, scale = (
            np.array(spec[f"input_{key}"] + [spec[f"target_{key}"][i] for i in outside])
            for key in ("shift", "scale")
        )
        return shift, scale

    def starts(self, split: Split) -> torch.Tensor:
        """Where the windows of a part start, int64, increasing."""
        return self._starts[split]

    def values(self, split: Split) -> Stretch:
        """The rows of a part with their times, unscaled."""
        rows = slice(*self.rows(split))
        return Stretch(self.frame.times[rows], self.frame.values[rows])

    def loader(self, split: Split, shuffle: bool = False) -> Loader | None:
        """Batches of `batch_size` windows, shuffled anew each epoch; larger ones in time order without."""
        starts, n = self.starts(split), len(self.starts(split))
        if n == 0:
            return None
        rows = n if not self.batch_size else min(n, max(self.batch_size, EVALUATED))
        wide = self.window * self.inputs + self.horizon * len(self.target_columns)
        afford(
            8.0 * rows * wide,
            f"{rows:,} windows of data.window={self.window} and data.horizon={self.horizon}",
        )
        x = gatherer(self.series[:, : self.inputs], self.window, 0)
        y = gatherer(self.series[:, self.target_columns], self.horizon, self.window)

        def fetch(batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x(starts[batch]), y(starts[batch])

        if not shuffle:
            return Loader(fetch, in_order(n, max(self.batch_size, EVALUATED)))
        whole = not 0 < self.batch_size < n
        return Loader(fetch, in_order(n, 0) if whole else shuffled(n, self.batch_size, self.seed))

    def native_source(self, split: Split) -> Any:
        from rnnlab.native.sources import Windows

        return Windows(
            self.series, self.inputs, self.window, self.horizon, self.target_columns, self.starts(split)
        )

    def examples(self, split: Split, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
        """X (B, window, inputs) and y (B, horizon, targets)."""
        starts = spread(self.starts(split), rows)
        x = self.series[starts[:, None] + torch.arange(self.window), : self.inputs]
        ahead = self.series[starts[:, None] + self.window + torch.arange(self.horizon)]
        return x, ahead[..., self.target_columns]

    @cached_property
    def predictors(self) -> dict[str, Predictor]:
        return self.make_predictors()

    def baselines(self, split: Split) -> dict[str, dict[str, float]]:
        """Scores in raw units over all horizon steps and targets; {} for a part without windows."""
        if split not in self._scores:
            starts, targets = self.starts(split).numpy(), self.frame.values[:, self.target_columns]
            self._scores[split] = {
                name: score(predict, targets, starts, self.window, self.horizon)
                for name, predict in (self.predictors if len(starts) else {}).items()
            }
        return self._scores[split]
