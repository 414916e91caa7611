"""An option of a cell is checked against the annotation in its constructor before the constructor is called."""

from enum import Enum, IntEnum
from typing import Annotated, Any, Literal

import numpy as np
import pytest
import torch

from rnnlab.cells import Cell
from rnnlab.config.options import fitting
from rnnlab.errors import UserError
from rnnlab.recurrence import Stack


class Mode(Enum):
    FAST = "quick"
    SLOW = {"a": 1}  # noqa: RUF012 - not a value that pydantic could look up


class Named(str, Enum):
    a = "b"
    b = "a"


class Level(IntEnum):
    LOW = 1


@pytest.mark.parametrize(
    ("annotation", "value", "message"),
    [
        (float, "abc", "must be a number"),
        (float, "1", "must be a number"),
        (float, True, "must be a number"),
        (float | None, "abc", "must be a number or null"),
        (int, 1.5, "must be a whole number"),
        (int, True, "must be a whole number"),
        (bool, 1, "must be true or false"),
        (str, True, "must be text"),
        (int | bool, 1.5, "must be a whole number or true or false"),
        (Literal["relu", "tanh"], "rleu", "must be one of relu, tanh. Did you mean relu?"),
        (Literal[1, 2], 3, "must be one of 1, 2"),
        (Literal["auto"] | float, "aut", "must be auto or a number"),
        (Mode, "FAT", "must be one of FAST, SLOW. Did you mean FAST?"),
        (Mode | None, 3, "must be one of FAST, SLOW"),
        (Mode | float, "FAT", "must be FAST, SLOW or a number"),
        (Level, True, "must be one of LOW"),
        (Level, 2, "must be one of LOW"),
        (list[float], ["a"], "must be a list, each a number"),
        (list[Mode], ["FAT"], "must be a list, each FAST, SLOW"),
        (tuple[int, ...], [1.5], "must be a list, each a whole number"),
        (tuple[int, float], [1], "must be a list of 2: a whole number, a number"),
        (Annotated[float, "unit"], "abc", "must be a number"),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit(annotation, value, message):
    with pytest.raises(UserError) as caught:
        fitting({"extra": value}, {"extra": annotation})
    (line,) = caught.value.args
    at, _, why = line.partition(": ")
    assert (at.partition("=")[0], why) == ("model.options.extra", message)


TENSOR, ARRAY = torch.zeros(1), np.float32(1)


@pytest.mark.parametrize(
    ("annotation", "value", "handed"),
    [
        (float, 1, 1),  # whole, as it was before there was a check
        (float, 0.5, 0.5),
        (float, float("inf"), float("inf")),
        (float | None, 2**70, 2**70),
        (int, 3.0, 3),
        (int | float, 3.0, 3.0),
        (float | int, 3, 3),
        (float | str, "3", "3"),
        (bool | float, True, True),
        (str, 5, "5"),
        (Literal["a"] | None, "a", "a"),
        (Mode, "FAST", Mode.FAST),
        (Mode, "quick", Mode.FAST),
        (Mode, Mode.SLOW, Mode.SLOW),
        (Mode | str, "other", "other"),
        (Named, "a", Named.a),  # a name comes before a value
        (Level, 1, Level.LOW),
        (list[Mode], ["FAST", "quick"], [Mode.FAST, Mode.FAST]),
        (tuple[float, ...], [0.5, 1], (0.5, 1.0)),
        (tuple[int, str], (1, "a"), (1, "a")),
        # an annotation that does not say what the values are, or no plain value
        ("Unknown", "abc", "abc"),
        (Any, "abc", "abc"),
        (list, "abc", "abc"),
        (torch.Tensor | float, "abc", "abc"),
        (list[dict[str, int]], "abc", "abc"),
        (float, TENSOR, TENSOR),
        (float, ARRAY, ARRAY),
    ],
)
def test_a_value_that_fits(annotation, value, handed):
    found = fitting({"extra": value}, {"extra": annotation})["extra"]
    assert type(found) is type(handed) and found == handed
    if type(value) is type(handed) and not isinstance(value, list | tuple):
        assert found is value


class Parent(Cell):
    def __init__(self, *sizes, extra: str = "", shared: float = 0.0, **common):
        super().__init__(*sizes, **common)
        self.extra, self.shared = extra, shared

    def step(self, u, state):
        return u, (u,)


class Child(Parent):
    def __init__(self, *sizes, extra: "float" = 1.0, mode: Mode = Mode.FAST, free=None, **more):
        super().__init__(*sizes, **more)
        self.extra, self.mode, self.free = extra, mode, free


def test_a_stack_checks_the_options_of_a_cell_and_of_its_parent():
    options = {"extra": "abc", "mode": "quik", "shared": "no", "free": "any"}
    with pytest.raises(UserError) as caught:
        Stack(Child, 2, 3, options=options)
    assert caught.value.args == (
        "model.options.extra=abc: must be a number",
        "model.options.mode=quik: must be one of FAST, SLOW",
        "model.options.shared=no: must be a number",
    )
    (layer,) = Stack(Child, 2, 3, options={"extra": 2, "mode": "SLOW", "free": "any", "shared": None}).layers
    assert (layer.extra, layer.mode, layer.free, layer.shared) == (2, Mode.SLOW, "any", 0.0)
    assert type(layer.extra) is int


def test_rnnlabs_own_cells_are_checked_in_python_too():
    with pytest.raises(UserError) as caught:
        Stack("lru", 2, 3, options={"r_min": "low", "eigenvalues": "reel"})
    assert caught.value.args == (
        "model.options.r_min=low: must be a number",
        "model.options.eigenvalues=reel: must be one of complex, real. Did you mean real?",
    )
