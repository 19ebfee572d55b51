"""What a scene is: solids that move, a camera that drives through them, and the light.

World axes: x to the right of the street, y down, z along the street; metres. Time is counted in frames, about 17 a
second.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from propagate.data.classes import load_classes
from propagate.synth.materials import Color, Material
from propagate.synth.shapes import Shape

Pose = Callable[[float], np.ndarray]  # the frame's number -> [4,4] float64: world coordinates from local ones


@cache
def label_ids() -> Mapping[str, int]:
    """The label id of each Cityscapes class, by name."""
    return {c.name: c.id for c in load_classes("cityscapes").classes}


def rotation(pitch: float = 0.0, yaw: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """[3,3] rotation about z by roll, then x by pitch, then y by yaw (radians)."""
    (cp, cy, cr), (sp, sy, sr) = np.cos((pitch, yaw, roll)), np.sin((pitch, yaw, roll))
    about_x = np.array(((1, 0, 0), (0, cp, -sp), (0, sp, cp)))
    about_y = np.array(((cy, 0, sy), (0, 1, 0), (-sy, 0, cy)))
    about_z = np.array(((cr, -sr, 0), (sr, cr, 0), (0, 0, 1)))
    return about_y @ about_x @ about_z


def rigid(turn: np.ndarray, position: np.ndarray) -> np.ndarray:
    """[4,4] transform that turns, then moves."""
    transform = np.eye(4)
    transform[:3, :3], transform[:3, 3] = turn, position
    return transform


def invert(transform: np.ndarray) -> np.ndarray:
    """The inverse of a rigid transform [4,4]."""
    turn = transform[:3, :3].T
    return rigid(turn, -turn @ transform[:3, 3])


@dataclass(frozen=True)
class Drive:
    """Uniform motion over the ground, along the heading (0: along z; positive: towards x)."""

    x: float
    z: float
    heading: float = 0.0
    speed: float = 0.0  # metres per frame
    height: float = 0.0  # of the ground there

    def __call__(self, frame: float) -> np.ndarray:
        return self._start if self.speed == 0 else self._pose(self.speed * frame)

    @cached_property
    def _start(self) -> np.ndarray:
        return self._pose(0.0)

    def _pose(self, way: float) -> np.ndarray:
        position = (self.x + way * np.sin(self.heading), -self.height, self.z + way * np.cos(self.heading))
        return rigid(rotation(yaw=self.heading), np.array(position))


@dataclass(frozen=True)
class Swing:
    """A limb of a moving body: swings to and fro about a level axis through a pivot, once in `period` frames."""

    body: Pose
    pivot: tuple[float, float, float]
    amplitude: float  # radians
    period: float
    phase: float

    def __call__(self, frame: float) -> np.ndarray:
        angle = self.amplitude * np.sin(2 * np.pi * (frame / self.period + self.phase))
        pivot = np.array(self.pivot)
        turn = rotation(pitch=angle)
        return self.body(frame) @ rigid(turn, pivot - turn @ pivot)


@dataclass(frozen=True, eq=False)
class Solid:
    """One rigid part of something, with one label."""

    shape: Shape
    label: int
    material: Material
    pose: Pose
    moves: bool = False
    is_ground: bool = False  # shadows fall on it


@dataclass(frozen=True)
class Camera:
    """A camera that drives, sways, pitches and turns; a pinhole with a focal length of 1.1 image widths."""

    poses: Mapping[int, np.ndarray]  # frame -> [4,4] world from camera

    focal = 1.1  # image widths
    horizon = 0.42  # image heights from the top

    def __call__(self, frame: float) -> np.ndarray:
        return self.poses[int(frame)]


@dataclass(frozen=True)
class Light:
    """Sun and sky; `towards_sun` is a unit vector [3] in world axes."""

    towards_sun: np.ndarray
    sun: float
    ambient: float
    haze: Color
    zenith: Color
    clouds: float
    haze_distance: float  # metres


@dataclass(frozen=True)
class Scene:
    solids: tuple[Solid, ...]
    camera: Camera
    light: Light
    num_frames: int


def instances(solids: Iterable[Solid]) -> list[int]:
    """Of which thing each solid is a part, from 1 on: what one body carries under one label, or what nothing carries.

    A street's ground, houses and hedges stand where they are; each solid of theirs is a thing of its own.
    """
    numbers: dict[tuple[int, int], int] = {}
    found = []
    for place, solid in enumerate(solids):
        body = solid.pose.body if isinstance(solid.pose, Swing) else solid.pose
        is_fixed = body == Drive(0, 0)
        found.append(numbers.setdefault((place, -1) if is_fixed else (id(body), solid.label), len(numbers) + 1))
    return found
