"""The two solids that everything is built of, and where rays from a camera meet them.

Axes: x to the right, y down, z ahead; metres. A ray is the pixel's point (x, y, 1) on the plane one metre ahead
of the camera, times its depth. Depth is handled as its inverse, which is affine in x and y on any plane: larger is
nearer, 0 is infinitely far, and no division by zero can occur.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from propagate.synth.patterns import noise

UNBOUNDED = np.empty((0, 3))


class Shape(Protocol):
    @property
    def corners(self) -> np.ndarray:
        """[K,3] points whose convex hull holds the shape; none where it is unbounded."""
        ...

    def inverse_depth(self, x: np.ndarray, y: np.ndarray, local_from_camera: np.ndarray) -> np.ndarray:
        """[N] float32 inverse depth at which the rays x, y [N] enter the shape; 0 where they miss it.

        local_from_camera: [3,4] float64 rigid transform.
        """
        ...

    def surface(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The outward normals [N,3] at points [N,3] of the surface, and their surface coordinates [N,2] in metres."""
        ...


def _affine(coefficients: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """a x + b y + c in float32."""
    a, b, c = coefficients.astype(np.float32)
    value = x * a
    value += y * b
    value += c
    return value


@dataclass(frozen=True, eq=False)
class Polytope:
    """The points with ``normals @ point <= offsets``: a convex solid, or a half-space, or anything between."""

    normals: np.ndarray  # [F,3] float64, unit length, outward
    offsets: np.ndarray  # [F] float64
    corners: np.ndarray

    def inverse_depth(self, x: np.ndarray, y: np.ndarray, local_from_camera: np.ndarray) -> np.ndarray:
        directions = self.normals @ local_from_camera[:, :3]
        heights = self.offsets - self.normals @ local_from_camera[:, 3]
        outside = heights < 0
        if not outside.any():  # the camera is inside
            return np.zeros_like(x)
        entry, leave = None, None
        for direction, height, is_outside in zip(directions, heights, outside, strict=True):
            plane = _affine(direction / (height if abs(height) > 1e-12 else 1e-12), x, y)
            if is_outside:
                entry = plane if entry is None else np.minimum(entry, plane, out=entry)
            else:
                leave = plane if leave is None else np.maximum(leave, plane, out=leave)
        assert entry is not None
        met = entry > (0 if leave is None else np.maximum(leave, 0, out=leave))
        return np.where(met, entry, np.float32(0))

    def surface(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        normals, offsets = self.normals.astype(np.float32), self.offsets.astype(np.float32)
        face = (points @ normals.T - offsets).argmax(1)
        across, down = self._tangents
        uv = np.stack(((points * across[face]).sum(1), (points * down[face]).sum(1)), 1)
        return normals[face], uv

    @cached_property
    def _tangents(self) -> tuple[np.ndarray, np.ndarray]:
        return _tangents(self.normals)


def _tangents(normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For unit normals [F,3] two tangents [F,3] float32 each: a level one and, on walls, one that points down."""
    level = np.stack((normals[:, 2], np.zeros(len(normals)), -normals[:, 0]), 1)
    length = np.linalg.norm(level, axis=1, keepdims=True)
    level = np.where(length > 1e-6, level / np.maximum(length, 1e-6), (1.0, 0.0, 0.0))
    down = np.cross(level, normals)
    return level.astype(np.float32), np.where(down[:, 1:2] < 0, -down, down).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Ellipsoid:
    """An ellipsoid with axes along the local ones.

    Where `ragged` is above 0, its outline is frayed, as a tree's crown is: pieces that are seen at a grazing angle are
    left out, the more the larger it is (1 is the most).
    """

    centre: np.ndarray  # [3]
    radii: np.ndarray  # [3]
    ragged: float = 0.0

    @cached_property
    def corners(self) -> np.ndarray:
        signs = np.array(np.meshgrid((-1, 1), (-1, 1), (-1, 1))).reshape(3, -1).T
        return self.centre + signs * self.radii

    def inverse_depth(self, x: np.ndarray, y: np.ndarray, local_from_camera: np.ndarray) -> np.ndarray:
        # |o w + d| = w for the unit sphere, where o is the camera, d the ray and w the inverse depth
        directions = local_from_camera[:, :3] / self.radii[:, None]
        origin = (local_from_camera[:, 3] - self.centre) / self.radii
        outside = origin @ origin - 1
        if outside <= 0:  # the camera is inside
            return np.zeros_like(x)
        along = _affine(origin @ directions, x, y)
        square = np.zeros_like(x)
        for row in directions:
            component = _affine(row, x, y)
            square += component * component
        discriminant = along * along - np.float32(outside) * square
        met = (discriminant > 0) & (along < 0)
        root = np.sqrt(np.maximum(discriminant, 0))
        nearest = np.where(met, (root - along) / np.float32(outside), np.float32(0))
        if self.ragged and met.any():
            hit = np.flatnonzero(met)
            unit = directions.astype(np.float32) @ (x[hit], y[hit], np.ones(len(hit), np.float32)) / nearest[hit]
            unit += origin.astype(np.float32)[:, None]
            facing = root[hit] / np.sqrt(square[hit])
            bumps = noise(unit[0] + np.float32(3 * self.centre[0]), unit[1] + unit[2], 0.3) + 1
            nearest[hit[facing < np.float32(0.4 * self.ragged) * bumps]] = 0
        return nearest

    def surface(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        relative = points - self.centre.astype(np.float32)
        normals = relative / (self.radii**2).astype(np.float32)
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        across, down = _PLAN_AXES[np.abs(normals).argmax(1)].T
        every = np.arange(len(points))
        return normals, np.stack((relative[every, across], relative[every, down]), 1)


_PLAN_AXES = np.array(((2, 1), (0, 2), (0, 1)))  # a curved surface is seen along its normal's largest component


def ellipsoid(centre: ArrayLike, radii: ArrayLike, ragged: float = 0.0) -> Ellipsoid:
    return Ellipsoid(np.asarray(centre, float), np.asarray(radii, float), ragged)


def box(low: Sequence[float], high: Sequence[float]) -> Polytope:
    """The box between two corners; a side at infinity is left out."""
    bounds = np.array((low, high), float)
    normals = np.concatenate((-np.eye(3), np.eye(3)))
    offsets = np.concatenate((-bounds[0], bounds[1]))
    bounded = np.isfinite(offsets)
    x, y, z = bounds.T
    corners = np.array(np.meshgrid(x, y, z)).reshape(3, -1).T if bounded.all() else UNBOUNDED
    return Polytope(normals[bounded], offsets[bounded], corners)


def prism(profile: Sequence[tuple[float, float]], axis: int, low: float, high: float) -> Polytope:
    """A convex polygon, extended along an axis from low to high.

    profile: its corners in order, in the two other axes, in the order (x, y, z).
    """
    polygon = np.asarray(profile, float)
    edges = np.roll(polygon, -1, 0) - polygon
    sides = np.stack((edges[:, 1], -edges[:, 0]), 1) / np.linalg.norm(edges, axis=1, keepdims=True)
    sides *= np.sign(((polygon - polygon.mean(0)) * sides).sum(1, keepdims=True))
    others = [a for a in range(3) if a != axis]
    normals = np.zeros((len(polygon) + 2, 3))
    normals[:-2, others] = sides
    normals[-2:, axis] = -1, 1
    offsets = np.append((polygon * sides).sum(1), (-low, high))
    corners = np.zeros((2, len(polygon), 3))
    corners[..., others] = polygon
    corners[..., axis] = np.array((low, high))[:, None]
    return Polytope(normals, offsets, corners.reshape(-1, 3))


def disc(a: float, b: float, radius: float, axis: int, low: float, high: float, sides: int = 12) -> Polytope:
    """A prism over a regular polygon around (a, b)."""
    angles = (np.arange(sides) + 0.5) * 2 * np.pi / sides
    profile = [(a + radius * np.cos(angle), b + radius * np.sin(angle)) for angle in angles]
    return prism(profile, axis, low, high)
