"""The `spec` of a data set: what a model must know of its data, in plain values. Every checkpoint holds it.

A data set sets it in `setup`, and a task gets it as the first argument of its constructor. A data set of your own may
add keys for a task of your own.
"""

from typing import TYPE_CHECKING, Literal

from typing_extensions import NotRequired, TypedDict  # typing has both only from Python 3.11 on

if TYPE_CHECKING:
    from rnnlab.data.per_window import Mode


class ColumnScales(TypedDict):
    """The scale of each column: raw = scaled * scale + shift. Neutral (0 and 1) for several series."""

    input_shift: list[float]
    input_scale: list[float]
    target_shift: list[float]
    target_scale: list[float]


class SeriesScales(TypedDict):
    """The scales of several series, in the order of their names; each window comes with the scale of its series."""

    names: list[str]
    input_shift: list[list[float]]  # (series, inputs)
    input_scale: list[list[float]]
    target_shift: list[list[float]]  # (series, targets)
    target_scale: list[list[float]]


class SeriesSpec(ColumnScales):
    """Windows over series."""

    kind: Literal["series"]
    inputs: int  # numbers of columns
    targets: int
    window: int  # rows that a model sees
    horizon: int  # rows that it forecasts
    season: int | None  # rows of a season
    input_names: list[str]
    target_names: list[str]
    target_index: list[int | None]  # the place of each target among the inputs; None if it is not among them
    per_window: NotRequired["Mode"]  # if each window has a scale of its own
    plain: NotRequired[int]  # the number of last inputs that are not scaled
    log: NotRequired[bool]  # if true, raw = exp(scaled * scale + shift) for the targets
    step: NotRequired[list[str | int]]  # the time between two rows: a unit and a number, see `calendar.Step`
    series: NotRequired[SeriesScales]


class TextSpec(TypedDict):
    """A text, read character by character."""

    kind: Literal["text"]
    vocabulary: str  # the characters, in the order of their ids
    vocabulary_size: int
    unknown: Literal["error", "skip", "replace"]


class LabelledSpec(TypedDict):
    """Sequences of tokens, each with a label."""

    kind: Literal["labelled"]
    vocab_size: int  # tokens, the padding's 0 included
    classes: int
    max_length: int  # tokens of the longest sequence
