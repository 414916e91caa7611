"""Arguments of the Python interface."""

import operator
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from rnnlab.errors import UserError


def whole(name: str, value: Any) -> Any:
    """A whole number of any type, also 64.0, as an int; None as it is. Raises UserError for any other value."""
    if value is None:
        return None
    with suppress(TypeError):
        return operator.index(value)
    with suppress(TypeError, ValueError):
        if float(value).is_integer():
            return int(value)
    raise UserError(f"{name} {value}: must be a whole number")


def texts(overrides: Sequence[Any]) -> list[str]:
    """Overrides as a list. Raises UserError where one is no text, such as a list of overrides."""
    for one in overrides:
        if not isinstance(one, str):
            raise UserError(f'{one!r}: an override is a text, such as "seed=3", and no {type(one).__name__}')
    return list(overrides)


def several(things: Any) -> list[Any]:
    """The objects in a list; a single object, which Lightning's Trainer takes as well, alone."""
    return [] if things is None else list(things) if isinstance(things, Iterable) else [things]
