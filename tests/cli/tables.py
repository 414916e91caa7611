"""A table to train on, and others like it."""

import csv
from pathlib import Path

import numpy as np


def table(path: Path, rows: int, shift: float = 0.0) -> Path:
    """A CSV of two hourly columns with a daily season."""
    t = np.arange(rows)
    start = np.datetime64("2020-01-01T00:00:00")
    with path.open("w", newline="") as f:
        lines = csv.writer(f)
        lines.writerow(["date", "load", "heat"])
        for i in t:
            angle = i / 24 * 2 * np.pi
            load, heat = 50 + shift + 10 * np.sin(angle), 5 + np.cos(angle) + 0.1 * (i % 7)
            lines.writerow([str(start + np.timedelta64(int(i), "h")), f"{load:.6f}", f"{heat:.6f}"])
    return path
