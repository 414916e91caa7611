"""Chooses the runs that TensorBoard gets: of more than 40 it selects none, and shows empty charts."""

from typing import NamedTuple

import numpy as np

from rnnlab.tensorboard.sessions import Group, Member, Sessions

MOST = 40  # up to so many runs, Scalars, Custom Scalars and Images select all


class Offer(NamedTuple):
    """The chosen runs, by TensorBoard's names, and the total numbers of runs and configurations."""

    names: frozenset[str]
    runs: int
    shown: int  # configurations with a chosen run
    configurations: int

    def __str__(self) -> str:
        each = len(self.names) / max(self.shown, 1)
        few = "one run" if each < 1.5 else f"{each:.0f} runs"
        best = f"the best {self.shown} of " if self.shown < self.configurations else ""
        return f"{len(self.names)} of {self.runs:,} runs, {few} of each of {best}{self.configurations:,} configurations"


def offer(sessions: Sessions) -> Offer | None:
    """Chooses the runs that are trained now (at most half of MOST), and runs of the best configurations as far as there
    is room, evenly from a configuration's best to its worst run; None where there is room for all runs.
    """
    groups = sessions.in_order()
    count = sum(len(group.members) for group in groups)
    if count <= MOST:
        return None
    with_curves = [group for group in groups if _curves(group)] or groups
    chosen = with_curves[:MOST]
    each = max(1, MOST // len(chosen))
    running = [m.name for group in chosen for m in group.members if m.status == "running"][: MOST // 2]
    spread = [member.name for group in chosen for member in _spread(_curves(group) or group.members, each)]
    names = list(dict.fromkeys([*running, *spread]))[:MOST]
    shown = sum(any(member.name in names for member in group.members) for group in chosen)
    return Offer(frozenset(names), count, shown, len(groups))


def _curves(group: Group) -> list[Member]:
    """The runs of a group that have curves, ordered by their best values."""
    sound = [m for m in group.members if m.status != "failed"]
    return sorted(sound, key=lambda m: m.record.get("results", {}).get("best", {}).get("value") or 0.0)


def _spread(members: list[Member], count: int) -> list[Member]:
    """`count` members, evenly from the first to the last; for a count of 1 the middle one."""
    if count == 1:
        return [members[(len(members) - 1) // 2]]
    return [members[i] for i in sorted(set(np.linspace(0, len(members) - 1, count).round().astype(int)))]
