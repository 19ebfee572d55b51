"""Line charts as inline SVG, from a template of their own: no script, colours from the page's style sheet.

Classes that a style sheet gives colours to: chart, grid, axis, line, band, dot, mark, resumed.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from jobs.pages.templates import render

Point = tuple[float, float]

WIDTH, HEIGHT = 480, 260  # units of the picture, which is as wide as its place allows
LEFT, RIGHT, TOP, BOTTOM = 62, 22, 38, 48  # around the axes: room for text up to 18 units high
MOST_POINTS = 240  # more are drawn as means, before the band from their least to their greatest
MOST_DOTS = 30
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A curve over steps; values that are not finite are left out.

    percent: values are fractions. from_zero: the axis of values begins at 0. mark: the step of a point to stand out;
    resumed: steps at which a training was resumed.
    """

    name: str
    points: Sequence[Point]
    num_steps: int
    percent: bool = False
    from_zero: bool = False
    mark: float | None = None
    resumed: Sequence[int] = ()

    def svg(self) -> Markup:
        """An <svg> element, or nothing where there is no finite point."""
        shown = [(step, 100 * value if self.percent else value) for step, value in self.points if math.isfinite(value)]
        if not shown:
            return Markup()
        values = [value for _, value in shown]
        y_ticks = ticks(0 if self.from_zero else min(values), max(values))
        last = max(self.num_steps, shown[-1][0], 1)
        x_ticks = [step for step in ticks(0, last, whole=True) if step <= last]
        axes = Axes(last, y_ticks[0], y_ticks[-1])
        line, band = _curve(axes, shown)
        return render(
            "jobs.pages",
            "chart.svg.j2",
            **axes.drawn(x_ticks, y_ticks, percent=self.percent),
            told=self.told(shown),
            x_name="steps",
            resumed=[axes.x(step) for step in self.resumed],
            line=line,
            band=band,
            dots=[*self._dots(axes, shown)],
        )

    def _dots(self, axes: "Axes", shown: Sequence[Point]) -> Iterator[tuple[str, float, str, str, str]]:
        """Class, radius, place and words of every point, where they are few, and then of the one to stand out."""
        dots = [("dot", 3.5, point) for point in shown if len(shown) <= MOST_DOTS]
        marks = [("mark", 6, point) for point in shown if point[0] == self.mark]
        for kind, radius, point in dots + marks:
            yield kind, radius, axes.x(point[0]), axes.y(point[1]), self._label(point)

    def told(self, shown: Sequence[Point]) -> str:
        """The curve in words."""
        if len(shown) == 1:
            return f"{self.name}: {self._label(shown[0])}"
        return f"{self.name}, a curve from {self._label(shown[0])} to {self._label(shown[-1])}"

    def _label(self, point: Point) -> str:
        step, value = point
        return f"{value:.2f} % at step {step:g}" if self.percent else f"{value:.4g} at step {step:g}"


@dataclass(frozen=True)
class Axes:
    """Both axes, steps from 0 to `last` and values from `low` to `high`: where these lie in the picture."""

    last: float
    low: float
    high: float

    def x(self, step: float) -> str:
        return f"{LEFT + step / self.last * (WIDTH - LEFT - RIGHT):.1f}"

    def y(self, value: float) -> str:
        share = (value - self.low) / (self.high - self.low)
        return f"{HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM):.1f}"

    def at(self, point: Point) -> str:
        return f"{self.x(point[0])},{self.y(point[1])}"

    def drawn(self, x_ticks: Sequence[float], y_ticks: Sequence[float], *, percent: bool) -> dict[str, Any]:
        """What the template draws of them: the frame, and both axes' ticks with their labels."""
        unit, labels = _value_labels(y_ticks)
        return {
            "width": WIDTH,
            "height": HEIGHT,
            "left": LEFT,
            "right": WIDTH - RIGHT,
            "top": TOP,
            "bottom": HEIGHT - BOTTOM,
            "unit": "%" if percent else unit,
            "values": [(self.y(value), label) for value, label in zip(y_ticks, labels, strict=True)],
            "steps": [(self.x(step), tick_label(step, x_ticks[1] - x_ticks[0])) for step in x_ticks],
        }


def ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Three to six round numbers at equal distances, the first at or below `low`, the last at or above `high`."""
    greatest = max(abs(low), abs(high))
    extent = high - low if high - low > 1e-9 * greatest else greatest or 1.0  # else ticks would be equal
    distance = 10.0 ** math.floor(math.log10(extent / 4))
    distance = next(distance * factor for factor in (1, 2, 5, 10) if distance * factor * 4 >= extent * 0.999)
    if whole:
        distance = max(1.0, distance)
    first, last = math.floor(low / distance + 1e-9), math.ceil(high / distance - 1e-9)
    last = max(last, first + 2)
    return [number * distance for number in range(first, last + 1)]


def tick_label(value: float, distance: float) -> str:
    """A number with as many decimals as tell ticks at this distance apart."""
    if value and distance >= 1000:
        return f"{value / 1000:g}k"
    return f"{value:.{max(0, -math.floor(math.log10(distance) + 1e-9))}f}"


def thinned(points: Sequence[Point]) -> tuple[list[Point], list[tuple[float, float]]]:
    """At most MOST_POINTS means of neighbouring points, and the least and greatest value of each."""
    size = -(-len(points) // MOST_POINTS)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    means = [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]
    return means, [(min(y for _, y in group), max(y for _, y in group)) for group in groups]


def _value_labels(values: Sequence[float]) -> tuple[str, list[str]]:
    """The labels of an axis of values, and the power of ten that they share where values are small."""
    greatest = max(map(abs, values))
    exponent = math.floor(math.log10(greatest)) if greatest < 0.01 else 0
    scale = 10.0**-exponent
    unit = f"×10{str(exponent).translate(_SUPERSCRIPTS)}" if exponent else ""
    return unit, [tick_label(scale * value, scale * (values[1] - values[0])) for value in values]


def _curve(axes: Axes, points: Sequence[Point]) -> tuple[list[str], list[str]]:
    """The corners of the line, and those of the band around it, where its points are means."""
    means, ranges = thinned(points)
    line = [axes.at(point) for point in means]
    if len(means) == len(points):
        return line, []
    steps = [step for step, _ in means]
    lower = [axes.at((step, low)) for step, (low, _) in zip(steps, ranges, strict=True)]
    upper = [axes.at((step, high)) for step, (_, high) in zip(steps, ranges, strict=True)]
    return line, [*lower, *reversed(upper)]
