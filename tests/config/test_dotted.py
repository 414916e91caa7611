"""A dotted path is followed through dictionaries alone."""

import pytest

from rnnlab.config.dotted import ABSENT, value_at

TREE = {"a": {"b": {"c": 0}, "none": None, "list": [1]}, "": 5}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("a.b.c", 0),
        ("a.b", {"c": 0}),
        ("a.none", None),
        ("", TREE),
        ("a.x", ABSENT),
        ("a.b.c.d", ABSENT),
        ("a.none.x", ABSENT),
        ("a.list.0", ABSENT),
    ],
)
def test_the_value_at_a_path(path, value):
    assert value_at(TREE, path, ABSENT) == value
    assert value_at(TREE, path) == (None if value is ABSENT else value)


def test_there_is_nothing_in_what_is_no_dictionary():
    assert value_at([1], "a") is None and value_at(None, "a", 3) == 3
