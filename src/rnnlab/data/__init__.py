"""Data sets: `Sine`, `Series`, `Chars`, `Tokens`, each imported at its first use."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rnnlab.data.chars import Chars as Chars
    from rnnlab.data.chars import Segment as Segment
    from rnnlab.data.series import Series as Series
    from rnnlab.data.sine import Sine as Sine
    from rnnlab.data.tokens import Labelled as Labelled
    from rnnlab.data.tokens import Tokens as Tokens

_HOMES = {
    "Chars": "rnnlab.data.chars",
    "Labelled": "rnnlab.data.tokens",
    "Segment": "rnnlab.data.chars",
    "Series": "rnnlab.data.series",
    "Sine": "rnnlab.data.sine",
    "Tokens": "rnnlab.data.tokens",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
