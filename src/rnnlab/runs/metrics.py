"""The scalars of a training: batches of them (`Scalars`), and the file metrics.csv with one line per value.

    step,metric,value
    1,loss/train,0.5413

metrics.csv has no wall-clock values. Values are the shortest text that reads back as the same float.
"""

import csv
import functools
import io
from array import array
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnnlab.errors import UserError
from rnnlab.memory import check_memory
from rnnlab.regular_files import open_file

BYTES = 4_000_000_000  # the largest file that is read; some thirty million steps
HEADER = "step,metric,value\n"
DERIVED = ("rmse", "bits", "perplexity")  # metrics that give another metric in other units
POINTS = 120  # of a smoothed curve

Curve = tuple[np.ndarray, np.ndarray]  # steps (n,) and values (n,)


@dataclass(frozen=True)
class Scalars:
    """The same scalars at some steps: `columns` has a value for each of `steps` under each name.

    A batch holds one step of the Python loop, or all steps of one call of the kernels. Values may be tensors on the
    device until `floats` reads them.
    """

    steps: Sequence[int]
    columns: Mapping[str, Sequence[Any]]

    @classmethod
    def of(cls, step: int, values: Mapping[str, Any]) -> "Scalars":
        """The scalars of a single step; values that are None (not measured) are left out."""
        return cls((step,), {name: (value,) for name, value in values.items() if value is not None})

    def floats(self) -> "Scalars":
        columns = {
            name: column.tolist() if isinstance(column, np.ndarray) else list(map(float, column))
            for name, column in self.columns.items()
        }
        return Scalars(self.steps, columns)

    def on_host(self) -> "Scalars":
        """The batch with columns that are float64 arrays, copied, or lists of floats."""
        columns = {
            name: np.array(column, np.float64) if isinstance(column, np.ndarray) else list(map(float, column))
            for name, column in self.columns.items()
        }
        return Scalars(self.steps, columns)

    def at(self, places: Iterable[int]) -> "Scalars":
        """The batch reduced to some of its positions."""
        places = list(places)
        columns = {name: [column[i] for i in places] for name, column in self.columns.items()}
        return Scalars([self.steps[i] for i in places], columns)

    def by_step(self) -> list[tuple[int, dict[str, float]]]:
        """[(step, {name: value})]."""
        rows = zip(*self.columns.values(), strict=True) if self.columns else ((),) * len(self.steps)
        return [(step, dict(zip(self.columns, row, strict=True)))
                for step, row in zip(self.steps, rows, strict=True)]  # fmt: skip


def lines(batch: Scalars) -> str:
    """The lines of metrics.csv for a batch: step by step, and its names in their order."""
    form = "".join(f"%d,{cell(name).replace('%', '%%')},%r\n" for name in batch.columns)
    cells = [cell for column in batch.columns.values() for cell in (batch.steps, column)]
    return "".join([form % row for row in zip(*cells, strict=True)])


@functools.lru_cache(1024)
def cell(name: str) -> str:
    """A metric's name as metrics.csv holds it: in quotes where it has a comma, a quote or a line break."""
    return '"' + name.replace('"', '""') + '"' if any(sign in name for sign in ',"\r\n') else name


def read_metrics(path: Path) -> dict[str, Curve]:
    """{name: (steps int64, values float64)} in the order of the file; {} where there is no file.

    A last line that is being written, or was cut off, is skipped. Raises UserError for a file that is not such a table,
    and for one that is too large for the memory.
    """
    try:
        size = path.stat().st_size
        if size > BYTES:
            raise UserError(f"{path}: larger than {BYTES:,} bytes; not read")
        check_memory(1.0 * size, f"{path}: with its {size:,} bytes it")
        return _read(path)
    except FileNotFoundError:
        return {}
    except (ValueError, OverflowError, OSError, csv.Error) as error:
        raise UserError(f"{path}: not a table of step, metric, value: {error}") from error


def _read(path: Path) -> dict[str, Curve]:
    series: dict[str, tuple[array, array]] = {}  # 16 bytes a line, where lists would take 80
    with io.TextIOWrapper(open_file(path), encoding="utf-8", newline="") as f:
        rows = csv.reader(line for line in f if line.endswith("\n"))
        header = next(rows, None)  # None where the file is still empty
        if header is not None and ",".join(header) != HEADER.strip():
            raise ValueError(f"it does not begin with {HEADER.strip()}")
        for step, name, value in rows:
            if name not in series:
                series[name] = array("q"), array("d")
            steps, values = series[name]
            steps.append(int(step))
            values.append(float(value))
    return {name: (np.frombuffer(s, dtype=np.int64), np.frombuffer(v)) for name, (s, v) in series.items()}


def smoothed(steps: np.ndarray, values: np.ndarray) -> Curve:
    """Means over POINTS stretches of equal length, at the last step of each; unchanged where there are few values."""
    if len(steps) < 2 * POINTS:
        return steps, values
    ends = np.linspace(0, len(steps), POINTS + 1).astype(int)
    return steps[ends[1:] - 1], np.add.reduceat(values, ends[:-1]) / np.diff(ends)


def shared(curves: Sequence[Curve]) -> Curve:
    """The steps (n,) that all `curves` have, and the values there (curves, n). Needs at least one curve.

    Where a curve has a step twice, as after a resume in another tool, the last value counts.
    """
    kept = [(*np.unique(steps[::-1], return_index=True), values[::-1]) for steps, values in curves]
    steps = functools.reduce(np.intersect1d, (own for own, _, _ in kept))
    return steps, np.stack([values[at[np.searchsorted(own, steps)]] for own, at, values in kept])


def as_logged(monitor: str, metrics: Container[str]) -> str:
    """The name of a monitored metric in `metrics`. The config renames val/r2 to metric/r2 and val/loss to loss/val, as
    in rnnlab's tasks; a user-defined module may log them as val/r2 and val/loss.
    """
    own = "val/loss" if monitor == "loss/val" else monitor.replace("metric/", "val/", 1)
    return own if monitor not in metrics and own in metrics else monitor
