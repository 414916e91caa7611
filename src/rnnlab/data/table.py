"""`Table`: a table with a header, from a CSV file (perhaps gzipped), a Parquet file or a DataFrame.

An error in a cell names its row and column. Rows are numbered as in a spreadsheet: the header is row 1.
"""

import csv
import gzip
import importlib.util
import io
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnnlab.data.instants import Instants, Unread, read_times
from rnnlab.data.remarks import leaps
from rnnlab.errors import UserError, counted, nearest
from rnnlab.memory import check_memory
from rnnlab.regular_files import from_home, read_file

MISSING = ("", "na", "n/a", "nan", "null", "none", "nat", "<na>")  # in any case; infinite numbers, too
CELLS = 12  # bytes of memory for each byte of the file, while its cells are texts in lists
DELIMITERS = ",;\t|"
GZIP, PARQUET = b"\x1f\x8b", b"PAR1"  # the first bytes of such files


class Table:
    """The cells of a table as text, by column.

    `source` is a file or a DataFrame. With `delimiter` None, it is the one of , ; tab | that occurs most in the header.
    `decimal` and `thousands` are the marks in numbers, `marks` further texts that stand for a missing value.

    Raises UserError for a file that does not exist, is empty, has only a header, has another encoding,
    repeats a column's name, or has a row with more or fewer cells than the header. Empty lines are skipped;
    inside a file with one column they are empty cells.
    """

    def __init__(
        self,
        source: Any,
        delimiter: str | None = None,
        encoding: str = "utf-8",
        *,
        decimal: str = ".",
        thousands: str | None = None,
        marks: Sequence[str] = (),
    ) -> None:
        self.decimal, self.thousands, self.delimiter = decimal, thousands, delimiter
        # columns of numbers or times, not of texts: the marks do not concern them
        self.typed: set[str] = set()
        self.missing = {*MISSING, *(mark.strip().lower() for mark in marks)}
        if isinstance(source, str | Path):
            self.path: Any = from_home(source)
            data = self._bytes()
            if data[:4] == PARQUET:
                self._take(_parquet(self.path, data))
            else:
                self._read(self._text(data, encoding))
        else:
            self.path = "the DataFrame"
            if twice := [name for name in source.index.names if name is not None and name in source.columns]:
                source = source.reset_index(twice, drop=True)
            if list(source.index.names) != [None]:
                source = source.reset_index()  # an index with a name is a column
            names = [str(name) for name in source.columns]
            self._take((name, source.iloc[:, i].tolist()) for i, name in enumerate(names))

    def _take(self, columns: Iterable[tuple[str, list[Any]]]) -> None:
        self.header: list[str] = []
        self._cells: dict[str, tuple[str, ...]] = {}
        for name, values in columns:
            self.header.append(name)
            self._cells[name] = _texts(values)
            if not any(isinstance(value, str) for value in values):
                self.typed.add(name)
        self._refuse_repeats()
        self.rows = list(range(2, 2 + len(next(iter(self._cells.values()), ()))))
        if not self.rows:
            raise UserError(f"{self.path}: there is a header, but no rows")

    def _refuse_repeats(self) -> None:
        repeated = [name for name, count in Counter(self.header).items() if count > 1 and name]
        if repeated:
            raise UserError(f"{self.path}: the header names column {repeated[0]} more than once")

    def _read(self, text: str) -> None:
        if self.delimiter is None:
            first = next((line for line in io.StringIO(text) if line.strip()), "")
            self.delimiter = max(DELIMITERS, key=first.count)
        self.delimiter = self.delimiter.replace(r"\t", "\t")
        records = self._records(text)
        first_row = next((i for i, record in enumerate(records) if record), None)
        if first_row is None:
            raise UserError(f"{self.path}: the file is empty")
        self.header = [name.strip() for name in records[first_row]]
        self._refuse_repeats()
        width = len(self.header)
        if width == 1:
            while not records[-1]:
                records.pop()
            records[first_row:] = [record or [""] for record in records[first_row:]]
        self.rows = [i + 1 for i, record in enumerate(records) if record][1:]
        for row in self.rows:
            if (cells := len(records[row - 1])) != width:
                raise UserError(
                    f"{self.path}: row {row} has {counted(cells, 'cell')}, the header has "
                    f"{counted(width, 'column')}"
                )
        if not self.rows:
            raise UserError(f"{self.path}: there is a header, but no rows")
        self._cells = dict(
            zip(self.header, zip(*(records[row - 1] for row in self.rows), strict=True), strict=True)
        )

    def _bytes(self) -> bytes:
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
        return gunzip(data, self.path) if data[:2] == GZIP else data

    def _text(self, data: bytes, encoding: str) -> str:
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
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=self.delimiter or ",")
        try:
            return list(reader)
        except csv.Error as error:
            raise UserError(f"{self.path}: row {reader.line_num}: {error}") from None

    def cells(self, name: str, key: str) -> tuple[str, ...]:
        """A column's cells. Raises UserError, which names the config key `key`, if there is no such column."""
        if name and name in self._cells:
            return self._cells[name]
        hint = nearest(name, [column for column in self.header if column])
        if len(self.header) == 1 and (other := [d for d in ",;\t|" if d in self.header[0]]):
            hint = f" The header is the one column {self.header[0]!r}: data.delimiter={other[0]!r}?"
        raise UserError(f"data.{key}={name}: no such column in {self.path}.{hint}")

    def is_number(self, name: str) -> bool:
        """Whether the first cell of a column that is not missing is a number."""
        first = next((cell for cell in self._cells[name] if cell.strip().lower() not in self.missing), None)
        return first is not None and self._number(first, name in self.typed) is not None

    def numbers(self, name: str, key: str) -> np.ndarray:
        """A column as float64 (N,), NaN where a cell is missing or infinite. Raises UserError for text."""
        cells, typed = self.cells(name, key), name in self.typed
        marked = not typed and (self.decimal != "." or self.thousands is not None)
        plain = not marked and "_" not in "".join(cells)  # Python reads 1_000 as a number; here it is text
        try:
            values = np.fromiter(map(float, cells), np.float64, len(cells)) if plain else None
        except ValueError:
            values = None
        if values is None:
            found = [self._number(cell, typed) for cell in cells]
            if None in found:
                i = found.index(None)
                where = f"{self.path}: row {self.rows[i]}, column {name}: {cells[i]!r}"
                raise UserError(f"{where} is not a number{self._remedy(cells[i])}")
            values = np.array(found, dtype=np.float64)
        elif self.missing - {*MISSING}:  # a user's mark for missing values may be a number, such as -999
            values[[cell.strip().lower() in self.missing for cell in cells]] = np.nan
        return np.where(np.isfinite(values), values, np.nan)

    def _number(self, cell: str, typed: bool) -> float | None:
        """NaN for a missing cell, None for text. A `typed` cell was a number, which Python has written."""
        text = cell.strip()
        if text.lower() in self.missing:
            return np.nan
        if self.thousands and not typed:
            text = text.replace(self.thousands, "")
        if self.decimal != "." and not typed:
            text = text.replace(".", "_").replace(self.decimal, ".")  # with a point it is not a number then
        try:
            return float(text) if "_" not in text else None
        except ValueError:
            return None

    def _remedy(self, cell: str) -> str:
        """A hint at a setting with which the cell would be a number, or missing; "" if there is none."""
        text = cell.strip()
        try:
            if "," in text and self.decimal == "." and "_" not in text:
                if "." not in text and text.count(",") == 1 and len(text.rpartition(",")[2]) != 3:
                    float(text.replace(",", "."))
                    return "; data.decimal=',' reads it as one"
                float(text.replace(",", ""))
                return "; data.thousands=',' reads it as one"
        except ValueError:
            pass
        return (
            "; data.marks=[" + repr(text) + "] takes it for missing" if text in "?-*._#" * bool(text) else ""
        )

    def times(self, name: str, form: str | None = None) -> Instants:
        """A column of times; `form` is their format, if it is not a common one. Raises UserError for other cells."""
        cells = self.cells(name, "time_column")
        try:
            return read_times(cells, form)
        except Unread as error:
            i = error.index
            raise UserError(
                f"{self.path}: row {self.rows[i]}, column {name}: {cells[i]!r} {error.why}"
            ) from None

    def uneven(self) -> str | None:
        """The first column whose times leap or do not increase; None where there is none."""
        for name, cells in self._cells.items():
            if not name or self.is_number(name):
                continue
            try:
                times, offsets = read_times(cells)
            except Unread:
                continue
            if (np.diff(times) <= np.timedelta64(0)).any() or leaps(name, times, offsets):
                return name
        return None

    def increasing(self, name: str, times: np.ndarray, rows: Sequence[int] | np.ndarray) -> None:
        """Raises UserError where `times`, those of the table's cells `rows`, do not increase."""
        late = np.flatnonzero(np.diff(times) <= np.timedelta64(0))
        if not len(late):
            return
        cells, before, after = self._cells[name], rows[int(late[0])], rows[int(late[0]) + 1]
        repeated = len(np.unique(times)) <= len(times) / 2 and (others := self.repeating(name))
        long = (
            f". The times repeat for each {others[0]}: if there are several series, data.id_column={others[0]} tells "
            "them apart"
            if repeated
            else ""
        )
        raise UserError(
            f"{self.path}: row {self.rows[after]}, column {name}: {cells[after]} does not come after "
            f"{cells[before]} in row {self.rows[before]}; times must increase{long}"
        )

    def repeating(self, time: str) -> list[str]:
        """Columns that may name the series of a long table: no time occurs twice with one of their values."""
        times = self._cells[time]
        return [
            name
            for name in self.header
            if name
            and name != time
            and len(set(zip(self._cells[name], times, strict=True))) == len(times)
            and len(set(self._cells[name])) <= len(times) / 4
        ]


def gunzip(data: bytes, path: Any) -> bytes:
    """The unpacked content of a gzipped file. Raises UserError if it is damaged or does not fit into memory."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            parts, size = [], 0
            while part := file.read(1 << 24):
                size += len(part)
                check_memory(float(CELLS) * size, f"{path}: unpacked it")
                parts.append(part)
        return b"".join(parts)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: is not a complete gzip file: {str(error).lower()}") from None


def _parquet(path: Path, data: bytes) -> Iterator[tuple[str, list[Any]]]:
    if importlib.util.find_spec("pyarrow") is None:
        raise UserError(
            f"{path}: Parquet files are read by pyarrow, which is not installed: pip install pyarrow"
        )
    from pyarrow import ArrowException, BufferReader
    from pyarrow.parquet import read_table

    try:
        table = read_table(BufferReader(data))
    except (ArrowException, OSError) as error:
        raise UserError(f"{path}: is not a complete Parquet file: {str(error).splitlines()[0]}") from None
    columns = zip(table.column_names, table.columns, strict=True)
    return ((name, column.to_pylist()) for name, column in columns)


def _texts(values: Sequence[Any]) -> tuple[str, ...]:
    """Values as cells of a CSV file; floats as the shortest text that reads back as the same number."""
    turn: Callable[[Any], str] = lambda v: "" if v is None else str(int(v)) if isinstance(v, bool) else str(v)  # noqa: E731
    return tuple(map(turn, values))
