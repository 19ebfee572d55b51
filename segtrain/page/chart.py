"""Line charts as inline SVG, drawn by hand: no script, no library, colours from the page's style sheet.

Classes that a style sheet gives colours to: chart, grid, axis, line, band, dot, mark, resumed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

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
    resumed: steps at which a training was gone on with.
    """

    name: str
    points: Sequence[Point]
    num_steps: int
    percent: bool = False
    from_zero: bool = False
    mark: float | None = None
    resumed: Sequence[int] = ()

    def svg(self) -> str:
        """An <svg> element, or '' where there is no finite point."""
        shown = [(step, 100 * value if self.percent else value) for step, value in self.points if math.isfinite(value)]
        if not shown:
            return ""
        values = [value for _, value in shown]
        y_ticks = ticks(0 if self.from_zero else min(values), max(values))
        right = max(self.num_steps, shown[-1][0], 1)
        axes = _Axes(right, y_ticks[0], y_ticks[-1])
        parts = [
            f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
            f'aria-label="{escape(self.told(shown))}">',
            *_lines_across(axes, y_ticks, "%" if self.percent else ""),
            *_steps(axes, [step for step in ticks(0, right, whole=True) if step <= right]),
            *(_upright(axes, step) for step in self.resumed),
            *_curve(axes, shown),
        ]
        if len(shown) <= MOST_DOTS:
            parts += [_dot(axes, point, "dot", self._label(point)) for point in shown]
        parts += [_dot(axes, point, "mark", self._label(point)) for point in shown if point[0] == self.mark]
        return "\n".join([*parts, "</svg>"])

    def told(self, shown: Sequence[Point]) -> str:
        """The curve in words."""
        if len(shown) == 1:
            return f"{self.name}: {self._label(shown[0])}"
        return f"{self.name}, a curve from {self._label(shown[0])} to {self._label(shown[-1])}"

    def _label(self, point: Point) -> str:
        step, value = point
        return f"{value:.2f} % at step {step:g}" if self.percent else f"{value:.4g} at step {step:g}"


@dataclass(frozen=True)
class _Axes:
    """Both axes: steps from 0 to `right`, values from `low` to `high`."""

    right: float
    low: float
    high: float

    def x(self, step: float) -> float:
        return LEFT + step / self.right * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (value - self.low) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)

    def at(self, point: Point) -> str:
        return f"{self.x(point[0]):.1f},{self.y(point[1]):.1f}"


def ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Three to six round numbers at equal distances, the first at or below `low`, the last at or above `high`."""
    extent = high - low or abs(high) or 1.0
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


def _lines_across(axes: _Axes, values: Sequence[float], unit: str) -> list[str]:
    """The axis of values: lines, and numbers that share a power of ten where they are small."""
    greatest = max(map(abs, values))
    exponent = math.floor(math.log10(greatest)) if greatest < 0.01 else 0
    scale = 10.0**-exponent
    unit = unit or (f"×10{str(exponent).translate(_SUPERSCRIPTS)}" if exponent else "")
    parts = [f'<text x="{LEFT - 8}" y="{TOP - 17}" text-anchor="end">{unit}</text>'] if unit else []
    for value in values:
        y, label = axes.y(value), tick_label(scale * value, scale * (values[1] - values[0]))
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y:.1f}" text-anchor="end" dominant-baseline="central">{label}</text>')
    return parts


def _steps(axes: _Axes, steps: Sequence[float]) -> list[str]:
    """The axis of steps."""
    y, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = [f'<line class="axis" x1="{LEFT}" y1="{y}" x2="{right}" y2="{y}"/>']
    for step in steps:
        x, label = axes.x(step), tick_label(step, steps[1] - steps[0])
        parts.append(f'<line class="axis" x1="{x:.1f}" y1="{y}" x2="{x:.1f}" y2="{y + 4}"/>')
        parts.append(f'<text x="{x:.1f}" y="{y + 21}" text-anchor="middle">{label}</text>')
    return [*parts, f'<text x="{right}" y="{HEIGHT - 6}" text-anchor="end">steps</text>']


def _curve(axes: _Axes, points: Sequence[Point]) -> list[str]:
    means, ranges = thinned(points)
    parts = []
    if len(means) < len(points):
        steps = [step for step, _ in means]
        lower = [axes.at((step, low)) for step, (low, _) in zip(steps, ranges, strict=True)]
        upper = [axes.at((step, high)) for step, (_, high) in zip(steps, ranges, strict=True)]
        parts.append(f'<polygon class="band" points="{" ".join([*lower, *reversed(upper)])}"/>')
    if len(means) > 1:
        parts.append(f'<polyline class="line" points="{" ".join(map(axes.at, means))}"/>')
    return parts


def _dot(axes: _Axes, point: Point, kind: str, label: str) -> str:
    x, y, radius = axes.x(point[0]), axes.y(point[1]), 6 if kind == "mark" else 3.5
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}"><title>{label}</title></circle>'


def _upright(axes: _Axes, step: int) -> str:
    x = axes.x(step)
    return f'<line class="resumed" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}"/>'
