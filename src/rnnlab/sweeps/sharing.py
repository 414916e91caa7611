"""Equal parts of very many configs and records as one object, which keeps a sweep of 100,000 runs small."""

import marshal
import sys
from typing import Any

REPEATED = ("engine", "baselines", "floor", "facts", "metrics")  # parts of a record that many runs have alike


class Sharing:
    def __init__(self) -> None:
        self._known: dict[bytes, Any] = {}

    def section(self, section: Any) -> Any:
        """One object for all dictionaries that are equal; anything else as it is."""
        if not isinstance(section, dict):
            return section
        try:
            return self._known.setdefault(marshal.dumps(section, 2), section)  # tells 1, 1.0 and true apart
        except ValueError:  # it holds an object of the user's own
            return section

    def record(self, record: dict[str, Any]) -> dict[str, Any]:
        """What a run.json holds, with its keys, its texts and what is repeated shared with other records."""
        found: dict[str, Any] = {}
        for key, value in record.items():
            if isinstance(value, dict):
                value = self.section(value) if key in REPEATED else self.record(value)
            found[sys.intern(key)] = sys.intern(value) if type(value) is str else value
        return found
