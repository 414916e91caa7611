"""Keeps text as it was typed: `name=1e234` and `data.target=007` are not read as numbers."""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, get_args, get_type_hints

from hydra.core.override_parser.types import Quote, QuotedString

# texts that Hydra's grammar reads as a number or a truth value
TYPED = re.compile(r"[+-]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(e[+-]?\d[\d_]*)?|[+-]?(inf|nan)|true|false", re.I)
OVERRIDE = re.compile(
    r"(?P<head>\+{0,2}(?P<key>[\w.]+)=)(?P<open>\[?)(?P<values>[^'\"()\[\]{}$\\]*)(?P<close>\]?)"
)


def quoted(text: str) -> str:
    """A text in Hydra's grammar: a backslash is doubled only where a quote follows."""
    return QuotedString(text, Quote.single).with_quotes()


def kept(overrides: Sequence[str]) -> list[str]:
    """The overrides; for a key that holds text, with quotes around values that Hydra would not read as text."""
    return [_kept(override) for override in overrides]


def _kept(override: str) -> str:
    found = OVERRIDE.fullmatch(override)
    if not found or bool(found["open"]) != bool(found["close"]):
        return override
    given = found["values"].split(",")
    values = [_quoted(value) for value in given]
    if values == given or found["key"] not in text_keys():
        return override
    return f"{found['head']}{found['open']}{','.join(values)}{found['close']}"


def _quoted(value: str) -> str:
    return (
        re.sub(r"\S(.*\S)?", lambda word: f"'{word[0]}'", value) if TYPED.fullmatch(value.strip()) else value
    )


@cache
def text_keys() -> frozenset[str]:
    """Dotted paths of all fields that hold text or a list of texts, in all choices of all groups."""
    from rnnlab.config.schema import COMPONENTS, FIXED, ConfigSchema  # takes a tenth of a second

    found = set(_texts("", ConfigSchema))
    for section, schema in FIXED.items():
        found |= set(_texts(section, schema))
    for section, known in COMPONENTS.items():
        for schema in known.values():
            found |= set(_texts(section, schema))
    return frozenset(found)


def _texts(section: str, schema: Any) -> Iterator[str]:
    for key, annotation in get_type_hints(schema, include_extras=True).items():
        if key not in schema.model_fields:
            continue
        path = f"{section}.{key}" if section else key
        if inner := schema.inner(key):
            yield from _texts(path, inner)
        elif _holds_text(annotation):
            yield path


def _holds_text(annotation: Any) -> bool:
    """Whether it is `Text`, or contains it, as `Texts` and `Text | None` do."""
    from rnnlab.config.fields import Described

    return Described("text") in getattr(annotation, "__metadata__", ()) or any(
        _holds_text(part) for part in get_args(annotation)
    )
