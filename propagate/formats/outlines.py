"""The polygons of a label map, along the edges of its pixels, and how well they give it back."""

from collections.abc import Iterable
from typing import NamedTuple

import cv2
import numpy as np

from propagate.formats.areas import mask_of_polygons

LEAST_IOU = 0.99
_TOLERANCES = (1.0, 0.75, 0.5, 0.0)  # pixels by which points may be left out; by none, all is exact


class Outline(NamedTuple):
    """A region of one label id. points: [N,2] int32 x, y, corners of pixels. pixel: the row and column of one of it."""

    label_id: int
    points: np.ndarray
    pixel: tuple[int, int]


class Overlap(NamedTuple):
    """Pixels by label id: in the label map and in what its polygons give, and in either."""

    both: np.ndarray
    either: np.ndarray


def outlines(label: np.ndarray, ignore_id: int) -> tuple[list[Outline], Overlap]:
    """The polygons of all regions of a label map, [H,W] uint8, with few points, yet enough to give every label id
    with an IoU of LEAST_IOU or more.

    A polygon has no holes: what lies within another one comes after it, and is drawn over it. Ignored pixels have
    polygons there alone; elsewhere they are what no polygon covers.
    """
    exact = _exact_outlines(label)
    covered = _filled([each for each in exact if each.label_id != ignore_id], label.shape, ignore_id)
    exact = [each for each in exact if each.label_id != ignore_id or covered[each.pixel] != ignore_id]
    is_there = np.bincount(label.ravel(), minlength=256) > 0
    levels = np.zeros(256, np.int64)
    while True:
        found = [_simplified(each, _TOLERANCES[levels[each.label_id]]) for each in exact]
        overlap = _overlap(label, _filled(found, label.shape, ignore_id))
        is_poor = is_there & (overlap.both < LEAST_IOU * overlap.either)  # gaps are ignored pixels, which may be new
        is_exact = levels == len(_TOLERANCES) - 1
        if is_exact.all() or not is_poor.any():
            return found, overlap
        if not (is_poor & ~is_exact).any():
            is_poor[:] = True  # it is their neighbours that lie over them
        levels += is_poor & ~is_exact


def _exact_outlines(label: np.ndarray) -> list[Outline]:
    """Larger ones first, so that what lies within one comes after it.

    A region is what is connected by the edges of its pixels: two regions then lie within one another or apart. Each
    pixel becomes four, whose outer boundary is followed; half of their coordinates, rounded up, are corners of pixels.
    """
    found = []
    for label_id in np.unique(label).tolist():
        _, regions, boxes, _ = cv2.connectedComponentsWithStats((label == label_id).astype(np.uint8), connectivity=4)
        for number, (left, top, width, height, _) in enumerate(boxes.tolist()[1:], start=1):
            mask = (regions[top : top + height, left : left + width] == number).astype(np.uint8)
            (contour,), _ = cv2.findContours(
                mask.repeat(2, axis=0).repeat(2, axis=1), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
            )
            x, y = (contour[0, 0] // 2).tolist()
            corner = np.array([left, top], np.int32)
            found.append(Outline(label_id, (contour[:, 0] + 1) // 2 + corner, (top + y, left + x)))
    return sorted(found, key=lambda each: -cv2.contourArea(each.points))


def _simplified(outline: Outline, tolerance: float) -> Outline:
    points = cv2.approxPolyDP(outline.points, tolerance, True)[:, 0]
    if len(points) < 3:
        points = cv2.approxPolyDP(outline.points, 0, True)[:, 0]
    return outline._replace(points=points)


def _filled(found: Iterable[Outline], size: tuple[int, ...], ignore_id: int) -> np.ndarray:
    """[H,W] uint8 label ids."""
    height, width = size
    canvas = np.full((height, width), ignore_id, np.uint8)
    for label_id, points, _ in found:
        top, left, mask = mask_of_polygons([points.ravel().tolist()], (height, width))
        canvas[top : top + mask.shape[0], left : left + mask.shape[1]][mask] = label_id
    return canvas


def _overlap(label: np.ndarray, given: np.ndarray) -> Overlap:
    of_label = np.bincount(label.ravel(), minlength=256)
    of_given = np.bincount(given.ravel(), minlength=256)
    both = np.bincount(label[label == given], minlength=256)
    return Overlap(both, of_label + of_given - both)
