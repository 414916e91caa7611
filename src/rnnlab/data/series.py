"""`Series`: one or several series from a table (a CSV or Parquet file, or a DataFrame)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from rnnlab.config import data_schema as schema
from rnnlab.config.arguments import check_arguments
from rnnlab.data import baselines
from rnnlab.data.ahead import Ahead
from rnnlab.data.baselines import Predictor
from rnnlab.data.calendar import step_of
from rnnlab.data.frame import Frame, Group
from rnnlab.data.module import NAMES
from rnnlab.data.per_window import DIFFERENCES, MODES
from rnnlab.data.remarks import leaps, strays
from rnnlab.data.resample import in_words, period, resampled
from rnnlab.data.table import Table
from rnnlab.data.windows import Windowed
from rnnlab.errors import UserError, counted

POLICIES = ("error", "interpolate", "drop")
SCALINGS = ("standard", "minmax", "none", *MODES)
SQUARED = float(np.finfo(np.float64).tiny) ** 0.5  # the square of anything smaller has lost digits, or is 0


class Series(Windowed):
    """Columns of a table, cut into parts in time order; the keywords are described in conf/data/series.yaml.

    `path` is a file, or a pandas DataFrame. With split="targets", a part is the rows that are forecast in it, and
    the inputs of its first windows reach back over the cut; with split="rows" no window crosses a cut. Each
    column is scaled by its training rows only, and gaps are interpolated within each part only (linearly in
    time, or in row numbers without a `time_column`; at the ends of a part by the nearest value), so that no value of a
    later part changes an earlier one. `season` is in rows, after resampling. With `origin`=k the last k test parts
    are left out, and the parts end there. `setup()` raises UserError for a table that cannot be read as asked.
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
        holidays: str | None = None,
        missing: Literal["error", "interpolate", "drop"] = "error",
        resample: str | None = None,
        scaling: str = "standard",
        log: bool = False,
        window: int = 96,
        horizon: int = 24,
        season: int | Literal["auto"] | None = "auto",
        split: Literal["targets", "rows"] = "targets",
        fractions: tuple[float, float, float] = (0.6, 0.2, 0.2),
        origin: int = 0,
        time_format: str | None = None,
        delimiter: str | None = None,
        decimal: str = ".",
        thousands: str | None = None,
        marks: Sequence[str] = (),
        encoding: str = "utf-8",
        batch_size: int = 64,
        seed: int = 0,
    ) -> None:
        check_arguments(schema.SeriesSchema, "data", locals(), aside=("path",))
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
        self.known, self.calendar, self.holidays, self.origin = list(known), list(calendar), holidays, origin

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
        names = list(asked)
        values = np.stack([table.numbers(name, key) for name, key in asked.items()], axis=1)
        instants = table.times(self.time_column, self.time_format) if self.time_column else None
        times = np.arange(len(table.rows)) if instants is None else instants.times
        offsets = None if instants is None else instants.offsets
        labels, place = [""], np.zeros(len(times), int)
        if self.id_column:
            cells = table.cells(self.id_column, "id_column")
            for row, cell in zip(table.rows, cells, strict=True):
                if cell.strip().lower() in table.missing:
                    raise UserError(
                        f"{self.source}: row {row}, column {self.id_column}: {cell!r} names no series"
                    )
            ids, place = np.unique(cells, return_inverse=True)
            labels = ids.tolist()
        self.remarks, pieces = [], []
        if not self.time_column and not self.id_column and (uneven := table.uneven()):
            self.remarks.append(
                f"{self.source}: the times in column {uneven} do not increase in even steps, and the rows are taken as "
                f"if they did; data.time_column={uneven} reads them"
            )
        self.ahead = Ahead(self.known, self.calendar, self.holidays, self.horizon, names, {})
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
        if len(self.remarks) > 3:  # of many series
            more = counted(len(self.remarks) - 3, "more such remark")
            self.remarks = [*self.remarks[:3], f"{self.source}: {more}"]
        frame = Frame(times, values, inputs, self.target, 0, offsets, groups if self.id_column else [])
        self.season = self._season(times[: groups[0].stop], frame.offsets_of(groups[0]))
        return self.ahead.widened(frame, bool(self.time_column))

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
        """Prepares one series (gaps, resampling, remarks); returns its times, values and offsets."""
        which = f", {self.id_column} {label}" if label else ""
        offsets = None if offsets is None else offsets[rows]
        whole = times, values, offsets
        if self.known:  # the last rows may hold only columns that are known ahead
            end = self._told(values, names)
            self.ahead.beyond[label] = values[end:]
            values, times, rows = values[:end], times[:end], rows[:end]
            offsets = None if offsets is None else offsets[:end]
        if self.log and len(bad := np.argwhere(values[:, [names.index(n) for n in self.target]] <= 0)):
            row, name = rows[bad[0][0]], self.target[bad[0][1]]
            cell = table.cells(name, "target")[row]
            raise UserError(
                f"{self.source}: row {table.rows[row]}, column {name}: {cell} has no logarithm; set data.log=false"
            )
        remedy = "data.missing=interpolate fills gaps, data.missing=drop leaves their rows out"
        if self.missing == "error" and len(gaps := np.argwhere(np.isnan(values))):
            row, name = rows[gaps[0][0]], names[gaps[0][1]]
            cell = table.cells(name, "columns")[row]
            raise UserError(
                f"{self.source}: row {table.rows[row]}, column {name}: {cell!r} is no value; {remedy}"
            )
        if self.period is not None:
            times, values, offsets = resampled(*whole, self.period)
            if self.known:
                end = self._told(values, names)
                self.ahead.beyond[label] = values[end:]
                times, values = times[:end], values[:end]
                offsets = None if offsets is None else offsets[:end]
            if self.missing == "error" and len(empty := np.flatnonzero(np.isnan(values[:, 0]))):
                bin = f"the {in_words(self.period)} from {times[empty[0]].astype('datetime64[s]')}"
                raise UserError(f"{self.source}{which}: there is no row in {bin}; {remedy}")
        if self.missing == "drop":
            kept = ~np.isnan(values).any(1)
            times, values = times[kept], values[kept]
            offsets = None if offsets is None else offsets[kept]
        if self.missing == "interpolate":
            self._interpolate(times, values, names)
        self.remarks += leaps(f"{self.source}{which}", times, offsets)
        self.remarks += strays(f"{self.source}{which}", values, names, self.parts(len(values)), self.scaling)
        return times, values, offsets

    def _told(self, values: np.ndarray, names: list[str]) -> int:
        """The number of rows up to the last one with a value of any target."""
        targets = [names.index(name) for name in self.target]
        told = np.flatnonzero(~np.isnan(values[:, targets]).all(1))
        return int(told[-1]) + 1 if len(told) else len(values)

    def _season(self, times: np.ndarray, offsets: np.ndarray | None) -> int | None:
        if self.asked_season != "auto":
            return self.asked_season
        step = step_of(times, offsets)
        return None if step is None else step.season

    def known_ahead(self, row: int, steps: int) -> torch.Tensor:
        return self.ahead.told(self.frame, self.series, self.scales, row, steps)

    def _interpolate(self, times: np.ndarray, values: np.ndarray, names: list[str]) -> None:
        at = (times - times[0]).astype(np.float64)
        found = self.parts(len(values))
        named = [(NAMES[split], place) for split, place in found.items()]
        for part, place in [*named, (None, slice(found["test"].stop, len(values)))]:  # None: left out
            for i, name in enumerate(names):
                column, gap = values[place, i], np.isnan(values[place, i])
                if len(gap) and gap.all():
                    if part is None:
                        continue
                    raise UserError(f"{self.source}: column {name} has no value in the whole {part} part")
                if gap.any():
                    column[gap] = np.interp(at[place][gap], at[place][~gap], column[~gap])

    def fit(self, train: np.ndarray, columns: list[str]) -> tuple[np.ndarray, np.ndarray]:
        shift, scale = np.zeros(len(columns)), np.ones(len(columns))
        if self.scaling == "none":
            return shift, scale
        train = train[~np.isnan(train).any(1)]
        scaled = [i for i in range(len(columns)) if not self.inputs - self.frame.plain <= i < self.inputs]
        low, high = train.min(0), train.max(0)
        where = f"{self.source}, {self.id_column} {self.fitting}" if self.fitting else f"{self.source}"
        if len(constant := [i for i in scaled if low[i] == high[i]]):
            i = constant[0]
            out = "the column or this series out," if self.fitting else "it out"
            raise UserError(
                f"{where}: column {columns[i]} is constant ({low[i]:g}) over the {len(train)} training "
                f"rows: data.scaling={self.scaling} cannot scale it; leave {out} or take data.scaling=none"
            )
        with np.errstate(all="ignore"):
            found = (low, high - low) if self.scaling == "minmax" else (train.mean(0), train.std(0))
            # the spread of differences, unless it is 0 as for a constant slope
            if self.scaling in DIFFERENCES:
                back = self.season if self.scaling == "seasonal_difference" and self.season else 1
                enough = len(train) > back
                spread = (train[back:] - train[:-back]).std(0) if enough else np.zeros(len(columns))
                found = train.mean(0), np.where(spread > 1e-6 * found[1], spread, found[1])
        least = 0.0 if self.scaling == "minmax" else SQUARED
        if lost := [i for i in scaled if not (np.isfinite(found[0][i]) and least < found[1][i] < np.inf)]:
            raise UserError(
                f"{where}: column {columns[lost[0]]}: its spread cannot be computed in double precision; "
                "multiply it by a constant"
            )
        shift[scaled], scale[scaled] = found[0][scaled], found[1][scaled]
        return shift, scale

    def make_predictors(self) -> dict[str, Predictor]:
        frame, shape = self.frame, (self.window, self.horizon)
        values, targets = frame.values, frame.values[:, self.target_columns]
        found: dict[str, Predictor | None] = {"persistence": baselines.persistence(targets, self.window)}
        if self.season:
            found["seasonal"] = baselines.seasonal(targets, *shape, self.season, frame.first_row)
        fitted, chosen_on = self.starts("train").numpy(), self.starts("val").numpy()
        if len(fitted):
            if frame.groups:  # one predictor for all series, in scaled units, in which they are comparable
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
