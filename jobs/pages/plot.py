"""Several series in one picture, as inline SVG: lines, or points alone, that colour, dash and shape tell apart."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from markupsafe import Markup

from jobs.pages.chart import Axes, Point, ticks
from jobs.pages.templates import render

NUM_COLOURS = 8  # of the style sheet; with more series the dashes and shapes go on
DASHES = ("none", "7 3", "2 3", "9 3 2 3", "12 4", "4 4", "1 4", "6 2 1 2 1 2")
# Around (0, 0): a disc, a square, a diamond, a triangle, one upside down, a plus.
SHAPES = (
    "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0",
    "m-4-4h8v8h-8z",
    "m0-5.5l5.5 5.5l-5.5 5.5l-5.5-5.5z",
    "m0-5l5 9h-10z",
    "m0 5l5-9h-10z",
    "m-1.7-5h3.4v3.3h3.3v3.4h-3.3v3.3h-3.4v-3.3h-3.3v-3.4h3.3z",
)


class DrawnSeries(NamedTuple):
    """As the template takes it. number: of its colour; points: a path and words for each."""

    number: int
    dash: str
    line: list[str]
    points: list[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Series by name, of points (x, y); those that are not finite are left out.

    x_name: what the axis says. percent: values are fractions. lines: from point to point, for curves.
    """

    name: str
    series: Mapping[str, Sequence[Point]]
    x_name: str
    percent: bool = False
    lines: bool = True

    def svg(self) -> Markup:
        """An <svg> element, or nothing where there is no finite point."""
        scale = 100 if self.percent else 1
        shown = {
            name: [(x, scale * y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
            for name, points in self.series.items()
        }
        every = [point for points in shown.values() for point in points]
        if not every:
            return Markup()
        values = [y for _, y in every]
        y_ticks = ticks(min(values), max(values))
        x_ticks = ticks(0, max(x for x, _ in every) or 1)
        axes = Axes(x_ticks[-1], y_ticks[0], y_ticks[-1])
        return render(
            "jobs.pages",
            "plot.svg.j2",
            **axes.drawn(x_ticks, y_ticks, percent=self.percent),
            told=f"{self.name}: {'; '.join(self._told(name, points) for name, points in shown.items())}",
            x_name=self.x_name,
            series=[self._drawn(number, name, points, axes) for number, (name, points) in enumerate(shown.items())],
        )

    @property
    def legend(self) -> list[tuple[str, int, str, str]]:
        """Name, colour's number, dash and shape of each series."""
        return [(name, *_look(number)) for number, name in enumerate(self.series)]

    def _drawn(self, number: int, name: str, points: Sequence[Point], axes: Axes) -> DrawnSeries:
        colour, dash, shape = _look(number)
        line = [axes.at(point) for point in points] if self.lines and len(points) > 1 else []
        told = [(f"M{axes.at(point)}{shape}", f"{name}: {self._label(point)}") for point in points]
        return DrawnSeries(colour, dash, line, told)

    def _told(self, name: str, points: Sequence[Point]) -> str:
        if not points:
            return f"{name}, nothing"
        if len(points) == 1:
            return f"{name}, {self._label(points[0])}"
        return f"{name}, from {self._label(points[0])} to {self._label(points[-1])}"

    def _label(self, point: Point) -> str:
        x, y = point
        return f"{y:.1f} % at {x:g} {self.x_name}" if self.percent else f"{y:.4g} at {x:g} {self.x_name}"


def _look(number: int) -> tuple[int, str, str]:
    return number % NUM_COLOURS + 1, DASHES[number % len(DASHES)], SHAPES[number % len(SHAPES)]
