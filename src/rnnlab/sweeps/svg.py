"""Small pictures in SVG: an axis knows where a value lies, a plot knows how its parts are drawn."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

COLOURS = ("#4269d0", "#efb118", "#ff725c", "#3ca951", "#a463f2", "#9c6b4e", "#6cc5b0", "#97bbf5")


@dataclass(frozen=True)
class Axis:
    """Maps values to pixels from `start` to `end`. Words are spread evenly, wide positive ranges are logarithmic."""

    values: tuple[Any, ...]
    start: float
    end: float
    log: bool = False
    words: bool = False
    marks: tuple[Any, ...] = ()  # where the ticks are, if not at round numbers

    @classmethod
    def over(
        cls, values: Sequence[Any], start: float, end: float, log_ratio: float = 8.0, marked: bool = False
    ) -> "Axis":
        """An axis that holds all of `values`; `marked` puts the ticks at them, where they are few."""
        numbers = all(
            isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) for v in values
        )
        if not numbers:
            kinds = sorted({word(v) for v in values})
            return cls(tuple(kinds), start, end, words=True)
        low, high = min(values), max(values)
        log = low > 0 and high / low >= log_ratio
        if low == high:
            low, high = (
                (low / 2, high * 2) if log else (low - 0.5 * abs(low) - 1e-9, high + 0.5 * abs(high) + 1e-9)
            )
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

    def ticks(self, wanted: int = 5) -> list[Any]:
        if self.words or self.marks:
            return list(self.values if self.words else self.marks)
        low, high = self.values
        if self.log:
            decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            steps = (1,) if len(decades) > 4 else (1, 2, 5)
            found = [
                m * 10.0**d for d in decades for m in steps if low * 0.999 <= m * 10.0**d <= high * 1.001
            ]
            return found if len(found) >= 2 else [low, high]
        rough = (high - low) / wanted
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(m * unit for m in (1, 2, 2.5, 5, 10) if m * unit >= rough * 0.999)
        first = math.ceil(low / step - 1e-9)
        return [i * step for i in range(first, int(high / step + 1e-9) + 1)]


def word(value: Any) -> str:
    """A value as a short label."""
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


@dataclass
class Plot:
    """Axes and what lies between them; `str(plot)` is the SVG."""

    x: Axis
    y: Axis
    width: int
    height: int
    x_title: str = ""
    y_title: str = ""
    parts: list[str] = field(default_factory=list)

    @property
    def inset(self) -> int:
        return 16 if self.x.marks or self.x.words else 0

    def line(
        self, points: Sequence[tuple[Any, Any]], colour: str, width: float = 1.6, opacity: float = 1.0
    ) -> None:
        path = " ".join(f"{self.x.at(a):.1f},{self.y.at(b):.1f}" for a, b in points)
        self.parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}" opacity="{opacity}"/>'
        )

    def band(self, steps: Sequence[Any], low: Sequence[float], high: Sequence[float], colour: str) -> None:
        there = [f"{self.x.at(a):.1f},{self.y.at(b):.1f}" for a, b in zip(steps, low, strict=True)]
        back = [f"{self.x.at(a):.1f},{self.y.at(b):.1f}" for a, b in zip(steps, high, strict=True)]
        self.parts.append(
            f'<polygon points="{" ".join(there + back[::-1])}" fill="{colour}" opacity="0.16"/>'
        )

    def dot(self, x: Any, y: Any, colour: str, title: str, radius: float = 3.2, shift: float = 0.0) -> None:
        self.parts.append(
            f'<circle cx="{self.x.at(x) + shift:.1f}" cy="{self.y.at(y):.1f}" r="{radius}" fill="{colour}" '
            f'opacity="0.65"><title>{escape(title)}</title></circle>'
        )

    def level(self, y: float, text: str) -> None:
        """A dashed line across, such as a baseline's."""
        if min(self.y.values) <= y <= max(self.y.values):
            at = self.y.at(y)
            self.parts.append(
                f'<line x1="{self.x.start}" x2="{self.x.end}" y1="{at:.1f}" y2="{at:.1f}" class="level"/>'
                f'<text x="{self.x.end - 4}" y="{at - 4:.1f}" text-anchor="end" class="tick">{escape(text)}</text>'
            )

    def __str__(self) -> str:
        frame: list[str] = []
        left, right = self.x.start - self.inset, self.x.end + self.inset
        for value in self.y.ticks():
            at = self.y.at(value)
            frame.append(f'<line x1="{left}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}" class="grid"/>')
            frame.append(f'<text x="{left - 6}" y="{at + 4:.1f}" text-anchor="end" class="tick">'
                         f"{word(value)}</text>")  # fmt: skip
        for value in self.x.ticks():
            at = self.x.at(value)
            frame.append(f'<text x="{at:.1f}" y="{self.y.start + 17}" text-anchor="middle" class="tick">'
                         f"{escape(word(value))}</text>")  # fmt: skip
        frame.append(f'<line x1="{left}" x2="{right}" y1="{self.y.start}" y2="{self.y.start}" class="axis"/>')
        frame.append(f'<text x="{(self.x.start + self.x.end) / 2}" y="{self.height - 4}" text-anchor="middle" '
                     f'class="title">{escape(self.x_title)}</text>')  # fmt: skip
        frame.append(
            f'<text x="{left - 6}" y="{self.y.end - 12}" class="title">{escape(self.y_title)}</text>'
        )
        return svg(self.width, self.height, frame + self.parts)


def svg(width: int, height: int, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">{"".join(parts)}</svg>'


def plot(
    xs: Sequence[Any],
    ys: Sequence[float],
    width: int,
    height: int,
    x_title: str,
    y_title: str,
    *,
    marked: bool = False,
    log_ratio: float = 8.0,
) -> Plot:
    """An empty plot whose axes hold all of `xs` and `ys`."""
    inset = 16 if marked else 0  # points stand clear of the frame
    x = Axis.over(xs, 62 + inset, width - 16 - inset, marked=marked)
    return Plot(x, Axis.over(ys, height - 42, 34, log_ratio=log_ratio), width, height, x_title, y_title)


def shade(place: float) -> str:
    """From good (0, blue) over teal to bad (1, pale yellow)."""
    stops = ((45, 60, 150), (35, 150, 150), (240, 225, 130))
    i, rest = (0, place * 2) if place < 0.5 else (1, place * 2 - 1)
    rgb = [round(a + (b - a) * min(1.0, rest)) for a, b in zip(stops[i], stops[i + 1], strict=True)]
    return f"rgb({rgb[0]},{rgb[1]},{rgb[2]})"
