"""`Windowed`, the base class of data sets of kind "series": windows of one or several series."""

import hashlib
from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from rnnlab.config import data_schema as schema
from rnnlab.config.arguments import check_arguments
from rnnlab.data.baselines import Predictor, score
from rnnlab.data.calendar import Step, step_of
from rnnlab.data.frame import Frame, Stretch
from rnnlab.data.gather import gatherer
from rnnlab.data.loader import Loader, in_order, shuffled
from rnnlab.data.module import NAMES, SPLITS, SequenceData, Split, spread
from rnnlab.data.parts import parts
from rnnlab.data.per_window import MODES, PerWindow
from rnnlab.data.remarks import parts_in_words
from rnnlab.data.scales import Scales
from rnnlab.data.spec import SeriesSpec
from rnnlab.errors import UserError
from rnnlab.memory import check_memory

if TYPE_CHECKING:
    from rnnlab.native.sources import Source

EVALUATED = 1024  # a batch for evaluation has at least so many windows
COARSE = 1e-4  # times a column's range: what float32 may lose of a value before the hash takes a closer look


class Windowed(SequenceData):
    """One or several series in memory, read in windows.

    After `setup()` it has the attributes of every data set, and these:

    * `series` (N, columns) float32, scaled: first the inputs, then the targets that are not inputs;
    * `target_columns`: the positions of the targets among these columns; `column_names`: the names of all columns;
    * `starts(split)`: a window that starts at s has the inputs `series[s : s+window, :inputs]` and the
      targets `series[s+window : s+window+horizon, target_columns]`;
    * `predictors`: the baselines as functions of window starts, in raw units (see baselines.py);
    * `step`: the usual step between times, None where times are numbers.

    A subclass defines the series (`read`), the scale of its columns (`fit`) and the predictors to compare with
    (`make_predictors`). Several series are each cut and scaled by themselves.
    """

    kind = "series"
    season: int | None = None
    scaling: str = "none"
    log = False
    """Whether the logarithms of the targets are forecast."""
    origin = 0
    """The number of test parts that are left out at the end."""
    reaching = False
    """Whether the inputs of a part's first windows reach back over its cut, so that only targets stay in the part."""
    fitting = ""
    """The name of the series that `fit` is called for; "" where there is only one."""

    def __init__(
        self, window: int, horizon: int, fractions: tuple[float, float, float], batch_size: int, seed: int
    ) -> None:
        super().__init__()
        check_arguments(schema.WindowedSchema, "data", locals())
        self.window, self.horizon, self.batch_size, self.seed = window, horizon, batch_size, seed
        self.fractions = (float(fractions[0]), float(fractions[1]), float(fractions[2]))
        self._given: SeriesSpec | None = None
        self._ready = False
        self.remarks: list[str] = []
        self._scores: dict[Split, dict[str, dict[str, float]]] = {}

    def with_spec(self, spec: Mapping[str, Any]) -> "Windowed":
        """Before `setup()`: takes the scale from a trained model's `spec` and does not fit one; returns self.

        It is for new data with a trained model. `setup()` then raises UserError for other columns, another window or
        another horizon than the model's. A part may have no windows (its loader is None), if a series is as long as
        one window of inputs, which is enough to forecast.
        """
        self._given = cast(SeriesSpec, spec)
        return self

    @abstractmethod
    def read(self) -> Frame:
        """The whole series in raw units."""

    @abstractmethod
    def fit(self, train: np.ndarray, columns: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Shift and scale of each column, from the training rows (n, columns) alone."""

    @abstractmethod
    def make_predictors(self) -> dict[str, Predictor]:
        """The baselines by name; called once, at the first use of `predictors`."""

    def parts(self, n: int) -> dict[Split, slice]:
        """The rows of each part, for a series of `n` rows."""
        return parts(n, self.fractions, self.origin)

    def place(self, n: int) -> dict[Split, np.ndarray]:
        """The window starts of each part, for a series of `n` rows: all targets lie in the part, and all inputs, too,
        unless `reaching` is set.
        """
        found: dict[Split, np.ndarray] = {}
        for split, at in self.parts(n).items():
            first = max(0, at.start - self.window) if self.reaching else at.start
            end = at.stop - self.window - self.horizon + 1
            found[split] = np.arange(first, end if at.stop > at.start and end > first else first)
        return found

    def rows(self, split: Split) -> tuple[int, int]:
        """The first row of a part, and the row after its last one; of several series, those of the first."""
        group = self.frame.series[0]
        place = self.parts(group.stop - group.start)[split]
        return group.start + place.start, group.start + place.stop

    def forecast_rows(self, split: Split) -> tuple[int, int]:
        """The first row of a part that can be forecast, and the row after the part's last one."""
        first, end = self.rows(split)
        start = self.frame.series[0].start
        return max(first, start + self.window) if self.reaching else first + self.window, end

    def setup(self, stage: str | None = None) -> None:
        if self._ready:
            return
        self.frame = frame = self.read()
        self.column_names, self.inputs = frame.columns, len(frame.inputs)
        self.target_columns = [frame.columns.index(name) for name in frame.targets]
        first = frame.series[0]
        self.step: Step | None = step_of(frame.times[: first.stop], frame.offsets_of(first))
        placed: dict[Split, list[np.ndarray]] = {split: [] for split in SPLITS}
        for group in frame.series:
            for split, starts in self.place(group.stop - group.start).items():
                placed[split].append(starts + group.start)
        self._starts = {split: torch.from_numpy(np.concatenate(placed[split])) for split in SPLITS}
        self.target_index = [i if i < self.inputs else None for i in self.target_columns]
        self.per_window = None
        if self.scaling in MODES:
            if None in self.target_index:
                raise UserError(
                    f"data.scaling={self.scaling} needs every target among the inputs; add it to data.columns"
                )
            if self.scaling == "seasonal_difference" and not 0 < (self.season or 0) < self.window:
                why = f"a season of {self.season} steps" if self.season else "no season; set data.season"
                raise UserError(
                    f"data.scaling=seasonal_difference needs a window longer than a season: data.window={self.window}, "
                    f"and this series has {why}"
                )
            targets = torch.tensor(self.target_columns)
            self.per_window = PerWindow(self.scaling, targets, frame.plain, self.season, self.horizon)
        self.scales = self._given_scales(self._given) if self._given else self._fitted_scales()
        shift, scale = self.scales
        scaled = np.empty(frame.values.shape, dtype=np.float32)
        with np.errstate(all="ignore"):
            for i, group in enumerate(frame.series):
                at = slice(group.start, group.stop)
                scaled[at] = (self.logged(frame.values[at]) - shift[i]) / scale[i]
        # NaN itself is allowed: the last rows lack values that are known ahead
        wrong = ~np.isfinite(scaled) & ~np.isnan(frame.values)
        if wrong.any():
            name = frame.columns[int(np.flatnonzero(wrong.any(0))[0])]
            raise UserError(f"column {name}: its values are too large for float32, even scaled")
        self.series = torch.from_numpy(scaled)
        self.spec = self._described()
        # as float32: the last bits of a float64 sine differ between machines, and no model sees them
        with np.errstate(over="ignore"):
            seen = [frame.values.astype("<f4"), *(self.starts(s).numpy().astype("<i8") for s in SPLITS)]
        digest = hashlib.sha256()
        for array in seen:
            digest.update(f"{array.dtype.str}{array.shape}".encode() + array.tobytes())
        for group in frame.series:
            rows = frame.values[group.start : group.stop]
            train = self.parts(len(rows))["train"]
            for i, column in enumerate(rows.T):
                digest.update(_finer(f"{group.name} {i}", column, train))
        self.content_hash = digest.hexdigest()
        self._ready = True

    def logged(self, values: np.ndarray) -> np.ndarray:
        """Values (n, columns); with `log`, the targets are replaced by their logarithms."""
        if not self.log:
            return values
        values = values.copy()
        values[:, self.target_columns] = np.log(values[:, self.target_columns])
        return values

    def _described(self) -> SeriesSpec:
        frame = self.frame
        scales, series = self.scales.described(frame, self.target_columns)
        spec: SeriesSpec = {
            "kind": "series",
            "inputs": self.inputs,
            "targets": len(frame.targets),
            "window": self.window,
            "horizon": self.horizon,
            "season": self.season,
            "input_names": list(frame.inputs),
            "target_names": list(frame.targets),
            "target_index": self.target_index,
            **scales,
        }
        if self.per_window is not None:
            spec["per_window"] = self.per_window.mode
        if frame.plain:
            spec["plain"] = frame.plain
        if self.log:
            spec["log"] = True
        if self.step is not None:
            spec["step"] = list(self.step)
        if series:
            spec["series"] = series
        return spec

    def _fitted_scales(self) -> Scales:
        wanted = [s for s, share in zip(SPLITS, self.fractions, strict=True) if share or s == "train"]
        frame, found = self.frame, []
        for group in frame.series:
            n = group.stop - group.start
            places, cuts = self.place(n), self.parts(n)
            if any(not len(places[s]) for s in wanted):
                held = ", ".join(f"{NAMES[s]} {cuts[s].stop - cuts[s].start}" for s in SPLITS)
                named = f" {group.name}" if group.name else ""
                later = f" (in a later part only its horizon, {self.horizon})" if self.reaching else ""
                raise UserError(
                    f"the series{named} is too short: a window and its horizon take {self.window} + {self.horizon} = "
                    f"{self.window + self.horizon} rows{later}, and of {n} rows the parts have {held}. "
                    f"Take a smaller data.window or data.horizon{' or data.origin' * bool(self.origin)}, or other "
                    "data.fractions"
                )
            train = frame.values[group.start + cuts["train"].start : group.start + cuts["train"].stop]
            self.fitting = group.name
            found.append(self.fit(self.logged(train), self.column_names))
        shift, scale = (np.stack(arrays) for arrays in zip(*found, strict=True))
        return Scales(shift, scale)

    def _given_scales(self, spec: SeriesSpec) -> Scales:
        frame = self.frame
        for key, known, names in (
            ("inputs", spec["input_names"], frame.inputs),
            ("targets", spec["target_names"], frame.targets),
        ):
            if known != names:
                then, now = ", ".join(known), ", ".join(names)
                raise UserError(f"the model was trained on the {key} {then}, this data has the {key} {now}")
        for key, before, here in (
            ("window", spec["window"], self.window),
            ("horizon", spec["horizon"], self.horizon),
            ("log", bool(spec.get("log")), self.log),
        ):
            if before != here:
                then, now = str(before).lower(), str(here).lower()
                raise UserError(
                    f"the model was trained with data.{key}={then}, this data has data.{key}={now}"
                )
        if (trained := spec.get("step")) and self.step is not None:
            step = Step(str(trained[0]), int(trained[1]))
            if not 0.75 < self.step.length / step.length < 1.34:
                longer = "; data.resample makes steps longer" * (self.step.length < step.length)
                raise UserError(
                    f"the model was trained on steps of {step}, this data has steps of {self.step}{longer}"
                )
        longest = max(group.stop - group.start for group in frame.series)
        if longest < self.window:
            where = " in its longest series" * bool(frame.groups)
            raise UserError(f"the model looks at {self.window} rows, this data has only {longest}{where}")
        return Scales.of_spec(spec, frame, self.target_columns)

    def known_ahead(self, row: int, steps: int) -> torch.Tensor:
        """The scaled inputs (steps, inputs) of the rows from `row` on, where they are known ahead; NaN elsewhere."""
        return torch.full((steps, self.inputs), torch.nan)

    def parts_in_words(self) -> list[str]:
        return parts_in_words(self.frame, self.rows, lambda split: len(self.starts(split)))

    def units(self, starts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Shift and scale of the targets of windows that start at `starts`, each (B, 1, targets) float64."""
        stops = np.array([group.stop for group in self.frame.series])
        at = np.searchsorted(stops, starts.numpy(), side="right")
        shift, scale = (torch.from_numpy(array[at][:, None, self.target_columns]) for array in self.scales)
        return shift, scale

    def starts(self, split: Split) -> torch.Tensor:
        """Where the windows of a part start, int64, increasing."""
        return self._starts[split]

    def values(self, split: Split) -> Stretch:
        """The rows of a part with their times, unscaled."""
        rows = slice(*self.rows(split))
        return Stretch(self.frame.times[rows], self.frame.values[rows])

    def loader(self, split: Split, shuffle: bool = False) -> Loader | None:
        """With `shuffle`, batches of `batch_size` windows in a new order each epoch; else larger ones in time order.

        A batch is (x, y), and for several series also the shift and scale of each window, see `units`. None for a part
        without windows.
        """
        starts, n = self.starts(split), len(self.starts(split))
        if n == 0:
            return None
        rows = n if not self.batch_size else min(n, max(self.batch_size, EVALUATED))
        wide = self.window * self.inputs + self.horizon * len(self.target_columns)
        check_memory(
            8.0 * rows * wide,
            f"{rows:,} windows of data.window={self.window} and data.horizon={self.horizon}",
        )
        x = gatherer(self.series, range(self.inputs), self.window, 0)
        y = gatherer(self.series, self.target_columns, self.horizon, self.window)

        def fetch(batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
            at = starts[batch]
            return (x(at), y(at), *(self.units(at) if self.frame.groups else ()))

        if not shuffle:
            return Loader(fetch, in_order(n, max(self.batch_size, EVALUATED)))
        whole = not 0 < self.batch_size < n
        return Loader(fetch, in_order(n, 0) if whole else shuffled(n, self.batch_size, self.seed))

    def native_source(self, split: Split) -> "Source":
        from rnnlab.native.sources import Pairs, Windows

        if self.per_window is not None:
            x, y = self.examples(split, len(self.starts(split)))
            x, units = self.per_window.seen(x)
            return Pairs(x.contiguous(), self.per_window.head_target(y, units).contiguous())
        return Windows(
            self.series, self.inputs, self.window, self.horizon, self.target_columns, self.starts(split)
        )

    def examples(self, split: Split, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Windows x (B, window, inputs) and their targets y (B, horizon, targets), scaled."""
        starts = spread(self.starts(split), rows)
        check_memory(8.0 * len(starts) * (self.window * self.inputs + self.horizon * len(self.target_columns)),
               f"{len(starts):,} windows of data.window={self.window}")  # fmt: skip
        x = self.series[starts[:, None] + torch.arange(self.window), : self.inputs]
        ahead = self.series[starts[:, None] + self.window + torch.arange(self.horizon)]
        return x, ahead[..., self.target_columns]

    @cached_property
    def predictors(self) -> dict[str, Predictor]:
        return self.make_predictors()

    def baselines(self, split: Split) -> dict[str, dict[str, float]]:
        """{baseline: {mse, mae, rmse}} in raw units, over all steps, targets and series; {} without windows."""
        if split not in self._scores:
            starts, targets = self.starts(split).numpy(), self.frame.values[:, self.target_columns]
            self._scores[split] = {
                name: score(predict, targets, starts, self.window, self.horizon)
                for name, predict in (self.predictors if len(starts) else {}).items()
            }
        return self._scores[split]


def _finer(name: str, column: np.ndarray, train: slice) -> bytes:
    """For the hash: a column in units of its range, where float32 hardly holds it; else nothing.

    Small changes at a high level are lost in float32, and so are huge and tiny values; models see them scaled.
    """
    told = ~np.isnan(column)
    fitted = column[train][told[train]]
    if not len(fitted):  # of new data for a trained model, perhaps
        fitted = column[told]
    if not len(fitted):
        return b""
    with np.errstate(all="ignore"):
        low = fitted.min()
        unit = fitted.max() - low or abs(low)
        if np.abs(fitted.astype("<f4") - fitted).max() <= COARSE * unit:
            return b""
        # the range itself, too: else one curve, twice as high, would be the same
        return f"{name} {low:.15g} {unit:.9g}".encode() + ((column - low) / unit).astype("<f4").tobytes()
