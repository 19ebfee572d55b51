"""Scores of a segmentation, against the published ones and by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from propagate.data.classes import load_classes
from propagate.scoring.metrics import accuracy, class_iou, confusion, mean_iou, trimap
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


@pytest.fixture(scope="module")
def bands() -> dict[str, np.ndarray]:
    """Four label maps and predictions, and what the published evaluation of NetWarp counts of them near boundaries."""
    with np.load(GOLDEN / "netwarp_trimap.npz") as arrays:
        return dict(arrays)


def counted(bands: dict[str, np.ndarray], near: np.ndarray) -> np.ndarray:
    """The confusion of label ids, as if each of 0…33 were a class: [34,35]. near: [4,H,W] bool."""
    ids = np.full(256, 255, np.uint8)
    ids[: len(bands["train_to_label_id"])] = bands["train_to_label_id"]
    return confusion(ids[bands["truth_train_ids"]][near], bands["prediction_label_ids"][near], 34)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_the_square_band_and_its_counts_are_the_published_ones(bands: dict[str, np.ndarray], width: int) -> None:
    published = 2 * width - 1
    near = np.stack([trimap(truth, width, "square") for truth in bands["truth_train_ids"]])
    expected = np.unpackbits(bands[f"band_{published}"], count=near.size).reshape(near.shape)
    assert np.array_equal(near, expected.astype(bool))
    matrix = counted(bands, near)
    hits = np.diagonal(matrix)
    counts = np.stack([hits, matrix[:, :34].sum(axis=0) - hits, matrix.sum(axis=1) - hits])
    assert np.array_equal(counts, bands[f"counts_{published}"])
    np.testing.assert_allclose(class_iou(matrix), bands[f"trimap_iou_{published}"], rtol=0, atol=1e-12)
    assert mean_iou(matrix) == pytest.approx(bands[f"trimap_miou_{published}"], abs=1e-12)


def test_the_published_mean_counts_ids_that_are_no_classes_and_ours_does_not(bands: dict[str, np.ndarray]) -> None:
    """Both leave out what neither truth nor prediction has. A network of ours cannot predict an id that is no class:
    such pixels are misses of their true class in both, but here they do not add a class of IoU 0 to the mean."""
    classes = load_classes("cityscapes")
    truth = bands["truth_train_ids"]
    near = np.stack([trimap(each, 2, "square") for each in truth])
    found = classes.train_id_of[bands["prediction_label_ids"]]
    ours = class_iou(confusion(truth[near], found[near], len(classes.train_names)))
    published = bands["trimap_iou_3"]
    np.testing.assert_allclose(ours, published[bands["train_to_label_id"]], rtol=0, atol=1e-12)
    others = np.delete(published, bands["train_to_label_id"])
    num_others, num_ours = (np.count_nonzero(~np.isnan(each)) for each in (others, ours))
    assert (num_others, np.nansum(others)) == (1, 0)
    assert bands["trimap_miou_3"] == pytest.approx(np.nansum(ours) / (num_ours + num_others), abs=1e-12)
