"""Runs and polygons are those of pycocotools, and outlines of label maps give them back."""

import numpy as np
import pytest
from pycocotools import mask as coco_masks

from propagate.data.runs import mask_of_runs, runs_of_mask, runs_of_text
from propagate.formats.areas import (
    Area,
    LabelledArea,
    drawn,
    encoded_runs,
    mask_of_polygons,
)
from propagate.formats.outlines import outlines


def random_mask(draw: np.random.Generator) -> np.ndarray:
    height, width = draw.integers(1, 40, 2)
    return draw.random((height, width)) < draw.choice([0, 0.05, 0.5, 0.95, 1])


@pytest.mark.parametrize("seed", range(20))
def test_runs_are_those_of_pycocotools(seed: int) -> None:
    mask = random_mask(np.random.default_rng(seed))
    text = encoded_runs(mask)
    expected = coco_masks.encode(np.asfortranarray(mask, np.uint8))
    assert text == expected["counts"].decode()
    assert np.array_equal(mask_of_runs(runs_of_text(text), mask.shape[1], mask.shape[0]).T, mask)
    assert np.array_equal(mask_of_runs(runs_of_mask(mask), *mask.shape), mask)
    assert len(runs_of_mask(mask)) <= mask.size + 1


def test_long_runs_and_differences_below_zero() -> None:
    mask = np.zeros((3000, 2000), bool)
    mask[5:9, 1000:] = mask[7, 3] = True
    assert np.array_equal(mask_of_runs(runs_of_text(encoded_runs(mask)), 2000, 3000).T, mask)


def test_of_an_empty_mask_there_is_one_run() -> None:
    assert runs_of_mask(np.zeros((2, 3), bool)) == [6]
    assert runs_of_mask(np.ones((2, 3), bool)) == [0, 6]


@pytest.mark.parametrize("seed", range(50))
def test_a_polygon_covers_what_pycocotools_says(seed: int) -> None:
    """Though only the columns that it reaches are looked at."""
    draw = np.random.default_rng(seed)
    height, width = (int(n) for n in draw.integers(10, 60, 2))
    polygons = [
        (draw.random((int(draw.integers(3, 9)), 2)) * (width, height)).round(int(draw.integers(0, 4))).ravel().tolist()
        for _ in range(int(draw.integers(1, 4)))
    ]
    found = np.zeros((height, width), bool)
    top, left, mask = mask_of_polygons(polygons, (height, width))
    found[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    rle = coco_masks.merge(coco_masks.frPyObjects(polygons, height, width))
    expected = mask_of_runs(runs_of_text(rle["counts"].decode()), width, height).T
    assert np.array_equal(found, expected)


def test_points_just_outside_are_moved_in_and_a_polygon_may_be_flat() -> None:
    top, left, mask = mask_of_polygons([[-1, -0.5, 9, -1, 9, 7, -1, 7]], (6, 8))
    assert (top, left, mask.shape, mask.all()) == (0, 0, (6, 8), True)
    assert mask_of_polygons([[2, 1, 5, 1, 3, 1]], (6, 8)).mask.sum() == 0


def test_later_shapes_lie_above_earlier_ones() -> None:
    area = Area(1, 1, np.ones((2, 2), bool))
    shapes = [LabelledArea(n, "", lambda _, n=n: area._replace(left=n)) for n in (1, 2)]
    assert drawn(shapes, (4, 5)).tolist() == [[-1] * 5, [-1, 1, 2, 2, -1], [-1, 1, 2, 2, -1], [-1] * 5]


def redrawn(label: np.ndarray, ignore_id: int = 255) -> np.ndarray:
    found, _ = outlines(label, ignore_id)
    canvas = np.full(label.shape, ignore_id, np.uint8)
    for label_id, points, _ in found:
        assert np.array_equal(points, points.astype(int))
        top, left, mask = mask_of_polygons([points.ravel().tolist()], label.shape)
        canvas[top : top + mask.shape[0], left : left + mask.shape[1]][mask] = label_id
    return canvas


def ious(label: np.ndarray, found: np.ndarray) -> list[float]:
    return [
        float(((label == i) & (found == i)).sum() / ((label == i) | (found == i)).sum())
        for i in np.unique(label).tolist()
    ]


def num_corners(label: np.ndarray) -> int:
    """Of all regions: where the four pixels around a point are not two and two in rows or columns."""
    padded = np.pad(label, 1, constant_values=254)
    a, b, c, d = padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    return int((~(((a == b) & (c == d)) | ((a == c) & (b == d)))).sum())


def blobs(seed: int, size: tuple[int, int]) -> np.ndarray:
    """Smooth regions of six ids, one of them ignored, with holes, and a pole of one pixel."""
    draw = np.random.default_rng(seed)
    rows, columns = np.indices(size) / max(size)
    label = np.zeros(size, np.uint8)
    for number in (1, 2, 255, 3, 4, 255):
        y, x = draw.random(2) * size / max(size)
        label[(rows - y) ** 2 + (columns - x) ** 2 < draw.uniform(0.01, 0.1)] = number
    label[:, size[1] // 2] = 5
    return label


@pytest.mark.parametrize("seed", range(8))
def test_outlines_give_every_label_back(seed: int) -> None:
    label = blobs(seed, (360, 480))
    found = redrawn(label)
    assert min(ious(label, found)) >= 0.99
    polygons, overlap = outlines(label, 255)
    present = np.unique(label)
    assert (overlap.both[present] / overlap.either[present]).tolist() == ious(label, found)
    assert 2 * sum(len(each.points) for each in polygons) < num_corners(label)


@pytest.mark.parametrize("seed", range(8))
def test_outlines_with_all_their_points_are_exact(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("propagate.formats.outlines._TOLERANCES", (0.0,))
    label = np.random.default_rng(seed).choice(np.array([0, 1, 7, 255], np.uint8), (31, 40), p=[0.7, 0.1, 0.1, 0.1])
    assert np.array_equal(redrawn(label), label)


def test_ignored_pixels_have_polygons_only_within_others() -> None:
    label = np.full((20, 20), 255, np.uint8)
    label[2:12, 2:12] = 3
    label[5:7, 5:7] = 255
    polygons, _ = outlines(label, 255)
    assert [(each.label_id, sorted(map(tuple, each.points.tolist()))) for each in polygons] == [
        (3, [(2, 2), (2, 12), (12, 2), (12, 12)]),
        (255, [(5, 5), (5, 7), (7, 5), (7, 7)]),
    ]
    assert np.array_equal(redrawn(label), label)
