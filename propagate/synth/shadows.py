"""Shadows on the ground: the outline of every solid, along the sun's rays and straight down, on a plan."""

from dataclasses import dataclass

import cv2
import numpy as np

from propagate.synth.patterns import lookup
from propagate.synth.scene import Scene
from propagate.synth.view import Snapshot

_LOW = np.array((-30.0, -6.0))  # the plan's corners, world x and z in metres
_HIGH = np.array((30.0, 114.0))
_SCALE = 6.0  # pixels per metre


@dataclass(frozen=True)
class Shade:
    """How much of the sun's and of the sky's light is kept off the ground: two plans [Z,X] uint8."""

    sun: np.ndarray
    sky: np.ndarray

    def at(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The hidden shares [N] in [0,1] of the sun and of the sky at world points [N,3]."""
        x, z = ((points[:, axis] - np.float32(_LOW[i])) * np.float32(_SCALE) for i, axis in enumerate((0, 2)))
        x, z = np.clip(x, -2, self.sun.shape[1] + 1), np.clip(z, -2, self.sun.shape[0] + 1)
        sun, sky = (lookup(plan, x, z, cv2.BORDER_CONSTANT) for plan in (self.sun, self.sky))
        return sun.astype(np.float32) / 255, sky.astype(np.float32) / 255


class ShadowPlan:
    """Draws the shade of a scene's frames; what stands still is drawn once."""

    def __init__(self, scene: Scene, first: Snapshot) -> None:
        self._scene = scene
        width, depth = np.round((_HIGH - _LOW) * _SCALE).astype(int)
        empty = np.zeros((depth, width), np.uint8)
        self._still = self._draw(Shade(empty, empty), first, moving=False)

    def shade(self, view: Snapshot) -> Shade:
        drawn = self._draw(self._still, view, moving=True)
        return Shade(cv2.blur(drawn.sun, (3, 3)), cv2.blur(drawn.sky, (5, 5)))

    def _draw(self, ground: Shade, view: Snapshot, *, moving: bool) -> Shade:
        drawn = Shade(ground.sun.copy(), ground.sky.copy())
        x, y, z = self._scene.light.towards_sun
        for solid, pose in zip(self._scene.solids, view.world_from_local, strict=True):
            if solid.moves != moving or solid.is_ground or not len(solid.shape.corners):
                continue
            corners = solid.shape.corners @ pose[:3, :3].T + pose[:3, 3]
            along_sun = corners[:, [0, 2]] - np.outer(corners[:, 1], (x / y, z / y))
            for plan, outline, strength in ((drawn.sun, along_sun, 255), (drawn.sky, corners[:, [0, 2]], 110)):
                if (outline.max(0) < _LOW).any() or (outline.min(0) > _HIGH).any():
                    continue
                points = np.round((outline - _LOW) * _SCALE).clip(-10000, 10000).astype(np.int32)
                cv2.fillConvexPoly(plan, cv2.convexHull(points), strength)
        return drawn
