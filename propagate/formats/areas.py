"""Areas of an image: polygons to masks, masks to the text of runs, and what shapes upon each other leave.

Coordinates count from the outer corner of the first pixel, so that a pixel at row y and column x is the square from
(x, y) to (x + 1, y + 1). What a polygon covers is what pycocotools says, the tools that COCO is published with.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from pycocotools import mask as coco_masks

from propagate.data.runs import mask_of_runs, runs_of_text
from propagate.formats.annotations import NOBODY

MOST_SHAPES = 100_000  # in one image
_MOST_OUTLINE = 1 << 21  # pixels of length: pycocotools takes some hundred bytes for each
_OUTSIDE = 1.0  # pixels by which tools let points leave the image


class Area(NamedTuple):
    """Pixels of an image: a bool mask [h,w], and where its top and left are."""

    top: int
    left: int
    mask: np.ndarray


class LabelledArea(NamedTuple):
    """An area of a class. class_index: the class's place among the declared ones. place: where it is annotated.

    area: from the image's (H, W). Raises: ValueError.
    """

    class_index: int
    place: str
    area: Callable[[tuple[int, int]], Area]


def drawn(shapes: Iterable[LabelledArea], size: tuple[int, int]) -> np.ndarray:
    """[H,W] int16: the class of each pixel, the last of the shapes that hold it, or NOBODY. Raises: ValueError."""
    canvas = np.full(size, NOBODY, np.int16)
    for shape in shapes:
        try:
            top, left, mask = shape.area(size)
        except ValueError as error:
            raise ValueError(f"{shape.place}: {error}") from None
        canvas[top : top + mask.shape[0], left : left + mask.shape[1]][mask] = shape.class_index
    return canvas


def encoded_runs(mask: np.ndarray) -> str:
    """The COCO text of a bool mask, column by column."""
    return coco_masks.encode(np.asfortranarray(mask, np.uint8))["counts"].decode("ascii")


def mask_of_polygons(polygons: Sequence[Sequence[float]], size: tuple[int, int]) -> Area:
    """The pixels within any of the polygons, x and y by turns, of an image of that (H, W).

    Raises: ValueError: a polygon of fewer than 3 points, one that leaves the image by more than a pixel, or has an
    outline too long.
    """
    points = [_points(polygon, size) for polygon in polygons]
    height, width = size
    united = coco_masks.merge(coco_masks.frPyObjects([each.ravel().tolist() for each in points], height, width))
    runs = runs_of_text(united["counts"].decode("ascii"))
    after = runs[-1] if len(runs) % 2 else 0
    left, right = runs[0] // height, width - after // height  # the columns that hold some of it
    if left >= right:
        return Area(0, 0, np.zeros((0, 0), bool))
    runs[0] -= left * height
    if len(runs) % 2:
        runs[-1] -= (width - right) * height
    return Area(0, left, mask_of_runs(runs, right - left, height).T)


def _points(polygon: Sequence[float], size: tuple[int, int]) -> np.ndarray:
    """[N,2] float64 x, y, moved into the image where they are just outside. Raises: ValueError."""
    height, width = size
    points = np.array(polygon, np.float64)
    if points.ndim != 1 or points.size < 6 or points.size % 2:
        raise ValueError(f"a polygon of {points.size} coordinates, expected 3 points or more; draw it again")
    points = points.reshape(-1, 2)
    inside = ((points >= -_OUTSIDE) & (points <= (width + _OUTSIDE, height + _OUTSIDE))).all(axis=1)
    if not inside.all():  # also where one is no number
        x, y = points[~inside][0].tolist()
        raise ValueError(
            f"a polygon with the point {x:g}, {y:g}, outside of an image of {height}x{width}; draw it again"
        )
    points = points.clip(0, (width, height))
    outline = np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum()
    if outline > _MOST_OUTLINE:
        raise ValueError(f"a polygon with an outline of {outline:.0f} pixels, expected at most {_MOST_OUTLINE}")
    return points
