"""Calibration error and the area under the risk–coverage curve, against pixels that are counted one by one."""

import math

import numpy as np
import pytest

from propagate.scoring.calibration import LEVELS, expected_calibration_error, risk_coverage_area


def counts(**levels: tuple[int, int]) -> np.ndarray:
    """Of `l3=(wrong, right)` …."""
    found = np.zeros((16, 2), np.int64)
    for name, pair in levels.items():
        found[int(name[1:])] = pair
    return found


def test_what_is_right_as_often_as_it_says_has_no_error() -> None:
    assert expected_calibration_error(counts(l15=(0, 10), l12=(20, 80), l3=(40, 10))) == pytest.approx(0)


def test_an_error_is_weighted_by_its_pixels() -> None:
    assert expected_calibration_error(counts(l15=(1, 9), l0=(30, 0))) == pytest.approx(0.1 * 10 / 40)
    assert LEVELS[12] == 0.8


def test_without_pixels_there_is_no_error_to_tell() -> None:
    assert math.isnan(expected_calibration_error(counts()))
    assert math.isnan(risk_coverage_area(counts()))


@pytest.mark.parametrize("level", [0, 7, 15])
def test_one_level_has_the_share_of_wrong_pixels_as_its_area(level: int) -> None:
    assert risk_coverage_area(counts(**{f"l{level}": (3, 9)})) == pytest.approx(0.25)


def test_the_area_is_that_of_pixels_taken_one_by_one_in_the_mean_of_their_orders() -> None:
    found = counts(l15=(2_000, 98_000), l9=(30_000, 70_000), l2=(30_000, 10_000))
    random = np.random.default_rng(0)
    is_wrong = []
    for wrong, right in found[::-1].tolist():
        is_wrong.append(random.permutation(np.repeat([1, 0], [wrong, right])))
    one_by_one = np.concatenate(is_wrong)
    expected = (one_by_one.cumsum() / np.arange(1, len(one_by_one) + 1)).mean()
    assert risk_coverage_area(found) == pytest.approx(expected, rel=0.01)


def test_knowing_what_is_wrong_makes_the_area_smaller() -> None:
    knowing, not_knowing = counts(l15=(0, 90), l0=(10, 0)), counts(l15=(10, 90))
    assert risk_coverage_area(knowing) < 0.01 < risk_coverage_area(not_knowing)
