"""A bound stands once: a config and a call from Python are refused with the same line."""

import numpy as np
import pytest

from rnnlab.config import check, compose
from rnnlab.config.data_schema import DATA
from rnnlab.data import Chars, Series, Sine, Tokens
from rnnlab.data.corpora import CORPORA, EMBEDDED
from rnnlab.errors import UserError

CLASSES = {"sine": Sine, "series": Series, "chars": Chars, "tokens": Tokens}
MODELS = {"sine": "forecaster", "series": "forecaster", "chars": "char_lm", "tokens": "classifier"}
OUTSIDE = [
    ("sine", "n_points", 1), ("sine", "n_points", 2.5), ("sine", "t_max", 0.0),
    ("sine", "noise_std", -0.1), ("sine", "window", 0),
    ("sine", "horizon", 0), ("sine", "batch_size", -1), ("sine", "seed", -1), ("sine", "split", "point"),
    ("sine", "fractions", [0.5, 0.5]), ("sine", "amplitudes", []),
    ("series", "missing", "droop"), ("series", "scaling", "minmx"),
    ("series", "season", 0), ("series", "resample", "0h"),
    ("series", "resample", "2h"), ("series", "delimiter", ",,"),
    ("series", "calendar", ["hours"]), ("series", "calendar", ["hour"]), ("series", "known", ["a", "a"]),
    ("series", "thousands", "."), ("series", "decimal", ";"), ("series", "split", "points"),
    ("series", "season", "yearly"), ("series", "encoding", "utf-9"), ("series", "columns", ["a", "a"]),
    ("chars", "segment", 0), ("chars", "batch_size", 0), ("chars", "limit", 0), ("chars", "unknown", "ignore"),
    ("chars", "split", "lines"), ("chars", "fractions", [0.0, 0.5, 0.5]),
    ("tokens", "n_sequences", 1), ("tokens", "classes", 1), ("tokens", "markers", 0), ("tokens", "marker_rate", 1.1),
    ("tokens", "label_noise", 1.1), ("tokens", "min_length", 41),
    ("tokens", "vocab_size", 41), ("tokens", "max_length", 0),
]  # fmt: skip
AT_THEIR_BOUNDS = [
    ("sine", "n_points", 2), ("sine", "noise_std", 0), ("sine", "batch_size", 0),
    ("series", "season", None), ("series", "season", "auto"), ("series", "scaling", "window_mean"),
    ("series", "delimiter", r"\t"), ("series", "columns", ["a", "b"]), ("tokens", "label_noise", 1),
    ("tokens", "marker_rate", 0), ("chars", "limit", 1),
]  # fmt: skip


def by_config(choice, key, value, path) -> list[str]:
    """What `check` says of one key."""
    more = [f"data.path={path}", "data.target=x"] if choice == "series" else []
    cfg = compose([f"data={choice}", f"model={MODELS[choice]}", "name=x", *more])
    cfg.data[key] = value
    try:
        check(cfg)
    except UserError as error:
        return [line for line in map(str, error.args) if line.startswith(f"data.{key}")]
    return []


def by_python(choice, key, value, path) -> list[str]:
    more = {"path": path, "target": "x"} if choice == "series" else {}
    try:
        CLASSES[choice](**more | {key: value})
    except UserError as error:
        return [line for line in map(str, error.args) if line.startswith(f"data.{key}")]
    return []


@pytest.fixture
def path(tmp_path) -> str:
    (tmp_path / "x.csv").write_text("x\n" + "1\n" * 500)
    return str(tmp_path / "x.csv")


@pytest.mark.parametrize(("choice", "key", "value"), OUTSIDE)
def test_what_a_config_may_not_say_python_may_not_either(choice, key, value, path):
    (line,) = by_config(choice, key, value, path)
    assert by_python(choice, key, value, path) == [line]


@pytest.mark.parametrize(("choice", "key", "value"), AT_THEIR_BOUNDS)
def test_a_value_at_its_bound_is_taken_by_both(choice, key, value, path):
    bounds = [
        line for line in by_config(choice, key, value, path) if "points" not in line and "of them" not in line
    ]
    assert bounds == by_python(choice, key, value, path) == []


def test_all_for_the_test_is_for_a_trained_model_alone(path):
    whole = [0.0, 0.0, 1.0]
    for choice in CLASSES:
        assert by_config(choice, "fractions", whole, path) == [
            "data.fractions=[0.0,0.0,1.0]: training needs a share above 0"
        ]
        assert by_python(choice, "fractions", whole, path) == []


def test_arrays_tuples_and_numpys_numbers_are_values_too():
    data = Sine(
        n_points=np.int64(50),
        amplitudes=np.array([1.0, 2.0]),
        frequencies=(1, 2),
        fractions=np.array([0.5, 0.5, 0]),
    )
    assert data.amplitudes == [1.0, 2.0]


def test_the_schema_knows_every_corpus():
    (asked,) = (schema for schema in DATA.values() if schema.choice == "chars")
    assert set(asked.model_fields["corpus"].annotation.__args__) == {EMBEDDED, *CORPORA}
