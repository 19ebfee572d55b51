"""One frame's view of a scene: which solid each ray meets, and where its points are in a neighbouring frame.

A pixel is handled as the point (x, y) where its ray meets the plane one metre ahead of the camera, depth as its inverse
(see `shapes`): a point of the scene is (x, y, 1) / inverse depth, and the sky's inverse depth is 0.
"""

from dataclasses import dataclass

import numpy as np

from propagate.synth.scene import Camera, Scene, invert

SKY = -1
_NEAREST = np.float32(1 / 0.4)  # inverse metres: nothing is closer to the camera


@dataclass(frozen=True)
class Pinhole:
    """The pixel grid of a frame, or of a wider one by the lens of a frame of `lens` pixels' width."""

    height: int
    width: int
    lens: int | None = None

    @property
    def focal(self) -> float:
        return Camera.focal * (self.lens or self.width)

    @property
    def centre(self) -> tuple[float, float]:
        return (self.width - 1) / 2, Camera.horizon * self.height

    def rays(self, columns: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixel coordinates to rays: x, y float32."""
        cx, cy = self.centre
        return ((columns - cx) / self.focal).astype(np.float32), ((rows - cy) / self.focal).astype(np.float32)

    def pixels(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rays to pixel coordinates: columns, rows."""
        cx, cy = self.centre
        return x * np.float32(self.focal) + np.float32(cx), y * np.float32(self.focal) + np.float32(cy)


@dataclass(frozen=True)
class Hits:
    """What N rays meet."""

    solid: np.ndarray  # [N] int16, index of the solid; SKY where there is none
    inverse_depth: np.ndarray  # [N] float32, per metre


class Snapshot:
    """A scene at one frame."""

    def __init__(self, scene: Scene, frame: int) -> None:
        self.scene, self.frame = scene, frame
        self.camera = scene.camera(frame)
        self.world_from_local = np.stack([solid.pose(frame) for solid in scene.solids])
        turn = self.world_from_local[:, :3, :3].transpose(0, 2, 1)
        move = -turn @ self.world_from_local[:, :3, 3:]
        local_from_world = np.concatenate((turn, move), 2)
        self.local_from_camera = local_from_world @ self.camera  # [S,3,4]
        self.camera_from_local = invert(self.camera) @ self.world_from_local  # [S,4,4]
        reach = [
            _reach(solid.shape.corners, transform)
            for solid, transform in zip(scene.solids, self.camera_from_local, strict=True)
        ]
        self._low, self._high, self._nearest = (np.array(part, np.float32) for part in zip(*reach, strict=True))
        self._near_to_far = np.argsort(-self._nearest, kind="stable")

    def cast(self, x: np.ndarray, y: np.ndarray) -> Hits:
        """What the rays x, y [N] float32 meet first; y must ascend."""
        owner, inverse_depth = np.full(len(x), SKY, np.int16), np.zeros(len(x), np.float32)
        starts, ends = np.searchsorted(y, self._low[:, 1], "left"), np.searchsorted(y, self._high[:, 1], "right")
        for number in self._near_to_far[(starts < ends)[self._near_to_far]]:
            rows = slice(starts[number], ends[number])
            among = inverse_depth[rows] < self._nearest[number]  # the others are hidden by what is nearer
            among &= x[rows] >= self._low[number, 0]
            among &= x[rows] <= self._high[number, 0]
            rays = np.flatnonzero(among) + rows.start
            if not len(rays):
                continue
            shape = self.scene.solids[number].shape
            found = shape.inverse_depth(x[rays], y[rays], self.local_from_camera[number])
            nearer = (found > inverse_depth[rays]) & (found < _NEAREST)
            rays = rays[nearer]
            inverse_depth[rays] = found[nearer]
            owner[rays] = number
        return Hits(owner, inverse_depth)

    def follow(
        self, other: "Snapshot", x: np.ndarray, y: np.ndarray, hits: Hits
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where the points that these rays met are in another view: x, y, inverse depth there [N] float32.

        Each point moves with its solid. All three are NaN for a point behind the other camera.
        """
        order, runs = by_solid(hits.solid)
        rays = np.stack((x, y, np.ones_like(x), hits.inverse_depth))[:, order]
        points = np.empty((3, len(x)), np.float32)
        for number, run in runs:
            if number == SKY:
                transform = invert(other.camera) @ self.camera
            else:
                transform = other.camera_from_local[number] @ _square(self.local_from_camera[number])
            points[:, run] = transform[:3].astype(np.float32) @ rays[:, run]
        ahead = np.where(points[2] > 0, points[2], np.float32(np.nan))
        points[2] = rays[3]
        there = np.empty_like(points)
        there[:, order] = points / ahead
        return there[0], there[1], there[2]

    def sees(self, x: np.ndarray, y: np.ndarray, hits: Hits) -> np.ndarray:
        """Whether the points that the rays x, y meet here are these ones: bool [N], NaN rays see nothing.

        hits: the solids that should be met, and the inverse depths they should be met at.
        """
        order = np.argsort(y, kind="stable")  # NaN last
        found = self.cast(x[order], y[order])
        same = found.solid == hits.solid[order]
        same &= np.abs(found.inverse_depth - hits.inverse_depth[order]) <= 1e-3 * hits.inverse_depth[order]
        seen = np.empty(len(x), bool)
        seen[order] = same
        return seen & np.isfinite(x)


def by_solid(solid: np.ndarray) -> tuple[np.ndarray, list[tuple[int, slice]]]:
    """An order [N] in which equal values of solid [N] int16 follow one another; each value, and its run therein."""
    order = np.argsort(solid, kind="stable")
    ordered = solid[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=SKY - 1))
    ends = np.append(starts[1:], len(solid))
    return order, [(int(ordered[a]), slice(int(a), int(b))) for a, b in zip(starts, ends, strict=True)]


def _square(transform: np.ndarray) -> np.ndarray:
    """[3,4] -> [4,4]."""
    return np.concatenate((transform, ((0.0, 0.0, 0.0, 1.0),)))


def _reach(corners: np.ndarray, camera_from_local: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Where the hull of the corners may be met: the lowest and highest ray (x, y), the largest inverse depth."""
    everywhere = np.full(2, -np.inf), np.full(2, np.inf), np.inf
    if not len(corners):
        return everywhere
    points = corners @ camera_from_local[:3, :3].T + camera_from_local[:3, 3]
    depth = points[:, 2:]
    if depth.max() * _NEAREST < 1:
        return np.full(2, np.inf), np.full(2, -np.inf), 0.0
    if depth.min() * _NEAREST < 1:
        return everywhere
    rays = points[:, :2] / depth
    return rays.min(0) - 1e-5, rays.max(0) + 1e-5, 1.001 / depth.min()
