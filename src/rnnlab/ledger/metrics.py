"""metrics.csv: every scalar of a training by step, one line a value, no wall-clock values.

    step,metric,value
    1,loss/train,0.5413

Values are the shortest text that reads back as the same float.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from rnnlab.errors import UserError

BYTES = 1_000_000_000  # of a file that is read; some ten million steps
HEADER = "step,metric,value\n"


def line(step: int, name: str, value: float) -> str:
    return f"{step},{name},{value!r}\n"


def lines(steps: Iterable[int], columns: Mapping[str, Sequence[float]]) -> str:
    """`line` for every column at every step, step by step."""
    form = "".join(f"%d,{name.replace('%', '%%')},%r\n" for name in columns)
    cells = [cell for column in columns.values() for cell in (steps, column)]
    return "".join(map(form.__mod__, zip(*cells, strict=True)))


def read_metrics(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{name: (steps int64, values float64)} in the order of the file; {} where there is no file.

    Raises UserError for a file larger than memory should hold.
    """
    if not path.is_file():
        return {}
    if path.stat().st_size > BYTES:
        raise UserError(f"{path}: larger than {BYTES:,} bytes; not read")
    series: dict[str, tuple[list[int], list[float]]] = {}
    with path.open(newline="", encoding="utf-8") as f:
        rows = csv.reader(f)
        next(rows, None)
        for step, name, value in rows:
            steps, values = series.setdefault(name, ([], []))
            steps.append(int(step))
            values.append(float(value))
    return {name: (np.array(s, dtype=np.int64), np.array(v)) for name, (s, v) in series.items()}
