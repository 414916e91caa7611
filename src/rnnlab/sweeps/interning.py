"""Shares equal parts of many configs and records as one object, so that a sweep of 100,000 runs needs little memory."""

import marshal
import sys
from typing import Any, TypeVar, cast

from rnnlab.runs.record import Record

REPEATED = ("engine", "baselines", "floor", "facts", "metrics")  # parts of a record that many runs share

T = TypeVar("T")


class Interner:
    """Keeps the first of several equal parts, and returns it for all others."""

    def __init__(self) -> None:
        self._known: dict[bytes, Any] = {}

    def section(self, section: T) -> T:
        """The same object for all equal dictionaries; other values unchanged."""
        if not isinstance(section, dict):
            return section
        try:
            return self._known.setdefault(marshal.dumps(section, 2), section)  # keeps 1, 1.0 and True apart
        except ValueError:  # it holds an object of the user's own
            return section

    def record(self, record: Record) -> Record:
        """The record with its keys, texts and REPEATED parts shared with other records."""
        return cast(Record, self._shared(cast("dict[str, Any]", record)))

    def _shared(self, part: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in part.items():
            if isinstance(value, dict):
                value = self.section(value) if key in REPEATED else self._shared(value)
            found[sys.intern(key)] = sys.intern(value) if type(value) is str else value
        return found
