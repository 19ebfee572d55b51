"""What surfaces look like: each material is a function from points on a surface to their colour.

Colours are RGB in [0,1]. Patterns live in surface coordinates (metres), so that they move with their surface, and fade
where they are finer than the pixel's footprint, so that they do not flicker.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from propagate.synth.patterns import cell_noise, fade, noise, stripe, within

Color = Sequence[float]


@dataclass(frozen=True)
class Points:
    """N points of one solid, in its local coordinates."""

    local: np.ndarray  # [N,3] metres
    normal: np.ndarray  # [N,3]
    uv: np.ndarray  # [N,2] metres along the surface
    footprint: np.ndarray  # [N] metres across a pixel there


Material = Callable[[Points], np.ndarray]  # -> [N,3] float32


def texture(points: Points, *octaves: tuple[float, float], stretch: float = 1.0) -> np.ndarray:
    """[N] sum of noises (wavelength, amplitude), each faded by itself; bumps are `stretch` times longer along v."""
    u, v = points.uv.T
    total = np.zeros_like(u)
    for wavelength, amplitude in octaves:
        visible = fade(points.footprint, wavelength)
        if visible.any():
            total += noise(u + wavelength * 7, v / np.float32(stretch), wavelength) * visible * np.float32(amplitude)
    return total


def _rgb(color: Color) -> np.ndarray:
    return np.asarray(color, np.float32)


def _shade(color: Color, brightness: np.ndarray) -> np.ndarray:
    return _rgb(color) * (1 + brightness[:, None])


def _over(base: np.ndarray, color: Color | np.ndarray, coverage: np.ndarray) -> np.ndarray:
    """A second colour, one or [N,3], laid over a base [N,3] where it covers it [N]."""
    return base + (np.asarray(color, np.float32) - base) * coverage[:, None]


def plain(color: Color, contrast: float = 0.03) -> Material:
    """Painted metal, plastic, concrete: nearly without texture."""
    return lambda points: _shade(color, texture(points, (0.6, contrast), (0.12, contrast)))


def asphalt(color: Color, contrast: float, half_width: float, dashes: float) -> Material:
    """A road along z about x = 0: grain, patches, cracks, wheel tracks, lines at its edges and dashes in its middle."""

    def colors(points: Points) -> np.ndarray:
        x, z = points.local[:, 0], points.local[:, 2]
        grain = texture(points, (6.0, 0.35), (1.5, 0.25), (0.3, 0.3), (0.08, 0.5))
        patched = cell_noise(np.floor(x / 2.7 + 0.3), np.floor(z / 7 + 2 * np.floor(x / 2.7 + 0.3))) - 0.5
        patched = np.where(np.abs(patched) > 0.3, patched * 0.5, 0)
        cracks = within(0.03 - 0.2 * np.abs(noise(x, z, 5.0)), points.footprint) * fade(points.footprint, 0.1)
        tracks = np.cos(x * (2 * np.pi / (half_width / 2))) * 0.04
        base = _shade(color, contrast * (grain + 1.2 * patched) + tracks - 0.25 * cracks)
        wear = np.clip(0.8 + 0.25 * noise(x, z, 0.4), 0, 1)
        dashed = stripe(x, 0.0, 0.07, points.footprint) * stripe(
            np.mod(z, dashes), dashes / 2, dashes / 5, points.footprint
        )
        edges = stripe(np.abs(x), half_width - 2.3, 0.06, points.footprint)
        return _over(base, (0.82, 0.82, 0.79), np.maximum(dashed, 0.8 * edges) * wear)

    return colors


def crossing(color: Color, contrast: float) -> Material:
    """A strip of road across the street, with zebra stripes."""

    def colors(points: Points) -> np.ndarray:
        x = points.local[:, 0]
        base = _shade(color, contrast * texture(points, (3.0, 0.3), (0.3, 0.4), (0.08, 0.5)))
        wear = np.clip(0.85 + 0.2 * noise(x, points.local[:, 2], 0.5), 0, 1)
        return _over(base, (0.8, 0.8, 0.78), stripe(np.mod(x, 1.0), 0.5, 0.25, points.footprint) * wear)

    return colors


def paving(color: Color, slab: float) -> Material:
    """Slabs with joints, each of its own grey; the kerb's face is lighter."""

    def colors(points: Points) -> np.ndarray:
        u, v = points.uv.T
        column = np.floor(u / slab)
        row = np.floor(v / slab + 0.5 * np.mod(column, 2))
        own = (cell_noise(column, row) - 0.5) * 0.18 * fade(points.footprint, slab)
        to_joint = np.minimum(_to_edge(u / slab), _to_edge(v / slab + 0.5 * np.mod(column, 2))) * np.float32(slab)
        joints = (1 - within(to_joint - np.float32(0.012), points.footprint)) * fade(points.footprint, slab / 2)
        base = _shade(color, own + texture(points, (2.0, 0.06), (0.3, 0.05), (0.07, 0.06)) - 0.3 * joints)
        return _over(base, (0.66, 0.65, 0.63), np.float32(0.7) * (np.abs(points.normal[:, 0]) > 0.5))

    return colors


def _to_edge(value: np.ndarray) -> np.ndarray:
    """The distance to the nearest whole number."""
    return np.abs(value - np.round(value))


def facade(color: Color, floor: float, pitch: float, window: tuple[float, float], bricks: bool, seed: int) -> Material:
    """A house front: plaster or bricks, rows of windows with frames and curtains, a darker ground floor."""
    wide, high = window

    def colors(points: Points) -> np.ndarray:
        u, height = points.uv[:, 0], -points.local[:, 1]
        footprint = points.footprint
        column, level = np.floor(u / pitch), np.floor(height / floor)
        weathered = texture(points, (5.0, 0.07), (0.8, 0.04), stretch=3.0) + texture(points, (0.1, 0.04))
        base = _shade(color, weathered)
        if bricks:
            course = np.floor(height / 0.16)
            own = cell_noise(np.floor(u / 0.32 + 0.5 * np.mod(course, 2)), course) - 0.5
            base *= (1 + 0.3 * own * fade(footprint, 0.2))[:, None]
        base *= (1 - 0.25 * within(np.float32(floor) - height, footprint))[:, None]
        base = _over(base, np.asarray(color) * 1.12, 0.8 * stripe(np.mod(height, floor), floor - 0.12, 0.1, footprint))
        x = (u / pitch - column - 0.5) * np.float32(pitch)
        y = (height / floor - level - 0.52) * np.float32(floor)
        glass = stripe(x, 0, wide / 2, footprint) * stripe(y, 0, high / 2, footprint)
        frame = stripe(x, 0, wide / 2 + 0.1, footprint) * stripe(y, 0, high / 2 + 0.1, footprint)
        bars = np.maximum(stripe(x, 0, 0.04, footprint), stripe(y, high / 5, 0.04, footprint))
        own = cell_noise(column + seed, level)
        curtain = (own > 0.6) * within(y - np.float32(0.5 - own) * high, footprint)
        pane = (0.09 + 0.22 * own + 0.06 * (y / high))[:, None] * np.array((0.85, 1.0, 1.15), np.float32)
        pane = _over(pane.astype(np.float32), (0.62, 0.6, 0.55), 0.8 * curtain)
        pane = _over(pane, (0.75, 0.74, 0.7), bars)
        walls = np.abs(points.normal[:, 1]) < 0.5
        base = _over(base, (0.7, 0.69, 0.66), frame * walls)
        return _over(base, pane, glass * walls)

    return colors


def tiles(color: Color) -> Material:
    """A pitched roof."""

    def colors(points: Points) -> np.ndarray:
        rows = _to_edge(points.local[:, 1] / 0.3) * fade(points.footprint, 0.3)
        return _shade(color, texture(points, (3.0, 0.1), (0.3, 0.1)) + 0.4 * (rows - 0.25))

    return colors


def foliage(color: Color, contrast: float) -> Material:
    """Leaves: strong contrast at every scale, with dark gaps."""

    def colors(points: Points) -> np.ndarray:
        leaves = texture(points, (1.6, 0.3), (0.5, 0.3), (0.18, 0.35), (0.07, 0.3))
        base = _shade(color, np.clip(contrast * leaves, -0.75, 0.9))
        return _over(base, (0.75, 0.75, 0.35), np.clip(0.25 * contrast * leaves, 0, 0.3))

    return colors


def grass(color: Color) -> Material:
    def colors(points: Points) -> np.ndarray:
        blades = texture(points, (4.0, 0.12), (0.7, 0.12), (0.12, 0.16), (0.05, 0.16))
        return _over(
            _shade(color, blades),
            (0.45, 0.38, 0.26),
            np.clip(0.3 * noise(points.uv[:, 0], points.uv[:, 1], 3.0), 0, 0.5),
        )

    return colors


def slats(color: Color, pitch: float) -> Material:
    """A fence of boards with dark gaps, and two rails."""

    def colors(points: Points) -> np.ndarray:
        u, height = points.uv[:, 0], -points.local[:, 1]
        own = (cell_noise(np.floor(u / pitch), np.zeros_like(u)) - 0.5) * 0.3 * fade(points.footprint, pitch)
        gap = 1 - stripe(np.mod(u, pitch), pitch / 2, pitch * 0.38, points.footprint)
        rail = np.maximum(stripe(height, 0.35, 0.05, points.footprint), stripe(height, 1.0, 0.05, points.footprint))
        base = _shade(color, own + texture(points, (0.4, 0.1), stretch=4.0))
        return base * (1 - 0.65 * gap * (1 - rail))[:, None]

    return colors


def car_body(color: Color, half_length: float, half_width: float) -> Material:
    """Paint with lamps, number plates, a dark sill and door joints."""

    def colors(points: Points) -> np.ndarray:
        x, height, z = points.local[:, 0], -points.local[:, 1], points.local[:, 2]
        footprint = points.footprint
        base = _shade(color, texture(points, (1.5, 0.04)) - 0.12 * points.normal[:, 1])
        base = _over(base, (0.06, 0.06, 0.07), within(0.38 - height, footprint))
        ends = np.abs(points.normal[:, 2]) > 0.6
        lamps = ends * stripe(np.abs(x), half_width - 0.25, 0.17, footprint) * stripe(height, 0.7, 0.09, footprint)
        lamp = np.where(z[:, None] > 0, _rgb((0.95, 0.94, 0.88)), _rgb((0.75, 0.06, 0.05)))
        base = _over(base, lamp, lamps)
        grille = (ends & (z > 0)) * stripe(x, 0, half_width - 0.5, footprint) * stripe(height, 0.62, 0.08, footprint)
        plate = ends * stripe(x, 0, 0.26, footprint) * stripe(height, 0.5, 0.06, footprint)
        base = _over(_over(base, (0.05, 0.05, 0.05), grille), (0.9, 0.9, 0.86), plate)
        sides = np.abs(points.normal[:, 0]) > 0.6
        joints = stripe(np.mod(z, 1.05), 0.5, 0.012, footprint) * within(half_length - 0.9 - np.abs(z), footprint)
        return _over(base, (0.05, 0.05, 0.05), 0.7 * joints * sides)

    return colors


def car_cabin(color: Color, pillar: float) -> Material:
    """Dark glass between pillars, and a painted roof."""

    def colors(points: Points) -> np.ndarray:
        height = -points.local[:, 1]
        reflections = noise(points.uv[:, 0], points.uv[:, 1], 0.9)
        glass = np.clip(0.10 + 0.16 * (height - 0.9) + 0.03 * reflections, 0, 1)
        base = glass[:, None] * np.array((0.9, 1.0, 1.1), np.float32)
        side = np.abs(points.normal[:, 0]) > 0.6
        pillars = stripe(np.mod(points.local[:, 2] + 10, pillar), pillar / 2, 0.05, points.footprint) * side
        roof = points.normal[:, 1] < -0.8
        return _over(base, color, np.maximum(pillars, roof))

    return colors


def coach(color: Color, band: tuple[float, float], pitch: float, trim: Color) -> Material:
    """The sides of a bus or truck: a band of windows (or none, where the band is empty), a stripe, end lamps."""
    low, high = band

    def colors(points: Points) -> np.ndarray:
        height, footprint = -points.local[:, 1], points.footprint
        u = points.uv[:, 0]
        base = _shade(color, texture(points, (2.5, 0.05), (0.2, 0.02)))
        base = _over(base, trim, stripe(height, low - 0.35, 0.16, footprint))
        panel = stripe(np.mod(u, pitch), pitch / 2, pitch / 2 - 0.07, footprint)
        glass = panel * stripe(height, (low + high) / 2, (high - low) / 2, footprint) * (high > low)
        own = cell_noise(np.floor(u / pitch), np.zeros_like(u))
        base = _over(base, np.repeat((0.12 + 0.12 * own)[:, None], 3, 1), glass)
        ends = np.abs(points.normal[:, 2]) > 0.6
        side = stripe(np.abs(points.local[:, 0]), 0.95, 0.13, footprint) * stripe(height, 0.85, 0.11, footprint)
        lamp = np.where(points.local[:, 2:] > 0, _rgb((0.95, 0.94, 0.9)), _rgb((0.8, 0.05, 0.05)))
        return _over(base, lamp, side * ends)

    return colors


def wheel(a: float, b: float, radius: float) -> Material:
    """Tyre and rim around (z, height) = (a, b)."""

    def colors(points: Points) -> np.ndarray:
        z, height = points.local[:, 2] - np.float32(a), -points.local[:, 1] - np.float32(b)
        rim = within(np.float32(radius * 0.62) - np.hypot(z, height), points.footprint)
        rim *= np.abs(points.normal[:, 0]) > 0.6
        spokes = 0.5 + 0.3 * np.cos(5 * np.arctan2(height, z))
        base = np.full((len(z), 3), 0.05, np.float32)
        return _over(base, np.repeat(spokes[:, None], 3, 1), rim)

    return colors


def cloth(color: Color, contrast: float) -> Material:
    return lambda points: _shade(color, texture(points, (0.25, contrast), (0.06, contrast), stretch=2.0))


def emblem(color: Color, rim: Color, radius: float) -> Material:
    """A round or square sign face: a rim, and a bar across the middle."""

    def colors(points: Points) -> np.ndarray:
        x, y = points.local[:, 0], points.local[:, 1]
        base = np.tile(np.asarray(rim, np.float32), (len(x), 1))
        inner = within(np.float32(0.78 * radius) - np.maximum(np.abs(x), np.abs(y)), points.footprint)
        bar = stripe(x, 0, 0.5 * radius, points.footprint) * stripe(y, 0, 0.17 * radius, points.footprint)
        front = points.normal[:, 2] < -0.5
        base = _over(_over(base, color, inner), rim, bar)
        return np.where(front[:, None], base, np.float32(0.45))

    return colors


def signal(lit: int, lamp_height: float) -> Material:
    """A traffic light's head of three lamps, one of them lit (0 the red one on top, 2 the green one)."""
    lamps = ((0.95, 0.12, 0.08), (0.95, 0.7, 0.1), (0.15, 0.9, 0.45))

    def colors(points: Points) -> np.ndarray:
        x, y = points.local[:, 0], points.local[:, 1]
        base = np.full((len(x), 3), 0.05, np.float32)
        for number, color in enumerate(lamps):
            distance = np.hypot(x, y - np.float32((number - 1) * lamp_height))
            on = within(np.float32(0.4 * lamp_height) - distance, points.footprint) * (points.normal[:, 2] < -0.5)
            base = _over(base, np.asarray(color) * (1.0 if number == lit else 0.25), on)
        return base

    return colors
