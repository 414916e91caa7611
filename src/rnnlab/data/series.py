"""A real series from a CSV file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from rnnlab.config import data_schema as schema
from rnnlab.config.arguments import check_arguments
from rnnlab.data import baselines
from rnnlab.data.baselines import Predictor
from rnnlab.data.parts import parts
from rnnlab.data.resample import means, period
from rnnlab.data.table import Table
from rnnlab.data.windows import Frame, Windowed
from rnnlab.errors import UserError

POLICIES = ("error", "interpolate", "drop")
SCALINGS = ("standard", "minmax", "none")


class Series(Windowed):
    """Columns of a CSV file, cut into parts in time order; no window straddles a cut.

    Each column is scaled by its training rows alone, and gaps are interpolated within each part alone
    (linearly in time, or in rows without a `time_column`; at the ends of a part by the nearest value), so
    that nothing of a later part reaches an earlier one. `season` counts rows, after resampling.
    """

    def __init__(
        self,
        path: str | Path,
        target: str | Sequence[str],
        columns: str | Sequence[str] | None = None,
        time_column: str | None = None,
        missing: Literal["error", "interpolate", "drop"] = "error",
        resample: str | None = None,
        scaling: Literal["standard", "minmax", "none"] = "standard",
        window: int = 96,
        horizon: int = 24,
        season: int | None = 24,
        fractions: tuple[float, float, float] = (0.6, 0.2, 0.2),
        delimiter: str = ",",
        encoding: str = "utf-8",
        batch_size: int = 64,
        seed: int = 0,
    ) -> None:
        check_arguments(schema.Series, "data", locals(), aside=("path",))
        super().__init__(window, horizon, fractions, batch_size, seed)
        self.path, self.time_column, self.season = Path(path), time_column, season
        self.missing, self.scaling, self.delimiter, self.encoding = missing, scaling, delimiter, encoding
        self.period = period(resample) if resample else None
        self.target = [target] if isinstance(target, str) else list(target)
        self.columns = [columns] if isinstance(columns, str) else columns and list(columns)
        self.remarks: list[str] = []

    def read(self) -> Frame:
        table = Table(self.path, self.delimiter, self.encoding)
        times = table.times(self.time_column) if self.time_column else np.arange(len(table.rows))
        inputs = self.columns or self.target
        if inputs == ["all"]:
            inputs = [n for n in table.header if n and n != self.time_column and table.is_number(n)]
        asked = {**dict.fromkeys(inputs, "columns"), **dict.fromkeys(self.target, "target")}
        names = list(asked)
        values = np.stack([table.numbers(name, key) for name, key in asked.items()], axis=1)
        remedy = "data.missing=interpolate fills gaps, data.missing=drop leaves their rows out"
        if self.missing == "error" and len(gaps := np.argwhere(np.isnan(values))):
            row, name = gaps[0][0], names[gaps[0][1]]
            cell = table.cells(name, "columns")[row]
            raise UserError(
                f"{self.path}: row {table.rows[row]}, column {name}: {cell!r} is no value; {remedy}"
            )
        if self.period is not None:
            times, values = means(times, values, self.period)
            if self.missing == "error" and len(empty := np.flatnonzero(np.isnan(values[:, 0]))):
                bin = f"the {self.period} from {times[empty[0]].astype('datetime64[s]')}"
                raise UserError(f"{self.path}: there is no row in {bin}; {remedy}")
        if self.missing == "drop":
            whole = ~np.isnan(values).any(1)
            times, values = times[whole], values[whole]
        if self.missing == "interpolate":
            self._interpolate(times, values, names)
        self.remarks = leaps(self.path, times)
        return Frame(times, values, list(inputs), self.target)

    def _interpolate(self, times: np.ndarray, values: np.ndarray, names: list[str]) -> None:
        at = (times - times[0]).astype(np.float64)
        for split, place in parts(len(values), self.fractions).items():
            for i, name in enumerate(names):
                column, gap = values[place, i], np.isnan(values[place, i])
                if len(gap) and gap.all():
                    raise UserError(f"{self.path}: column {name} has no value in the whole {split} part")
                if gap.any():
                    column[gap] = np.interp(at[place][gap], at[place][~gap], column[~gap])

    def fit(self, train: np.ndarray, columns: list[str]) -> tuple[np.ndarray, np.ndarray]:
        low, high = train.min(0), train.max(0)
        if self.scaling == "none":
            return np.zeros(len(columns)), np.ones(len(columns))
        if len(constant := np.flatnonzero(low == high)):
            i = constant[0]
            raise UserError(
                f"{self.path}: column {columns[i]} is constant ({low[i]:g}) over the {len(train)} training "
                f"rows: data.scaling={self.scaling} cannot scale it; leave it out or take data.scaling=none"
            )
        return (train.mean(0), train.std(0)) if self.scaling == "standard" else (low, high - low)

    def make_predictors(self) -> dict[str, Predictor]:
        values, fitted = self.frame.values, self.starts("train").numpy()
        targets, shape = values[:, self.target_columns], (self.window, self.horizon)
        found: dict[str, Predictor | None] = {"persistence": baselines.persistence(targets, self.window)}
        if self.season:
            found["seasonal"] = baselines.seasonal(targets, *shape, self.season)
        if len(fitted):
            found["linear"] = baselines.linear(values[:, : self.inputs], targets, *shape, fitted)
        return {name: predictor for name, predictor in found.items() if predictor}


def leaps(path: Path, times: np.ndarray) -> list[str]:
    """A remark where rows are missing in between: for a model, rows that follow each other are a step apart.

    Steps of half as much again as the median count, so that months may have their days.
    """
    steps = np.diff(times).astype(np.float64)
    usual = np.median(steps) if len(steps) else 0.0
    wide = np.flatnonzero(steps > 1.5 * usual)
    if times.dtype.kind != "M" or not usual or not len(wide):
        return []
    first, last = (str(times[i].astype("datetime64[s]")) for i in (wide[0], wide[0] + 1))
    return [
        f"{path}: the times leap in {len(wide):,} place{'s' * (len(wide) > 1)}, first from {first} to {last}, and "
        "windows lie across; data.resample makes the steps even"
    ]
