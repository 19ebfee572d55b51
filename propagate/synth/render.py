"""From a scene to its frames and their exact truth.

Labels, flow and occlusion belong to the ray through a pixel's centre. So does the colour of a pixel inside a surface,
whose material is smooth at the scale of pixels; where surfaces meet, it is the average over four rays. An image is
rendered in bands of rows, so that memory grows no further than the image itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from propagate.synth.materials import Points
from propagate.synth.patterns import noise
from propagate.synth.scene import Light, Scene, instances, label_ids
from propagate.synth.shadows import Shade, ShadowPlan
from propagate.synth.view import SKY, Hits, Pinhole, Snapshot, by_solid

_RAYS_PER_BAND = 1 << 18
_ROTATED_GRID = np.array(((-0.125, -0.375), (0.375, -0.125), (-0.375, 0.125), (0.125, 0.375)))  # (x, y) in pixels


@dataclass(frozen=True)
class Rendered:
    """A frame and what is exactly known of it; the mappings are keyed by the offset of the other frame, -1 or +1."""

    image: np.ndarray  # [H,W,3] float32 RGB, about 0 to 1: what the lens lets in
    labels: np.ndarray  # [H,W] uint8 label ids
    flow_to: Mapping[int, np.ndarray]  # [2,H,W] float32 pixels, on this frame's grid, NaN where undefined
    occluded_in: Mapping[int, np.ndarray]  # [H,W] bool: hidden there, or out of the frame


class Renderer:
    """Renders the frames of one scene at one size."""

    def __init__(self, scene: Scene, size: tuple[int, int], lens: int | None = None) -> None:
        """lens: the width of the frame by whose lens a wider one is seen."""
        self._scene, self._grid = scene, Pinhole(*size, lens)
        self._views: dict[int, Snapshot] = {}
        self._shadows = ShadowPlan(scene, self._view(0))
        sky = label_ids()["sky"]
        self._label_of = np.array([*(solid.label for solid in scene.solids), sky], np.uint8)  # SKY is the last
        self._instance_of = np.array([*instances(scene.solids), 0], np.uint16)

    def render(self, number: int) -> Rendered:
        """The frame of that number, and its truth towards the frames before and after that the scene has."""
        height, width = self._grid.height, self._grid.width
        view, others = self._view(number), [o for o in (-1, 1) if 0 <= number + o < self._scene.num_frames]
        shade = self._shadows.shade(view)
        rendered = Rendered(
            np.empty((height, width, 3), np.float32),
            np.empty((height, width), np.uint8),
            {offset: np.empty((2, height, width), np.float32) for offset in others},
            {offset: np.empty((height, width), bool) for offset in others},
        )
        step = max(1, _RAYS_PER_BAND // width)
        for band in (slice(top, min(top + step, height)) for top in range(0, height, step)):
            rows, columns = (part.ravel() for part in np.mgrid[band, :width])
            rays = self._grid.rays(columns, rows)
            hits = view.cast(*rays)
            rendered.labels[band] = self._label_of[hits.solid].reshape(-1, width)
            rendered.image[band] = self._colors(view, columns, rows, hits, shade).reshape(-1, width, 3)
            for offset in others:
                flow, seen = self._motion(view, self._view(number + offset), columns, rows, hits)
                rendered.flow_to[offset][:, band] = flow.reshape(2, -1, width)
                rendered.occluded_in[offset][band] = ~seen.reshape(-1, width)
        return rendered

    def instances(self, number: int) -> np.ndarray:
        """[H,W] uint16: which thing of the scene is seen at each pixel of the frame of that number, the sky being one.

        A thing's parts of one label share a number, the same in every frame.
        """
        height, width = self._grid.height, self._grid.width
        rows, columns = (part.ravel() for part in np.mgrid[:height, :width])
        hits = self._view(number).cast(*self._grid.rays(columns, rows))
        return self._instance_of[hits.solid].reshape(height, width)

    def _motion(
        self, view: Snapshot, other: Snapshot, columns: np.ndarray, rows: np.ndarray, hits: Hits
    ) -> tuple[np.ndarray, np.ndarray]:
        """How far what is hit at these pixels moves until the other view [2,N], and whether it is seen there [N]."""
        x, y, inverse_depth = view.follow(other, *self._grid.rays(columns, rows), hits)
        column, row = self._grid.pixels(x, y)
        inside = (column >= -0.5) & (column < self._grid.width - 0.5)
        inside &= (row >= -0.5) & (row < self._grid.height - 0.5)
        seen = inside & other.sees(x, y, Hits(hits.solid, inverse_depth))
        return np.stack((column - columns, row - rows)), seen

    def _colors(self, view: Snapshot, columns: np.ndarray, rows: np.ndarray, hits: Hits, shade: Shade) -> np.ndarray:
        """The light [N,3] that falls on whole rows of pixels."""
        light = _shade(view, *self._grid.rays(columns, rows), hits, shade, self._grid.focal)
        edges = np.flatnonzero(_edges(hits.solid.reshape(-1, self._grid.width)))
        if len(edges):
            finer = np.array([(columns[edges] + dx, rows[edges] + dy) for dx, dy in _ROTATED_GRID])
            order = np.argsort(finer[:, 1].ravel(), kind="stable")
            rays = self._grid.rays(finer[:, 0].ravel()[order], finer[:, 1].ravel()[order])
            parts = np.empty((len(order), 3), np.float32)
            parts[order] = _shade(view, *rays, view.cast(*rays), shade, self._grid.focal)
            light[edges] = parts.reshape(len(_ROTATED_GRID), -1, 3).mean(0)
        return light

    def _view(self, number: int) -> Snapshot:
        if number not in self._views:
            self._views = {n: view for n, view in self._views.items() if abs(n - number) <= 2}
            self._views[number] = Snapshot(self._scene, number)
        return self._views[number]


def _edges(owner: np.ndarray) -> np.ndarray:
    """Which pixels of [H,W] have a neighbour, above, below or beside, of another owner."""
    edges = np.zeros(owner.shape, bool)
    beside, below = owner[:, 1:] != owner[:, :-1], owner[1:] != owner[:-1]
    edges[:, 1:] |= beside
    edges[:, :-1] |= beside
    edges[1:] |= below
    edges[:-1] |= below
    return edges


def _shade(view: Snapshot, x: np.ndarray, y: np.ndarray, hits: Hits, shade: Shade, focal: float) -> np.ndarray:
    """The light [N,3] that comes back along the rays x, y [N]."""
    order, runs = by_solid(hits.solid)
    rays = np.stack((x[order], y[order], np.ones_like(x)), 1)
    with np.errstate(divide="ignore"):
        depth = 1 / hits.inverse_depth[order]
    ordered = np.empty((len(x), 3), np.float32)
    for number, run in runs:
        if number == SKY:
            ordered[run] = _sky(view.scene.light, rays[run] @ view.camera[:3, :3].T.astype(np.float32))
        else:
            ordered[run] = _lit(view, number, rays[run], depth[run], shade, focal)
    colors = np.empty_like(ordered)
    colors[order] = ordered
    return colors


def _lit(view: Snapshot, number: int, rays: np.ndarray, depth: np.ndarray, shade: Shade, focal: float) -> np.ndarray:
    """The light [N,3] that comes from one solid, along rays [N,3] at depths [N]."""
    solid, light = view.scene.solids[number], view.scene.light
    local_from_camera = view.local_from_camera[number].astype(np.float32)
    directions = rays @ local_from_camera[:, :3].T
    local = directions * depth[:, None] + local_from_camera[:, 3]
    normals, uv = solid.shape.surface(local)
    facing = np.abs((normals * directions).sum(1)) / np.linalg.norm(rays, axis=1)
    footprint = depth * np.float32(0.8 / focal) / np.sqrt(np.maximum(facing, 0.02))
    albedo = solid.material(Points(local, normals, uv, footprint))
    pose = view.world_from_local[number].astype(np.float32)
    upward = normals @ -pose[1, :3]
    sun = np.maximum(normals @ (light.towards_sun.astype(np.float32) @ pose[:3, :3]), 0) * np.float32(light.sun)
    ambient = np.float32(light.ambient) * (np.float32(0.78) + np.float32(0.22) * upward)
    if solid.is_ground:
        hidden_sun, hidden_sky = shade.at(local @ pose[:3, :3].T + pose[:3, 3])
        sun, ambient = sun * (1 - hidden_sun), ambient * (1 - hidden_sky)
    haze = (1 - np.exp(-depth / np.float32(light.haze_distance)))[:, None]
    lit = albedo * (sun + ambient)[:, None]
    return lit + (np.asarray(light.haze, np.float32) - lit) * haze


def _sky(light: Light, directions: np.ndarray) -> np.ndarray:
    """The sky's light [N,3] from directions [N,3]: hazy below, clouds above."""
    up = np.maximum(-directions[:, 1] / np.linalg.norm(directions, axis=1), 0)
    across = directions[:, [0, 2]] / (up[:, None] + np.float32(0.15))
    clouds = np.zeros_like(up)
    for wavelength in (2.0, 0.8, 0.3):
        clouds += noise(across[:, 0], across[:, 1], wavelength) * np.float32(wavelength / 4)
    height = np.minimum(up * 3, 1)[:, None]
    color = np.asarray(light.haze, np.float32) * (1 - height) + np.asarray(light.zenith, np.float32) * height
    return color + (1 - color) * np.clip(np.float32(light.clouds) * (clouds + 1), 0, 0.9)[:, None]
