"""The types of config values, each with its description for errors."""

import types
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BeforeValidator, Field, Strict
from pydantic_core import PydanticCustomError


@dataclass(frozen=True)
class Described:
    """The description of a type, as it follows "must be" in an error."""

    words: str


class IdentityMark:
    """Whether a field is part of a run's identity; see `rnnlab.config.identity`."""


NOT_IN_ID = IdentityMark()  # the field changes no number
NOT_IN_ID_AT_DEFAULT = IdentityMark()  # so that a new field does not change older ids


def wrong(message: str, **values: Any) -> PydanticCustomError:
    """An error whose message is shown unchanged, after the key and the value."""
    return PydanticCustomError("rule", "{message}", {"message": message.format(**values)})


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("a boolean is no number")
    return value


def _whole(value: Any) -> Any:
    """Refuses whole numbers from 2^63 on, which torch cannot hold, and booleans."""
    if isinstance(value, int | float) and value >= 2**63:
        raise wrong("is too large; the largest whole number is 2^63 - 1")
    return _number(value)


# 3.0 and "3" are read as the whole number 3, "1e-3" as a number; true is not read as 1
_Number = BeforeValidator(_number)
_Whole = BeforeValidator(_whole)
_finite = Field(allow_inf_nan=False)

Natural = Annotated[int, _Whole, Field(ge=0), Described("a whole number of at least 0")]
Seed = Annotated[int, _Number, Field(ge=0, lt=2**63), Described("a whole number from 0 to 2^63 - 1")]
Count = Annotated[int, _Whole, Field(ge=1), Described("a whole number of at least 1")]
CountFrom2 = Annotated[int, _Whole, Field(ge=2), Described("a whole number of at least 2")]
OrUnlimited = Annotated[
    int, _Whole, Field(ge=-1), Described("a whole number of at least 0, or -1 for no limit")
]
Number = Annotated[float, _Number, _finite, Described("a number")]
Positive = Annotated[float, _Number, _finite, Field(gt=0), Described("a number above 0")]
NonNegative = Annotated[float, _Number, _finite, Field(ge=0), Described("a number of at least 0")]
Probability = Annotated[float, _Number, Field(ge=0, le=1), Described("a number from 0 to 1")]
BelowOne = Annotated[float, _Number, Field(ge=0, lt=1), Described("a number of at least 0 and below 1")]
Flag = Annotated[bool, Strict(), Described("true or false")]
Text = Annotated[str, Described("text")]
Texts = Annotated[list[Text], Described("a list of words")]
Anything = Annotated[Any, Described("a value")]
# to Lightning, 1 is one batch and 1.0 is all batches
Batches = Annotated[int, _Whole, Strict(), Field(ge=0), Described("a whole number of batches")]
Share = Annotated[float, Strict(), Field(ge=0, le=1), Described("a share from 0.0 to 1.0")]
StrictCount = Annotated[int, _Whole, Strict(), Field(ge=1), Described("a whole number of at least 1")]


def describe(annotation: Any) -> str:
    """The description of a type, such as "a whole number of at least 1 or null"."""
    for marker in reversed(getattr(annotation, "__metadata__", ())):
        if isinstance(marker, Described):
            return marker.words
    origin = get_origin(annotation)
    if origin is Annotated:
        return describe(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return " or ".join(describe(part) for part in get_args(annotation))
    if annotation is type(None):
        return "null"
    if origin is list:
        return f"a list, each {describe(get_args(annotation)[0])}"
    if origin is tuple:
        parts = get_args(annotation)
        if parts[-1] is ...:
            return f"a list, each {describe(parts[0])}"
        return f"a list of {len(parts)}: {', '.join(map(describe, parts))}"
    if words := choices(annotation):
        return ", ".join(words)
    return getattr(annotation, "__name__", str(annotation))


def choices(annotation: Any) -> list[str]:
    """The words that a type allows; [] for a type that allows anything else than words and null."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return choices(get_args(annotation)[0])
    if origin is Literal:
        return [str(choice) for choice in get_args(annotation)]
    if origin in (Union, types.UnionType):
        parts = [part for part in get_args(annotation) if part is not type(None)]
        found = [choices(part) for part in parts]
        return [c for part in found for c in part] if all(found) else []
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return list(annotation.__members__)
    return []
