"""metrics.csv: every scalar of a training by step, one line a value, no wall-clock values.

    step,metric,value
    1,loss/train,0.5413

Values are the shortest text that reads back as the same float.
"""

import csv
import io
from collections.abc import Callable, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from rnnlab.errors import UserError
from rnnlab.memory import afford
from rnnlab.regular_files import open_file

BYTES = 1_000_000_000  # of a file that is read; some ten million steps
HEADER = "step,metric,value\n"


def line(step: int, name: str, value: float) -> str:
    return f"{step},{name},{value!r}\n"


Scalars = tuple[int, dict[str, float]]  # (step, {name: value})


class Course(NamedTuple):
    """The same scalars over many steps."""

    steps: Sequence[int]
    columns: dict[str, Sequence[float] | np.ndarray]  # a value for each step


Entry = Scalars | Course
Made = TypeVar("Made")


def interleaved(
    entries: Sequence[Entry],
    alone: Callable[[int, dict[str, float]], Made],
    together: Callable[[np.ndarray, dict[str, np.ndarray]], list[Made]],
) -> list[Made]:
    """What becomes of each step, in the order of the entries; courses of the same names are done at once.

    `together` gets their steps (int64) and columns (float64), and gives one result for each step.
    """
    alike: dict[tuple[str, ...], list[Course]] = {}
    for entry in entries:
        if isinstance(entry, Course):
            alike.setdefault(tuple(entry.columns), []).append(entry)
    made = {}
    for names, courses in alike.items():
        steps = np.fromiter(chain.from_iterable(course.steps for course in courses), dtype=np.int64)
        columns = {name: np.concatenate([course.columns[name] for course in courses]) for name in names}
        made[names] = iter(together(steps, columns))
    found: list[Made] = []
    for entry in entries:
        if isinstance(entry, Course):
            found += islice(made[tuple(entry.columns)], len(entry.steps))
        else:
            found.append(alone(*entry))
    return found


def lines(entries: Sequence[Entry]) -> str:
    """The file's lines for some entries, as `line` makes each."""

    def alone(step: int, scalars: dict[str, float]) -> str:
        return "".join([line(step, name, value) for name, value in scalars.items()])

    def together(steps: np.ndarray, columns: dict[str, np.ndarray]) -> list[str]:
        form = "".join(f"%d,{name.replace('%', '%%')},%r\n" for name in columns)
        at = steps.tolist()
        cells = [cell for column in columns.values() for cell in (at, column.tolist())]
        return list(map(form.__mod__, zip(*cells, strict=True)))

    return "".join(interleaved(entries, alone, together))


def read_metrics(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{name: (steps int64, values float64)} in the order of the file; {} where there is no file.

    A last line that is being written, or was cut off, is passed over. Raises UserError for a file that is no such
    table, and for one larger than memory should hold.
    """
    try:
        size = path.stat().st_size
        if size > BYTES:
            raise UserError(f"{path}: larger than {BYTES:,} bytes; not read")
        afford(10.0 * size, f"{path}: with its {size:,} bytes it")
        return _read(path)
    except FileNotFoundError:
        return {}
    except (ValueError, OverflowError, OSError, csv.Error) as error:
        raise UserError(f"{path}: not a table of step, metric, value: {error}") from error


def _read(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    series: dict[str, tuple[list[int], list[float]]] = {}
    with io.TextIOWrapper(open_file(path), encoding="utf-8", newline="") as f:
        rows = csv.reader(line for line in f if line.endswith("\n"))
        header = next(rows, None)  # a file that was just begun has none yet
        if header is not None and ",".join(header) != HEADER.strip():
            raise ValueError(f"it does not begin with {HEADER.strip()}")
        for step, name, value in rows:
            steps, values = series.setdefault(name, ([], []))
            steps.append(int(step))
            values.append(float(value))
    return {name: (np.array(s, dtype=np.int64), np.array(v)) for name, (s, v) in series.items()}
