"""Scores of a segmentation, against the published ones and by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from propagate.scoring.metrics import accuracy, class_iou, confusion, mean_iou
from segtrain.evaluation.metrics import class_precision, class_recall, frequency_weighted_iou, mean_class_accuracy

GOLDEN = Path(__file__).parents[2] / "golden"
PUBLISHED = json.loads((GOLDEN / "segmentation_misc.json").read_text())["metrics"]


@pytest.fixture(scope="module")
def matrix() -> np.ndarray:
    """The confusion of the published pair of label maps, [19,20]."""
    with np.load(GOLDEN / "segmentation_misc.npz") as arrays:
        truth, prediction = arrays["metric_gt"], arrays["metric_pred"]
        ours = confusion(np.where(truth < 0, 255, truth).astype(np.uint8), prediction, 19)
        np.testing.assert_array_equal(ours[:, :19], arrays["metric_hist"])
    return ours


def test_published_scores(matrix: np.ndarray) -> None:
    assert accuracy(matrix) == pytest.approx(PUBLISHED["acc"], abs=1e-12)
    assert mean_class_accuracy(matrix) == pytest.approx(PUBLISHED["acc_cls"], abs=1e-12)
    assert mean_iou(matrix) == pytest.approx(PUBLISHED["mean_iu"], abs=1e-12)
    assert frequency_weighted_iou(matrix) == pytest.approx(PUBLISHED["fwavacc"], abs=1e-12)
    np.testing.assert_allclose(class_iou(matrix), np.array(PUBLISHED["per_class_iu"], float), atol=1e-12)  # null: NaN


def test_precision_and_recall_are_not_swapped() -> None:
    """10 pixels of class 0: 6 found, 4 taken for class 1; 10 of class 1: all found.

    The published evaluation says precision 0.6 and recall 1 for class 0, since it takes what a row has beside its
    diagonal for false positives.
    """
    matrix = np.array([[6, 4, 0], [0, 10, 0]])
    np.testing.assert_allclose(class_recall(matrix), [0.6, 1])
    np.testing.assert_allclose(class_precision(matrix), [1, 10 / 14])


def test_a_pixel_without_predicted_class_is_a_miss_but_no_false_alarm() -> None:
    matrix = np.array([[6, 0, 4], [0, 10, 0]])
    np.testing.assert_allclose(class_recall(matrix), [0.6, 1])
    np.testing.assert_allclose(class_precision(matrix), [1, 1])


def test_classes_that_do_not_occur() -> None:
    """Class 1 is predicted but not there; class 2 neither."""
    matrix = np.array([[6, 2, 0, 2], [0, 0, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(class_recall(matrix), [0.6, np.nan, np.nan])
    np.testing.assert_allclose(class_precision(matrix), [1, 0, np.nan])
    assert mean_class_accuracy(matrix) == 0.6
    assert frequency_weighted_iou(matrix) == 0.6
    nothing = np.zeros((3, 4), np.int64)
    assert np.isnan([mean_class_accuracy(nothing), frequency_weighted_iou(nothing)]).all()


def test_frequencies_weigh() -> None:
    matrix = np.array([[90, 0, 0], [5, 5, 0]])
    assert frequency_weighted_iou(matrix) == pytest.approx(0.9 * 90 / 95 + 0.1 * 5 / 10)
