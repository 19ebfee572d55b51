"""Thresholds of classes: medians from histograms, below a cap."""

import numpy as np
import pytest

from segtrain.pseudo.thresholds import NUM_BINS, class_thresholds, histograms


def counted(*classes: list[float]) -> np.ndarray:
    """The histograms of these probabilities of each class."""
    labels = np.concatenate([np.full(len(each), number, np.uint8) for number, each in enumerate(classes)])
    return histograms(labels, np.concatenate(classes).astype(np.float32), len(classes))


def test_a_threshold_is_the_median_of_its_class_below_the_cap() -> None:
    counts = counted([0.2, 0.3, 0.4005, 0.8, 0.9], [0.95, 0.97, 0.99], [0.5, 0.6])
    assert class_thresholds(counts, 0.9) == pytest.approx((0.4, 0.9, 0.5))
    assert class_thresholds(counts, 0.3) == pytest.approx((0.3, 0.3, 0.3))


def test_a_class_that_is_never_found_has_the_cap() -> None:
    assert class_thresholds(counted([0.5], []), 0.7) == pytest.approx((0.5, 0.7))


def test_at_least_half_of_a_class_is_kept_and_parts_add_up() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, (2, 40, 50)).astype(np.uint8)
    confidence = random.random((2, 40, 50), np.float32) ** 2
    whole = histograms(labels, confidence, 3)
    assert (whole == sum(histograms(*part, 3) for part in zip(labels, confidence, strict=True))).all()
    for train_id, least in enumerate(class_thresholds(whole, 1.0)):
        share = (confidence[labels == train_id] >= least).mean()
        assert 0.5 <= share < 0.5 + 5 / NUM_BINS + 0.01
    certain = histograms(np.zeros(1, np.uint8), np.ones(1, np.float32), 1)
    assert certain[0, -1] == 1
