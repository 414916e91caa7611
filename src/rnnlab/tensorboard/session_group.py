"""Runs that differ by their seed alone, as one line of HParams."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rnnlab.report.leaderboard import Entry, Row
from rnnlab.runs.run import Run


class Member(NamedTuple):
    name: str  # TensorBoard's
    run: Run
    record: dict[str, Any]  # run.json
    status: str  # as it is now: "running" says that somebody is at it


@dataclass
class Group:
    experiment: str
    key: str
    members: list[Member] = field(default_factory=list)

    @property
    def value(self) -> float:
        """The mean of the best values; NaN where no run has finished."""
        found = [m.record.get("results", {}).get("best", {}).get("value") for m in self.finished]
        values = [value for value in found if value is not None]
        return sum(values) / len(values) if values else float("nan")

    @property
    def finished(self) -> list[Member]:
        return [member for member in self.members if member.status == "finished"]

    @property
    def fare(self) -> str:
        """How its runs fare, such as "3 finished, 1 failed"."""
        counts = Counter(member.status for member in self.members)
        return ", ".join(f"{counts[s]} {s}" for s in sorted(counts, key=lambda s: (s != "finished", s)))

    def title(self, place: int, values: dict[str, Any]) -> str:
        """What the tab calls it, and orders it by: best first, those without a result last."""
        label = Row([Entry(m.run.folder, m.record) for m in self.members], values).label
        return f"{place:03d} {label}" if self.value == self.value else f"no result, {label}"
