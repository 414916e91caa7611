"""Names for the rows of a leaderboard in TensorBoard, whose order by name is the leaderboard's order."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from rnnlab.report.ranking import places
from rnnlab.report.row import Row


class Place(NamedTuple):
    """The position of a row among those that were scored on the same targets."""

    rank: int  # from 1, in the leaderboard's order
    letter: str = ""  # the group, where there are several targets
    ranked: bool = True  # the leaderboard gives it a rank, or it is alone
    digits: int = 3

    def __str__(self) -> str:
        digits = self.digits if self.ranked else 1
        return f"{'' if self.ranked else 'unranked '}{self.letter}{self.rank:0{digits}d}"

    @property
    def order(self) -> tuple[int, int, str]:
        """The sort key: the best of each group come first."""
        return self.rank, len(self.letter), self.letter


def standing(rows: Sequence[Row]) -> list[Place]:
    """The place of each of a leaderboard's rows."""
    sizes = Counter(row.group for row in rows)
    digits = max(3, len(str(max(sizes.values(), default=0))))
    found = []
    for i, row in zip(places(rows), rows, strict=True):
        letter, alone = _letter(row.group) if len(sizes) > 1 else "", sizes[row.group] == 1
        found.append(Place(i, letter, row.rank is not None or alone, digits))
    return found


def _letter(number: int) -> str:
    """The number as letters: A to Z, AA to AZ, ..."""
    more, last = divmod(number, 26)
    return (_letter(more - 1) if more else "") + chr(ord("A") + last)
