"""Checks an option of a cell against the annotation in the cell's constructor."""

import inspect
import types
from collections.abc import Mapping
from enum import Enum
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BeforeValidator, ConfigDict, Strict, TypeAdapter, ValidationError

from rnnlab.config.fields import Described, Flag, Text, choices, describe
from rnnlab.config.reading import shown
from rnnlab.errors import UserError, nearest


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


# a text is no number here: Hydra and YAML have read the numbers
FIELDS: dict[Any, Any] = {
    int: Annotated[int, BeforeValidator(_whole), Strict(), Described("a whole number")],
    float: Annotated[float, Strict(), Described("a number")],
    bool: Flag,
    str: Text,
    type(None): None,
}
# the types of a config's values; values of other types come from Python and are not checked
PLAIN = (bool, int, float, str, list, tuple)


def constructor_parameters(constructor: Any) -> list[inspect.Parameter]:
    """A constructor's parameters, with annotations that are text evaluated if their names are known."""
    try:
        found = inspect.signature(constructor, eval_str=True)
    except Exception:  # a name may be imported for type checkers alone, and the text may be any
        found = inspect.signature(constructor)
    return list(found.parameters.values())


def fitting(options: Mapping[str, Any], annotations: Mapping[str, Any]) -> dict[str, Any]:
    """The options as their annotations want them: an Enum's member for its name or value; other values as they are.

    Raises UserError with a line for each option that does not fit. An annotation other than a number, text, truth
    value, Literal, Enum, None, and a union, list or tuple of these, allows anything.
    """
    kept, problems = {}, []
    for name, value in options.items():
        try:
            kept[name] = _fitting(value, annotations[name])
        except ValidationError:
            problems.append(f"model.options.{name}={shown(value)}: {_must(value, annotations[name])}")
    if problems:
        raise UserError(*problems)
    return kept


def _fitting(value: Any, annotation: Any) -> Any:
    """Raises ValidationError."""
    try:
        checked = _adapter(annotation) if isinstance(value, PLAIN) else None
    except TypeError:  # the annotation has no hash
        return value
    if checked is None:
        return value
    converted = checked.validate_python(value)
    return value if type(value) is int and converted == value and type(converted) is float else converted


def _must(value: Any, annotation: Any) -> str:
    if not (words := choices(annotation)):
        return f"must be {describe(_field(annotation))}"
    hint = nearest(str(value), words)
    return f"must be one of {', '.join(words)}.{hint if hint.startswith(' Did') else ''}".removesuffix(".")


@cache
def _adapter(annotation: Any) -> TypeAdapter[Any] | None:
    field = _field(annotation)
    return None if field is Any else TypeAdapter(field, config=ConfigDict(coerce_numbers_to_str=True))


def _field(annotation: Any) -> Any:
    """The field type for an annotation; Any for one that allows anything."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _field(inner[0])
    if origin is Literal:
        return annotation
    if inspect.isclass(annotation) and issubclass(annotation, Enum):
        return Annotated[annotation, Strict(), BeforeValidator(lambda value: _member(annotation, value))]
    if origin in (Union, types.UnionType):
        parts = tuple(_field(part) for part in inner if part is not int or float not in inner)
        return Any if Any in parts else Union[parts]  # noqa: UP007
    if origin in (list, tuple):
        parts = tuple(part if part is ... else _field(part) for part in inner)
        return Any if Any in parts or not parts else origin[parts]
    return FIELDS.get(annotation, Any)


def _member(kind: type[Enum], value: Any) -> Any:
    """The member with this name, or else with this value."""
    if isinstance(value, str) and value in kind.__members__:
        return kind[value]
    same = [member for member in kind if type(member.value) is type(value) and member.value == value]
    return same[0] if same else value
