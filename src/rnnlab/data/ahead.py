"""`Ahead`: inputs whose future is known: columns that are known ahead, calendar features and public holidays."""

from dataclasses import dataclass

import numpy as np
import torch

from rnnlab.data.calendar import continued, features, holiday, local
from rnnlab.data.frame import Frame
from rnnlab.data.scales import Scales
from rnnlab.errors import UserError


@dataclass
class Ahead:
    """Inputs with the values of `horizon` rows later: the `known` columns, sine and cosine of the cycles `calendar`,
    and public holidays.

    `beyond` holds, for each series, the rows after its last target, with columns as in `names`.
    """

    known: list[str]
    calendar: list[str]
    holidays: str | None
    horizon: int
    names: list[str]
    beyond: dict[str, np.ndarray]

    def widened(self, frame: Frame, timed: bool) -> Frame:
        """The frame with a column for each of these inputs. Raises UserError for calendar or holidays without times."""
        if not self.known and not self.calendar and not self.holidays:
            return frame
        if (self.calendar or self.holidays) and not timed:
            asked = f"calendar={self.calendar[0]}" if self.calendar else f"holidays={self.holidays}"
            raise UserError(f"data.{asked}: needs data.time_column")
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
            columns.append(self._of_days(frame.times[at], frame.offsets_of(group), h)[h:])
            ahead.append(np.hstack(columns))
        added = [f"{name}+{h}" for name in self.known]
        waves = [f"{name}_{wave}+{h}" for name in self.calendar for wave in ("sin", "cos")]
        waves += [f"holiday+{h}"] if self.holidays else []
        inputs = [*frame.inputs, *added, *waves]
        n = len(frame.inputs)
        values = np.hstack([frame.values[:, :n], np.concatenate(ahead), frame.values[:, n:]])
        return frame._replace(values=values, inputs=inputs, plain=len(waves))

    def _of_days(self, times: np.ndarray, offsets: np.ndarray | None, n: int) -> np.ndarray:
        """Calendar features and holidays of each time of a series, and of `n` more times after it, (N + n, columns)."""
        shown = continued(times, n, offsets)
        if offsets is not None:
            shown = local(shown, np.append(offsets, np.full(n, offsets[-1])))
        found = features(shown, self.calendar) if self.calendar else np.empty((len(shown), 0))
        return found if self.holidays is None else np.hstack([found, holiday(shown, self.holidays)[:, None]])

    def told(self, frame: Frame, series: torch.Tensor, scales: Scales, row: int, steps: int) -> torch.Tensor:
        """The scaled inputs (steps, inputs) of the rows from `row` on, where they are known ahead; NaN elsewhere.

        `frame` is the widened frame, and `series` (N, columns) its scaled values.
        """
        inputs = len(frame.inputs)
        told = torch.full((steps, inputs), torch.nan)
        if not self.known and not frame.plain:
            return told
        group, n = frame.series_of(row - 1), inputs - frame.plain - len(self.known)
        ahead = range(n, inputs)  # the columns with values of `horizon` rows later
        inside = series[row : min(row + steps, group.stop), :inputs]
        known = [frame.inputs.index(name) for name in self.known]
        told[: len(inside), [*known, *ahead]] = inside[:, [*known, *ahead]]
        missing = max(0, row + steps - group.stop)
        if missing and frame.plain:
            times, offsets = frame.times[group.start : group.stop], frame.offsets_of(group)
            of_days = self._of_days(times, offsets, missing + self.horizon)[-missing:].astype(np.float32)
            told[steps - missing :, inputs - frame.plain :] = torch.from_numpy(of_days)
        if missing and self.known:
            at = [g.name for g in frame.series].index(group.name)
            later = self.beyond[group.name]
            for source, column in zip(known, range(n, n + len(self.known)), strict=True):
                name = frame.inputs[source]
                raw = np.append(later[:, self.names.index(name)], np.full(missing + self.horizon, np.nan))
                for to, first in ((source, 0), (column, self.horizon)):
                    shift, scale = (array[at, to] for array in scales)
                    scaled = ((raw[first : first + missing] - shift) / scale).astype(np.float32)
                    told[steps - missing :, to] = torch.from_numpy(scaled)
        return told
