"""Small plots in SVG."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from typing import Any

from rnnlab.figures.axis import Axis, apart, cut, width, word

COLOURS = tuple(f"var(--c{i})" for i in range(6))  # defined in the page's style, for light and dark mode
LINE = 12.0  # the least pixels between two labels


@dataclass
class Plot:
    """Axes and the parts drawn between them; `str(plot)` is the SVG."""

    x: Axis
    y: Axis
    width: int
    height: int
    x_title: str = ""
    y_title: str = ""
    levels: Mapping[str, float] = field(default_factory=dict)  # {name: y} of dashed lines
    parts: list[str] = field(default_factory=list)

    @property
    def inset(self) -> int:
        return 16 if self.x.marks or self.x.words else 0

    def line(self, points: Sequence[tuple[Any, Any]], colour: str, width: float = 1.7) -> None:
        path = " ".join(f"{self.x.at(a):.1f},{self.y.at(b):.1f}" for a, b in points)
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>')

    def band(self, steps: Sequence[Any], low: Sequence[float], high: Sequence[float], colour: str) -> None:
        there = [f"{self.x.at(a):.1f},{self.y.at(b):.1f}" for a, b in zip(steps, low, strict=True)]
        back = [f"{self.x.at(a):.1f},{self.y.at(b):.1f}" for a, b in zip(steps, high, strict=True)]
        self.parts.append(
            f'<polygon points="{" ".join(there + back[::-1])}" fill="{colour}" opacity="0.16"/>'
        )

    def dot(
        self,
        x: Any,
        y: Any,
        colour: str,
        title: str,
        radius: float = 3.2,
        shift: float = 0.0,
        link: str | None = None,
    ) -> None:
        dot = (f'<circle cx="{self.x.at(x) + shift:.1f}" cy="{self.y.at(y):.1f}" r="{radius}" fill="{colour}" '
               f'opacity="0.7"><title>{escape(title)}</title></circle>')  # fmt: skip
        self.parts.append(_linked(dot, link))

    def mark(self, x: Any, y: float, colour: str, title: str, **how: Any) -> None:
        """Draws a dot; outside the axis, a triangle at the edge that points to it."""
        inside = self.y.within(y)
        if inside == y:
            return self.dot(x, y, colour, title, **how)
        across, at = self.x.at(x) + how.get("shift", 0.0), self.y.at(inside)
        self.parts.append(
            _linked(beyond(across, at, y > inside, colour, f"{title}, outside of the axis"), how.get("link"))
        )

    def __str__(self) -> str:
        frame: list[str] = []
        left, right = self.x.start - self.inset, self.x.end + self.inset
        for value in self.y.ticks():
            at = self.y.at(value)
            frame.append(f'<line x1="{left}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}" class="grid"/>')
            frame.append(f'<text x="{left - 6}" y="{at + 4:.1f}" text-anchor="end" class="tick">'
                         f"{word(value)}</text>")  # fmt: skip
        frame += self._words() if self.x.crowded() else self._ticks()
        frame.append(f'<line x1="{left}" x2="{right}" y1="{self.y.start}" y2="{self.y.start}" class="axis"/>')
        frame.append(f'<text x="{(self.x.start + self.x.end) / 2}" y="{self.height - 4}" text-anchor="middle" '
                     f'class="title">{escape(self.x_title)}</text>')  # fmt: skip
        frame.append(f'<text x="4" y="{self.y.end - 14}" class="title">{escape(self.y_title)}</text>')
        return svg(self.width, self.height, frame + self.parts + self._levels())

    def _ticks(self) -> list[str]:
        return [
            f'<text x="{self.x.at(value):.1f}" y="{self.y.start + 17}" text-anchor="middle" class="tick">'
            f"{escape(cut(word(value)))}</text>"
            for value in self.x.clear()
        ]

    def _words(self) -> list[str]:
        """The labels of the x axis, slanted, because they would overlap otherwise."""
        found = []
        for value in self.x.ticks():
            x, y = self.x.at(value) + 3, self.y.start + 14
            found.append(f'<text x="{x:.1f}" y="{y}" text-anchor="end" class="tick" '
                         f'transform="rotate(-32 {x:.1f} {y})">{escape(cut(word(value)))}'
                         f"<title>{escape(word(value))}</title></text>")  # fmt: skip
        return found

    def _levels(self) -> list[str]:
        """The horizontal lines, with their names at the right, moved so that they do not overlap."""
        right = self.x.end + self.inset
        places = sorted((self.y.start - self.y.at(value), name) for name, value in self.levels.items())
        found = []
        for (up, name), label in zip(places, apart([up for up, _ in places], LINE), strict=True):
            at = self.y.start - up
            found.append(f'<line x1="{self.x.start}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}" class="level"/>'
                         f'<text x="{right + 5}" y="{self.y.start - label + 4:.1f}" class="tick">'
                         f"{escape(name)}</text>")  # fmt: skip
        return found


def _linked(part: str, link: str | None) -> str:
    return f'<a href="{escape(link)}">{part}</a>' if link else part


def beyond(x: float, y: float, above: bool, colour: str, title: str) -> str:
    """A triangle at the end of an axis, for a value outside it."""
    way = -1 if above else 1
    tip, foot = y + 5 * way, y - 2 * way
    return (f'<polygon class="beyond" points="{x:.1f},{tip:.1f} {x - 4:.1f},{foot:.1f} {x + 4:.1f},{foot:.1f}" '
            f'fill="{colour}"><title>{escape(title)}</title></polygon>')  # fmt: skip


def svg(width: int, height: int, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">{"".join(parts)}</svg>'


def plot(
    xs: Sequence[Any],
    ys: Sequence[float],
    size: tuple[int, int],
    x_title: str,
    y_title: str,
    *,
    marked: bool = False,
    log_x: bool = True,
    log_ratio: float = 8.0,
    levels: Mapping[str, float] | None = None,
) -> Plot:
    """An empty plot whose axes contain all of `xs` and `ys`, and those of `levels` that are not far from `ys`."""
    shown = {name: y for name, y in (levels or {}).items() if min(ys) / 100 < y < 3 * max(ys)}
    inset = 16 if marked else 0  # so that points do not touch the frame
    beside = max((8 + width(name) for name in shown), default=16.0)
    x = Axis.over(xs, 62 + inset, size[0] - beside - inset, marked=marked, log_ratio=8.0 if log_x else None)
    below = 42 + (0.53 * max(map(width, x.values)) if x.crowded() else 0)
    y = Axis.over([*ys, *shown.values()], size[1] - below, 36, log_ratio=log_ratio)
    if shown and (least := min(shown.values())) <= y.values[0]:  # so that the line does not touch the axis
        ends = (least / 1.06 if y.log else least - 0.05 * (y.values[1] - least), y.values[1])
        y = replace(y, values=ends)
    return Plot(x, y, *size, x_title, y_title, shown)
