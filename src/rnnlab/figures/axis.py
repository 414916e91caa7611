"""`Axis`: the place of values on an axis, and its ticks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

LETTER = 6.3  # average width of a letter in a tick's label, in pixels
LONGEST = 18  # letters of a word at an axis; a longer word is cut


@dataclass(frozen=True)
class Axis:
    """Maps values to pixels from `start` to `end`. Words are spread evenly, wide positive ranges are logarithmic."""

    values: tuple[Any, ...]
    start: float
    end: float
    log: bool = False
    words: bool = False
    marks: tuple[Any, ...] = ()  # the places of the ticks, if they are not at round numbers

    @classmethod
    def over(
        cls,
        values: Sequence[Any],
        start: float,
        end: float,
        log_ratio: float | None = 8.0,
        marked: bool = False,
    ) -> "Axis":
        """An axis that spans all of `values`; `marked` puts the ticks at them, if there are at most eight.

        It is logarithmic if the greatest value is at least `log_ratio` times the least; None: never.
        """
        numbers = all(
            isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) for v in values
        )
        if not numbers:
            kinds = sorted({word(v) for v in values})
            return cls(tuple(kinds), start, end, words=True)
        low, high = min(values), max(values)
        log = log_ratio is not None and low > 0 and high / low >= log_ratio
        if low == high and isinstance(low, int):
            low, high = low - 1, high + 1
        elif low == high:
            low, high = low - 0.5 * abs(low) - 1e-9, high + 0.5 * abs(high) + 1e-9
        marks = tuple(sorted(set(values))) if marked and len(set(values)) <= 8 else ()
        return cls((low, high), start, end, log=log, marks=marks)

    def at(self, value: Any) -> float:
        if self.words:
            place = (self.values.index(word(value)) + 0.5) / len(self.values)
        elif self.log:
            low, high = map(math.log, self.values)
            place = (math.log(max(value, 1e-300)) - low) / (high - low)
        else:
            place = (value - self.values[0]) / (self.values[1] - self.values[0])
        return self.start + place * (self.end - self.start)

    def within(self, value: float) -> float:
        """The value, or the nearer end of an axis of numbers if the value lies outside."""
        return min(max(value, self.values[0]), self.values[1])

    def ticks(self, wanted: int = 5) -> list[Any]:
        if self.words or self.marks:
            return list(self.values if self.words else self.marks)
        low, high = self.values
        if self.log:
            decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            for steps in ((1,) if len(decades) > 4 else (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)):
                places = (m * 10.0**d for d in decades for m in steps)
                found = [place for place in places if low * 0.999 <= place <= high * 1.001]
                if len(found) >= 3:  # fewer do not show that the axis is logarithmic
                    break
            return found if len(found) >= 2 else [low, high]
        rough = (high - low) / wanted
        if whole := all(isinstance(v, int) for v in self.values):  # steps and sizes
            rough = max(rough, 1.0)
        unit = 10.0 ** math.floor(math.log10(rough))
        round_ones = [m * unit for m in (1, 2, 2.5, 5, 10) if not (whole and m * unit % 1)]
        step = next(one for one in round_ones if one >= rough * 0.999)
        first = math.ceil(low / step - 1e-9)
        found = [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]
        return [round(v) if v == round(v) and abs(v) >= 1 else v for v in found]

    def crowded(self) -> bool:
        """Whether words side by side along this axis would overlap."""
        room = abs(self.end - self.start) / len(self.values)
        return self.words and max(map(width, self.values)) > room - 6

    def clear(self) -> list[Any]:
        """As many ticks as have room for their labels side by side; the first and the last always stay."""
        ticks = self.ticks()
        if self.words or len(ticks) < 3:
            return ticks
        kept = [ticks[0]]
        for tick in ticks[1:-1]:
            apart = self.at(tick) - self.at(kept[-1]), self.at(ticks[-1]) - self.at(tick)
            beside = width(word(kept[-1])), width(word(ticks[-1]))
            if all(abs(a) > (width(word(tick)) + b) / 2 + 6 for a, b in zip(apart, beside, strict=True)):
                kept.append(tick)
        return [*kept, ticks[-1]]


def word(value: Any) -> str:
    """A value as a short label."""
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"


def width(text: str) -> float:
    """Pixels that a tick's label takes, roughly."""
    return LETTER * min(len(text), LONGEST)


def apart(wanted: Sequence[float], gap: float) -> list[float]:
    """Moves increasing places so that neighbours are at least `gap` apart and none is below 0.

    Places that are moved apart keep their common middle, if there is room.
    """
    clusters: list[list[Any]] = []  # [middle, count]
    for y in wanted:
        clusters.append([y, 1])
        while len(clusters) > 1:
            (low, n), (high, m) = clusters[-2:]
            if high - low >= gap * (n + m) / 2:
                break
            clusters[-2:] = [[(low * n + high * m) / (n + m), n + m]]
    places = [middle + gap * (i - (n - 1) / 2) for middle, n in clusters for i in range(n)]
    return [max(place, gap * i) for i, place in enumerate(places)]
