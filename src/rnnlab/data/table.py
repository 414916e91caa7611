"""A CSV file with a header line, read so that every fault is named with its row and column.

Rows are counted as a spreadsheet counts them: the header is row 1.
"""

import csv
import io
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rnnlab.errors import UserError, nearest
from rnnlab.regular_files import read_file

MISSING = ("", "na", "n/a", "nan", "null", "none")  # in any case; infinite numbers count as missing too
CELLS = 12  # bytes of memory for each of the file, as texts in lists
ISO = re.compile(r"\s*\d{4}(-\d\d(-\d\d([T ].+)?)?)?\s*")


class Table:
    """The cells of a CSV file as text, by column.

    Raises UserError for a file that is not there, is empty, has only a header, is not of this encoding,
    repeats a column's name or has a row with more or fewer cells than the header. Empty lines are skipped,
    except that within a file of one column they are empty cells.
    """

    def __init__(self, path: str | Path, delimiter: str = ",", encoding: str = "utf-8") -> None:
        self.path, self.delimiter = Path(path).expanduser(), delimiter.replace(r"\t", "\t")
        records = self._records(self._text(encoding))
        first = next((i for i, record in enumerate(records) if record), None)
        if first is None:
            raise UserError(f"{self.path}: the file is empty")
        self.header = [name.strip() for name in records[first]]
        repeated = [name for name, count in Counter(self.header).items() if count > 1 and name]
        if repeated:
            raise UserError(f"{self.path}: the header names column {repeated[0]} more than once")
        width = len(self.header)
        if width == 1:
            while not records[-1]:
                records.pop()
            records[first:] = [record or [""] for record in records[first:]]
        self.rows = [i + 1 for i, record in enumerate(records) if record][1:]
        for row in self.rows:
            if (cells := len(records[row - 1])) != width:
                raise UserError(f"{self.path}: row {row} has {cells} cells, the header has {width} columns")
        if not self.rows:
            raise UserError(f"{self.path}: there is a header, but no rows")
        self._cells = dict(
            zip(self.header, zip(*(records[row - 1] for row in self.rows), strict=True), strict=True)
        )

    def _text(self, encoding: str) -> str:
        try:
            data = read_file(self.path, CELLS)
        except FileNotFoundError:
            folder = self.path.parent
            if not folder.is_dir():
                raise UserError(f"data.path={self.path}: there is no folder {folder}") from None
            hint = nearest(self.path.name, [p.name for p in folder.iterdir() if p.is_file()])
            raise UserError(
                f"data.path={self.path}: no such file.{hint if len(hint) < 200 else ''}"
            ) from None
        except OSError as error:
            raise UserError(f"data.path={self.path}: {(error.strerror or str(error)).lower()}") from None
        try:
            return data.decode(encoding).removeprefix("\ufeff")
        except LookupError:
            raise UserError(
                f"data.encoding={encoding}: no such encoding; try utf-8, utf-16 or latin-1"
            ) from None
        except UnicodeDecodeError as error:
            row, other = data.count(b"\n", 0, error.start) + 1, "latin-1"
            if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
                other = "utf-16"
            raise UserError(
                f"{self.path}: row {row}: byte {error.start} (0x{data[error.start]:02x}) is not {encoding}; "
                f"try data.encoding={other}"
            ) from None

    def _records(self, text: str) -> list[list[str]]:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=self.delimiter)
        try:
            return list(reader)
        except csv.Error as error:
            raise UserError(f"{self.path}: row {reader.line_num}: {error}") from None

    def cells(self, name: str, key: str) -> tuple[str, ...]:
        """A column's cells; `key` is the config key that asked for it, named if there is no such column."""
        if name and name in self._cells:
            return self._cells[name]
        hint = nearest(name, [column for column in self.header if column])
        if len(self.header) == 1 and (other := [d for d in ",;\t|" if d in self.header[0]]):
            hint = f" The header is the one column {self.header[0]!r}: data.delimiter={other[0]!r}?"
        raise UserError(f"data.{key}={name}: no such column in {self.path}.{hint}")

    def is_number(self, name: str) -> bool:
        """Whether the first cell of a column that is not missing is a number."""
        first = next((cell for cell in self._cells[name] if cell.strip().lower() not in MISSING), None)
        return first is not None and _number(first) is not None

    def numbers(self, name: str, key: str) -> np.ndarray:
        """A column as float64 (N,), NaN where it is missing or infinite; UserError for text."""
        cells = self.cells(name, key)
        try:
            values = np.fromiter(map(float, cells), np.float64, len(cells))
        except ValueError:
            values = None
        if values is None or "_" in "".join(cells):  # Python reads 1_000 as a number
            found = [_number(cell) for cell in cells]
            if None in found:
                i = found.index(None)
                raise UserError(
                    f"{self.path}: row {self.rows[i]}, column {name}: {cells[i]!r} is not a number"
                )
            values = np.array(found, dtype=np.float64)
        return np.where(np.isfinite(values), values, np.nan)

    def times(self, name: str) -> np.ndarray:
        """A column of increasing ISO times as datetime64[us], in UTC where they carry an offset."""
        cells = self.cells(name, "time_column")
        wrong = next((i for i, cell in enumerate(cells) if not ISO.fullmatch(cell)), None)
        times = _instants(cells) if wrong is None else None
        if times is None:
            i = next(i for i, cell in enumerate(cells) if i == wrong or _instants([cell]) is None)
            raise UserError(
                f"{self.path}: row {self.rows[i]}, column {name}: {cells[i]!r} is no ISO time, such as "
                "2016-07-01 or 2016-07-01 12:30"
            )
        late = np.flatnonzero(np.diff(times) <= np.timedelta64(0))
        if len(late):
            i = int(late[0])
            raise UserError(
                f"{self.path}: row {self.rows[i + 1]}, column {name}: {cells[i + 1]} does not come after "
                f"{cells[i]} in row {self.rows[i]}; times must increase"
            )
        return times


def _number(cell: str) -> float | None:
    """NaN for a missing cell, None for text."""
    if cell.strip().lower() in MISSING:
        return np.nan
    try:
        return float(cell) if "_" not in cell else None
    except ValueError:
        return None


def _instants(cells: Sequence[str]) -> np.ndarray | None:
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # numpy warns that it converts an offset to UTC, which is what we want
        try:
            return np.array([cell.strip() for cell in cells], dtype="datetime64[us]")
        except ValueError:
            return None
