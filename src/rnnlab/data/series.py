"""A real series from a table: a CSV or Parquet file, or a DataFrame."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from rnnlab.config import data_schema as schema
from rnnlab.config.arguments import check_arguments
from rnnlab.data import baselines
from rnnlab.data.baselines import Predictor
from rnnlab.data.calendar import features, step_of
from rnnlab.data.frame import Frame, Group
from rnnlab.data.module import SPLITS
from rnnlab.data.parts import parts
from rnnlab.data.per_window import DIFFERENCES, MODES
from rnnlab.data.resample import means, period
from rnnlab.data.table import Table
from rnnlab.data.windows import Windowed
from rnnlab.errors import UserError

POLICIES = ("error", "interpolate", "drop")
STRAY = 0.25  # above this share of rows outside the training range there is a remark
SCALINGS = ("standard", "minmax", "none", *MODES)


class Series(Windowed):
    """Columns of a table, cut into parts in time order.

    `path` is a file, or a pandas DataFrame. With split="targets" a part is the rows that are forecast in it, and
    the inputs of its first windows reach back over the cut; with split="rows" no window straddles a cut. Each
    column is scaled by its training rows alone, and gaps are interpolated within each part alone (linearly in
    time, or in rows without a `time_column`; at the ends of a part by the nearest value), so that nothing of a
    later part reaches an earlier one. `season` counts rows, after resampling.
    """

    def __init__(
        self,
        path: Any,
        target: str | Sequence[str],
        columns: str | Sequence[str] | None = None,
        time_column: str | None = None,
        id_column: str | None = None,
        known: Sequence[str] = (),
        calendar: Sequence[str] = (),
        missing: Literal["error", "interpolate", "drop"] = "error",
        resample: str | None = None,
        scaling: str = "standard",
        log: bool = False,
        window: int = 96,
        horizon: int = 24,
        season: int | Literal["auto"] | None = "auto",
        split: Literal["targets", "rows"] = "targets",
        fractions: tuple[float, float, float] = (0.6, 0.2, 0.2),
        time_format: str | None = None,
        delimiter: str | None = None,
        decimal: str = ".",
        thousands: str | None = None,
        marks: Sequence[str] = (),
        encoding: str = "utf-8",
        batch_size: int = 64,
        seed: int = 0,
    ) -> None:
        check_arguments(schema.Series, "data", locals(), aside=("path",))
        super().__init__(window, horizon, fractions, batch_size, seed)
        self.path = Path(path) if isinstance(path, str | Path) else path
        self.time_column, self.id_column, self.time_format = time_column, id_column, time_format
        self.asked_season, self.reaching = season, split == "targets"
        self.missing, self.scaling, self.log, self.delimiter, self.encoding = (
            missing,
            scaling,
            log,
            delimiter,
            encoding,
        )
        self.decimal, self.thousands, self.marks = decimal, thousands, list(marks)
        self.period = period(resample) if resample else None
        self.target = [target] if isinstance(target, str) else list(target)
        self.columns = [columns] if isinstance(columns, str) else columns and list(columns)
        self.known, self.calendar = list(known), list(calendar)

    def read(self) -> Frame:
        table = Table(
            self.path,
            self.delimiter,
            self.encoding,
            decimal=self.decimal,
            thousands=self.thousands,
            marks=self.marks,
        )
        self.source = table.path
        aside = (self.time_column, self.id_column)
        inputs = self.columns or self.target
        if inputs == ["all"]:
            inputs = [n for n in table.header if n and n not in (*aside, *self.known) and table.is_number(n)]
        inputs = list(dict.fromkeys([*inputs, *self.known]))
        asked = {
            **dict.fromkeys(inputs, "columns"),
            **dict.fromkeys(self.known, "known"),
            **dict.fromkeys(self.target, "target"),
        }
        names = self.read_names = list(asked)
        values = np.stack([table.numbers(name, key) for name, key in asked.items()], axis=1)
        instants = table.times(self.time_column, self.time_format) if self.time_column else None
        times = np.arange(len(table.rows)) if instants is None else instants.times
        offsets = None if instants is None else instants.offsets
        labels, place = [""], np.zeros(len(times), int)
        if self.id_column:
            ids, place = np.unique(table.cells(self.id_column, "id_column"), return_inverse=True)
            labels = ids.tolist()
        self.remarks, pieces = [], []
        self.beyond: dict[str, np.ndarray] = {}  # what is known of rows that come after a series' last target
        for number, label in enumerate(labels):
            rows = np.flatnonzero(place == number)
            if self.time_column:
                table.increasing(self.time_column, times[rows], rows)
            piece = self._one(table, label, rows, names, values[rows], times[rows], offsets)
            pieces.append(piece)
        groups, at = [], 0
        for label, (piece_times, *_) in zip(labels, pieces, strict=True):
            groups.append(Group(label, at, at + len(piece_times)))
            at = groups[-1].stop
        times, values = (np.concatenate([piece[i] for piece in pieces]) for i in (0, 1))
        offsets = None if offsets is None else np.concatenate([piece[2] for piece in pieces])
        self.season = self._season(times[: groups[0].stop])
        if len(self.remarks) > 3:  # of many series
            self.remarks = [*self.remarks[:3], f"{self.source}: {len(self.remarks) - 3:,} more such remarks"]
        return self._widened(
            Frame(times, values, inputs, self.target, 0, offsets, groups if self.id_column else [])
        )

    def _one(
        self,
        table: Table,
        label: str,
        rows: np.ndarray,
        names: list[str],
        values: np.ndarray,
        times: np.ndarray,
        offsets: np.ndarray | None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """One series as it is used: times, values and offsets, without gaps."""
        which = f", {self.id_column} {label}" if label else ""
        offsets = None if offsets is None else offsets[rows]
        if self.known:  # the last rows may tell what is known in advance alone
            targets = [names.index(name) for name in self.target]
            told = np.flatnonzero(~np.isnan(values[:, targets]).all(1))
            end = int(told[-1]) + 1 if len(told) else len(values)
            self.beyond[label] = values[end:]
            values, times, rows = values[:end], times[:end], rows[:end]
            offsets = None if offsets is None else offsets[:end]
        if self.log and len(bad := np.argwhere(values[:, [names.index(n) for n in self.target]] <= 0)):
            row, name = rows[bad[0][0]], self.target[bad[0][1]]
            cell = table.cells(name, "target")[row]
            raise UserError(
                f"{self.source}: row {table.rows[row]}, column {name}: {cell} has no logarithm; data.log=false"
            )
        remedy = "data.missing=interpolate fills gaps, data.missing=drop leaves their rows out"
        if self.missing == "error" and len(gaps := np.argwhere(np.isnan(values))):
            row, name = rows[gaps[0][0]], names[gaps[0][1]]
            cell = table.cells(name, "columns")[row]
            raise UserError(
                f"{self.source}: row {table.rows[row]}, column {name}: {cell!r} is no value; {remedy}"
            )
        if self.period is not None:
            times, values = means(times, values, self.period)
            offsets = None if offsets is None else np.full(len(times), offsets[-1])
            if self.missing == "error" and len(empty := np.flatnonzero(np.isnan(values[:, 0]))):
                bin = f"the {self.period} from {times[empty[0]].astype('datetime64[s]')}"
                raise UserError(f"{self.source}{which}: there is no row in {bin}; {remedy}")
        if self.missing == "drop":
            whole = ~np.isnan(values).any(1)
            times, values = times[whole], values[whole]
            offsets = None if offsets is None else offsets[whole]
        if self.missing == "interpolate":
            self._interpolate(times, values, names)
        self.remarks += leaps(f"{self.source}{which}", times)
        self.remarks += strays(
            f"{self.source}{which}", values, names, parts(len(values), self.fractions), self.scaling
        )
        return times, values, offsets

    def _season(self, times: np.ndarray) -> int | None:
        if self.asked_season != "auto":
            return self.asked_season
        step = step_of(times)
        return None if step is None else step.season

    def _widened(self, frame: Frame) -> Frame:
        """With columns for what is known ahead: values and days of the calendar, `horizon` rows on."""
        if not self.known and not self.calendar:
            return frame
        if self.calendar and not self.time_column:
            raise UserError(f"data.calendar={self.calendar[0]}: needs data.time_column")
        ahead, h = [], self.horizon
        names = frame.columns
        for group in frame.series:
            at = slice(group.start, group.stop)
            columns = []
            for name in self.known:
                later = self.beyond[group.name][:h, names.index(name)]
                column = np.concatenate([frame.values[at, names.index(name)], later])[h:]
                columns.append(
                    np.append(column, np.full(group.stop - group.start - len(column), np.nan))[:, None]
                )
            if self.calendar:
                times = self.continued(frame.times[at], h)[h:]
                columns.append(features(times, self.calendar))
            ahead.append(np.hstack(columns))
        added = [f"{name}+{h}" for name in self.known]
        added += [f"{name}_{wave}+{h}" for name in self.calendar for wave in ("sin", "cos")]
        inputs = [*frame.inputs, *added]
        n = len(frame.inputs)
        values = np.hstack([frame.values[:, :n], np.concatenate(ahead), frame.values[:, n:]])
        return frame._replace(values=values, inputs=inputs, plain=2 * len(self.calendar))

    def known_ahead(self, row: int, steps: int) -> torch.Tensor:
        told = torch.full((steps, self.inputs), torch.nan)
        if not self.known and not self.calendar:
            return told
        group, n = self.frame.series_of(row - 1), len(self.frame.inputs) - self.frame.plain - len(self.known)
        ahead = range(n, self.inputs)  # the columns that look `horizon` rows on
        inside = self.series[row : min(row + steps, group.stop), : self.inputs]
        known = [self.frame.inputs.index(name) for name in self.known]
        told[: len(inside), [*known, *ahead]] = inside[:, [*known, *ahead]]
        missing = max(0, row + steps - group.stop)
        if missing and self.calendar:
            times = self.continued(self.frame.times[group.start : group.stop], missing + self.horizon)
            of_days = features(times[-missing:], self.calendar).astype(np.float32)
            told[steps - missing :, self.inputs - self.frame.plain :] = torch.from_numpy(of_days)
        if missing and self.known:
            at = [g.name for g in self.frame.series].index(group.name)
            later = self.beyond[group.name]
            for source, column in zip(known, range(n, n + len(self.known)), strict=True):
                name = self.frame.inputs[source]
                raw = np.append(
                    later[:, self.read_names.index(name)], np.full(missing + self.horizon, np.nan)
                )
                for to, first in ((source, 0), (column, self.horizon)):
                    shift, scale = (array[at, to] for array in self.scales)
                    scaled = ((raw[first : first + missing] - shift) / scale).astype(np.float32)
                    told[steps - missing :, to] = torch.from_numpy(scaled)
        return told

    def _interpolate(self, times: np.ndarray, values: np.ndarray, names: list[str]) -> None:
        at = (times - times[0]).astype(np.float64)
        for split, place in parts(len(values), self.fractions).items():
            for i, name in enumerate(names):
                column, gap = values[place, i], np.isnan(values[place, i])
                if len(gap) and gap.all():
                    raise UserError(f"{self.source}: column {name} has no value in the whole {split} part")
                if gap.any():
                    column[gap] = np.interp(at[place][gap], at[place][~gap], column[~gap])

    def fit(self, train: np.ndarray, columns: list[str]) -> tuple[np.ndarray, np.ndarray]:
        shift, scale = np.zeros(len(columns)), np.ones(len(columns))
        if self.scaling == "none":
            return shift, scale
        train = train[~np.isnan(train).any(1)]
        scaled = [i for i in range(len(columns)) if not self.inputs - self.frame.plain <= i < self.inputs]
        low, high = train.min(0), train.max(0)
        if len(constant := [i for i in scaled if low[i] == high[i]]):
            i = constant[0]
            raise UserError(
                f"{self.source}: column {columns[i]} is constant ({low[i]:g}) over the {len(train)} training "
                f"rows: data.scaling={self.scaling} cannot scale it; leave it out or take data.scaling=none"
            )
        found = (low, high - low) if self.scaling == "minmax" else (train.mean(0), train.std(0))
        if self.scaling in DIFFERENCES:  # a constant slope has differences without spread
            back = self.season if self.scaling == "seasonal_difference" and self.season else 1
            spread = (train[back:] - train[:-back]).std(0) if len(train) > back else np.zeros(len(columns))
            found = train.mean(0), np.where(spread > 1e-6 * found[1], spread, found[1])
        shift[scaled], scale[scaled] = found[0][scaled], found[1][scaled]
        return shift, scale

    def make_predictors(self) -> dict[str, Predictor]:
        frame, shape = self.frame, (self.window, self.horizon)
        values, targets = frame.values, frame.values[:, self.target_columns]
        found: dict[str, Predictor | None] = {"persistence": baselines.persistence(targets, self.window)}
        if self.season:
            starts = np.array([group.start for group in frame.series])
            first = (
                (lambda row: starts[np.searchsorted(starts, row, side="right") - 1]) if frame.groups else None
            )
            found["seasonal"] = baselines.seasonal(targets, *shape, self.season, first)
        fitted, chosen_on = self.starts("train").numpy(), self.starts("val").numpy()
        if len(fitted):
            if frame.groups:  # of several series one predictor, in units in which they are alike
                found["linear"] = self._linear_of_several(fitted, chosen_on)
            else:
                inputs = values[:, : self.inputs]
                found["linear"] = baselines.linear(inputs, targets, *shape, fitted, chosen_on)
        return {name: predictor for name, predictor in found.items() if predictor}

    def _linear_of_several(self, fitted: np.ndarray, chosen_on: np.ndarray) -> Predictor | None:
        scaled, (shift, scale) = self.series.double().numpy(), self.scales
        stops = np.array([group.stop for group in self.frame.groups])
        found = baselines.linear(
            scaled[:, : self.inputs],
            scaled[:, self.target_columns],
            self.window,
            self.horizon,
            fitted,
            chosen_on,
        )

        if found is None:
            return None

        def predict(at: np.ndarray) -> np.ndarray:
            of = np.searchsorted(stops, at, side="right")
            unit, level = (array[of][:, None, self.target_columns] for array in (scale, shift))
            raw = found(at) * unit + level
            return np.exp(raw) if self.log else raw

        return predict


def leaps(where: str, times: np.ndarray) -> list[str]:
    """A remark where rows are missing in between: for a model, rows that follow each other are a step apart."""
    step = step_of(times)
    if step is None:
        return []
    wide = np.flatnonzero(step.between(times) > 1.5)
    if not len(wide):
        return []
    first, last = (str(times[i].astype("datetime64[s]")) for i in (wide[0], wide[0] + 1))
    return [
        f"{where}: the times leap in {len(wide):,} place{'s' * (len(wide) > 1)}, first from {first} to {last}, and "
        "windows lie across; data.resample makes the steps even"
    ]


def strays(
    where: str, values: np.ndarray, names: list[str], cuts: dict[Any, slice], scaling: str
) -> list[str]:
    """A remark for the column of which most of the validation or test part is such as training never saw."""
    train = values[cuts["train"]]
    if scaling in MODES or not len(train):
        return []
    low, high = train.min(0), train.max(0)
    found: list[tuple[float, str, str]] = []
    for split, part in ((s, values[cuts[s]]) for s in SPLITS[1:]):
        if len(part):
            outside = ((part < low) | (part > high)).mean(0)
            found += [(float(share), split, name) for share, name in zip(outside, names, strict=True)]
    share, where_split, name = max(found, default=(0.0, "", ""))
    if share < STRAY:
        return []
    part_name = {"val": "validation", "test": "test"}[where_split]
    return [
        f"{where}: {share:.0%} of the {part_name} part's {name} lies outside the range of the training part; "
        "data.scaling=window_last or window_standard shows each window in a scale of its own"
    ]
