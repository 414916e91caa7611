"""Lists why runs have no result: each reason once, with its configurations."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from rnnlab.report.entry import Entry, why_no_score
from rnnlab.report.leaderboard import Leaderboard

NUMBER = re.compile(r"-?\b\d[\d.,]*(e[+-]?\d+)?\b|\b(nan|inf)\b")


class Reason(NamedTuple):
    """A status and a message; messages that differ only in numbers count as one reason."""

    status: str
    why: str  # the first of these messages
    entries: list[Entry]
    configurations: dict[str, list[Entry]]  # {label: runs}
    several: bool  # whether the numbers in it differ

    @property
    def counted(self) -> str:
        n = len(self.entries)
        return f"{n:,} run{'s' * (n != 1)} {self.status}{', one of them' * self.several}"


def reasons(board: Leaderboard, entries: Sequence[Entry] | None = None) -> list[Reason]:
    """The reasons of all runs without a result, or of `entries`; the most frequent first."""
    found: dict[tuple[str, str], list[Entry]] = {}
    for entry in board.others if entries is None else entries:
        status = str(entry.record.get("status", "?"))
        found.setdefault((status, NUMBER.sub("#", why_no_score(entry))), []).append(entry)
    made = []
    for (status, _), members in sorted(found.items(), key=lambda one: -len(one[1])):
        by_label: dict[str, list[Entry]] = {}
        for entry in members:
            by_label.setdefault(board.labels.get(entry.folder, entry.folder.name), []).append(entry)
        messages = Counter(map(why_no_score, members))
        made.append(Reason(status, why_no_score(members[0]), members, by_label, len(messages) > 1))
    return made
