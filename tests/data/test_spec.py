"""The spec of each data set: the keys and types that `rnnlab.data.spec` and docs/extending.md name, and no others."""

import re
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from rnnlab.data import Chars, Series, Sine, Tokens
from rnnlab.data.per_window import Mode
from rnnlab.data.spec import LabelledSpec, SeriesSpec, TextSpec

EXTENDING = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()


def series(folder, **options) -> Series:
    """Two columns over 60 hours; with `id_column` three such series, one below the other."""
    hours = [f"2024-01-{1 + n // 24:02}T{n % 24:02}:00" for n in range(60)]
    values = np.random.default_rng(0).random((3, 60, 2)) + 1
    lines = [
        f"{group},{hour},{a},{b}"
        for group in range(3 if "id_column" in options else 1)
        for hour, (a, b) in zip(hours, values[group], strict=True)
    ]
    (folder / "table.csv").write_text("\n".join(["id,date,a,b", *lines]) + "\n")
    return Series(str(folder / "table.csv"), "a", time_column="date", window=4, horizon=1, **options)


def text(folder) -> str:
    (folder / "t.txt").write_text("some text, " * 100)
    return str(folder / "t.txt")


def keys(kind) -> frozenset[str]:
    return kind.__required_keys__ | kind.__optional_keys__


@pytest.mark.parametrize(
    ("kind", "made"),
    [
        (SeriesSpec, lambda folder: Sine(n_points=300, window=10, horizon=2)),
        (SeriesSpec, lambda folder: series(folder, columns=["a", "b"])),
        (SeriesSpec, lambda folder: series(folder, columns=["b"], log=True)),
        (SeriesSpec, lambda folder: series(folder, columns=["a"], scaling="window_mean")),
        (SeriesSpec, lambda folder: series(folder, columns=["a", "b"], calendar=["hour"])),
        (SeriesSpec, lambda folder: series(folder, columns=["a"], id_column="id")),
        (TextSpec, lambda folder: Chars(path=text(folder), segment=8, batch_size=2)),
        (TextSpec, lambda folder: Chars(path=text(folder), segment=8, batch_size=2, unknown="replace")),
        (LabelledSpec, lambda folder: Tokens(n_sequences=100)),
    ],
)  # fmt: skip
def test_a_spec_has_the_described_keys_and_types(tmp_path, kind, made):
    data = made(tmp_path)
    data.setup()
    described = TypeAdapter(kind)
    described.rebuild(_types_namespace={"Mode": Mode})
    described.validate_python(data.spec, strict=True)
    assert set(data.spec) <= keys(kind)
    with pytest.raises(ValidationError):
        described.validate_python({**data.spec, "kind": "other"}, strict=True)


@pytest.mark.parametrize("kind", [SeriesSpec, TextSpec, LabelledSpec])
def test_the_page_on_extending_names_every_key(kind):
    described = EXTENDING.partition("What `spec` holds")[2].partition("\n## ")[0]
    assert keys(kind) <= set(re.findall(r"`(\w+)`", described))
