"""How probable a predicted label must be to be kept: a threshold for each class, from histograms of probabilities."""

import numpy as np

NUM_BINS = 1000


def histograms(labels: np.ndarray, confidence: np.ndarray, num_classes: int) -> np.ndarray:
    """How often each class is found how probably: [C,NUM_BINS] int64.

    labels: uint8 train ids; confidence: float32 in [0,1], of the same shape, that of each pixel's own label.
    """
    place = np.minimum((confidence * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    counts = np.bincount((labels.astype(np.int64) * NUM_BINS + place).ravel(), minlength=num_classes * NUM_BINS)
    return counts.reshape(num_classes, NUM_BINS)


def class_thresholds(counts: np.ndarray, cap: float) -> tuple[float, ...]:
    """The median probability of each class, down to a NUM_BINS-th, but no more than the cap; of absent ones the cap.

    counts: [C,NUM_BINS], summed `histograms`. At least half the pixels of a class are as probable as its median, so
    that a class of which the teacher is never sure does not get lost.
    """
    up_to = counts.cumsum(axis=1)
    total = up_to[:, -1]
    median = (2 * up_to < total[:, None]).sum(axis=1) / NUM_BINS
    return tuple(float(value) for value in np.where(total > 0, np.minimum(median, cap), cap))
