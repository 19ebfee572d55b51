import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from propagate.scoring.metrics import MatrixScores, accuracy, class_iou, confusion, coverage, covered, mean_iou, trimap


def by_hand(truth: np.ndarray, prediction: np.ndarray, num_classes: int) -> np.ndarray:
    matrix = np.zeros((num_classes, num_classes + 1), np.int64)
    for t, p in zip(truth.ravel().tolist(), prediction.ravel().tolist(), strict=True):
        if t != 255:
            matrix[t, num_classes if p == 255 else p] += 1
    return matrix


@given(seed=st.integers(0, 999), num_classes=st.sampled_from([1, 2, 19, 254, 255]))
@settings(max_examples=25, deadline=None)
def test_confusion_equals_a_count_by_hand(seed: int, num_classes: int) -> None:
    random = np.random.default_rng(seed)
    values = np.array([*range(num_classes), 255], np.uint8)
    truth, prediction = random.choice(values, (2, 9, 14))
    matrix = confusion(truth, prediction, num_classes)
    assert matrix.dtype == np.int64
    assert np.array_equal(matrix, by_hand(truth, prediction, num_classes))


@pytest.mark.parametrize(
    ("truth", "prediction", "message"),
    [
        ([2], [0], r"the truth holds \[2\]; train ids are 0…1, and 255"),
        ([0], [7], r"the prediction holds \[7\]"),
        ([255], [254], r"the prediction holds \[254\]"),
        ([0, 0], [0], r"truth \(2,\) and prediction \(1,\) differ in shape"),
    ],
)
def test_confusion_refuses_foreign_ids(truth: list[int], prediction: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        confusion(np.array(truth, np.uint8), np.array(prediction, np.uint8), 2)


def test_confusion_refuses_other_types_and_class_counts() -> None:
    ids = np.zeros(3, np.uint8)
    with pytest.raises(ValueError, match="must be uint8, found truth uint8, prediction int64"):
        confusion(ids, ids.astype(np.int64), 2)
    with pytest.raises(ValueError, match="num_classes must be within 1…255, found 0"):
        confusion(ids, ids, 0)


def test_the_scores_of_a_small_matrix() -> None:
    # class 0: 6 pixels, 4 right, 1 taken for class 1, 1 missed; class 1: 2, both right; class 2: nowhere
    matrix = np.array([[4, 1, 0, 1], [0, 2, 0, 0], [0, 0, 0, 0]])
    iou = class_iou(matrix)
    assert iou[:2].tolist() == pytest.approx([4 / 6, 2 / 3])
    assert np.isnan(iou[2])
    assert mean_iou(matrix) == pytest.approx((4 / 6 + 2 / 3) / 2)
    assert mean_iou(covered(matrix)) == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert accuracy(matrix) == pytest.approx(6 / 8)
    assert coverage(matrix) == pytest.approx(7 / 8)


def test_a_class_that_is_only_predicted_counts_with_zero() -> None:
    assert mean_iou(np.array([[3, 1, 0], [0, 0, 0]])) == pytest.approx(3 / 4 / 2)


def test_masking_wrong_pixels_cannot_raise_miou() -> None:
    truth = np.array([0, 0, 1, 1], np.uint8)
    wrong, masked = np.array([0, 0, 1, 0], np.uint8), np.array([0, 0, 1, 255], np.uint8)
    of_wrong, of_masked = (MatrixScores.of(confusion(truth, p, 2)) for p in (wrong, masked))
    assert of_masked.miou_covered == 1.0
    assert of_masked.accuracy == of_wrong.accuracy == 0.75
    assert of_masked.miou == pytest.approx((1 + 0.5) / 2)
    assert (of_wrong.coverage, of_masked.coverage) == (1.0, 0.75)


def test_with_nothing_to_score_there_is_no_score() -> None:
    scores = MatrixScores.of(np.zeros((2, 3), np.int64))
    assert all(np.isnan(value) for value in scores.to_dict().values())


def band_by_hand(truth: np.ndarray, width: int) -> np.ndarray:
    height, columns = truth.shape
    band = np.zeros(truth.shape, bool)
    for y, x in np.ndindex(truth.shape):
        for v, u in np.ndindex(height, columns):
            band[y, x] |= truth[v, u] != truth[y, x] and (v - y) ** 2 + (u - x) ** 2 <= width * width
    return band


@given(seed=st.integers(0, 999), width=st.integers(1, 4))
@settings(max_examples=15, deadline=None)
def test_the_trimap_is_what_its_definition_says(seed: int, width: int) -> None:
    random = np.random.default_rng(seed)
    truth = np.full((11, 13), 255, np.uint8)
    truth[:, :9] = 3
    truth[random.integers(0, 11), random.integers(0, 13)] = 0
    assert np.array_equal(trimap(truth, width), band_by_hand(truth, width))


@given(seed=st.integers(0, 999), width=st.integers(1, 4))
@settings(max_examples=15, deadline=None)
def test_the_square_band_is_what_its_definition_says(seed: int, width: int) -> None:
    truth = np.random.default_rng(seed).integers(0, 2, (3, 4), np.uint8).repeat(4, axis=0).repeat(3, axis=1)
    beside = np.zeros(truth.shape, bool)
    down, right = truth[1:] != truth[:-1], truth[:, 1:] != truth[:, :-1]
    for edge, there in ((down, beside[1:]), (down, beside[:-1]), (right, beside[:, 1:]), (right, beside[:, :-1])):
        there |= edge
    rows, columns = np.nonzero(beside)
    for y, x in np.ndindex(truth.shape):
        expected = bool((np.maximum(abs(rows - y), abs(columns - x)) < width).any())
        assert trimap(truth, width, "square")[y, x] == expected


def test_the_trimap_lies_on_both_sides_of_a_boundary_and_not_along_the_image_border() -> None:
    truth = np.zeros((8, 20), np.uint8)
    truth[:, 10:] = 1
    for shape in ("round", "square"):
        assert trimap(truth, shape=shape).all(axis=0).tolist() == [7 <= x <= 12 for x in range(20)]
    assert not trimap(np.zeros((8, 20), np.uint8)).any()
    with pytest.raises(ValueError, match="at least 1 pixel wide, found 0"):
        trimap(truth, 0)
    with pytest.raises(ValueError, match="a band is round or square, found 'oval'"):
        trimap(truth, 1, "oval")


def test_a_full_size_frame_takes_milliseconds() -> None:
    random = np.random.default_rng(0)
    truth = np.kron(random.integers(0, 19, (32, 64), np.uint8), np.ones((32, 32), np.uint8))
    prediction = random.integers(0, 19, truth.shape, np.uint8)
    assert _fastest(lambda: confusion(truth, prediction, 19)) < 0.15  # 0.01 on a free core
    assert _fastest(lambda: trimap(truth)) < 0.15


def _fastest(work: Callable[[], object]) -> float:
    times = []
    for _ in range(3):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return min(times)
