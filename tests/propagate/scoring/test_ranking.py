"""The score that samples are ranked by, from label map and confidence alone."""

import numpy as np
import pytest

from propagate.data.classes import load_classes
from propagate.scoring.ranking import rank_score, rank_score_of_counts

CAMVID = load_classes("camvid")
ROAD, CAR, VOID = 3, 8, 11


def scene(car_level: int = 15, road_level: int = 15) -> tuple[np.ndarray, np.ndarray]:
    """A road of 90 pixels with a car of 10."""
    label = np.full((10, 10), ROAD, np.uint8)
    label[:, 0] = CAR
    return label, np.where(label == CAR, car_level, road_level).astype(np.uint8)


def test_of_what_is_sure_the_score_is_one() -> None:
    assert rank_score(*scene(), CAMVID) == pytest.approx(1)


def test_pixels_count_four_fifths_and_classes_one() -> None:
    expected = 0.8 * (0.9 + 0.1 * 0.2) + 0.2 * (1 + 0.2) / 2
    assert rank_score(*scene(car_level=3), CAMVID) == pytest.approx(expected)


def test_a_small_class_in_doubt_is_worse_than_as_many_pixels_of_a_large_one() -> None:
    label, doubted_car = scene(car_level=3)
    doubted_road = np.full_like(label, 15)
    doubted_road[:, 5] = 3
    assert rank_score(label, doubted_car, CAMVID) < rank_score(label, doubted_road, CAMVID)


def test_what_no_class_is_trained_on_does_not_count() -> None:
    label, confidence = scene()
    label[:, 3:6], confidence[:, 3:6] = VOID, 0
    assert rank_score(label, confidence, CAMVID) == pytest.approx(1)
    assert rank_score(np.full((4, 4), VOID, np.uint8), np.zeros((4, 4), np.uint8), CAMVID) == 1


def test_counts_by_class_and_level_say_as_much() -> None:
    counts = np.zeros((11, 16), np.int64)
    counts[ROAD, 15], counts[CAR, 3] = 90, 10
    assert rank_score_of_counts(counts) == pytest.approx(rank_score(*scene(car_level=3), CAMVID))
