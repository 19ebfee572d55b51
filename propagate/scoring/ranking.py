"""Which samples are probably worst, without their truth: a score that orders them."""

import numpy as np

from propagate.data.classes import IGNORE_TRAIN_ID, ClassTable
from propagate.data.sample import CONFIDENCE_LEVELS

PIXELS_WEIGHT = 0.8  # the rest is the weight of classes


def rank_score(label: np.ndarray, confidence: np.ndarray, classes: ClassTable) -> float:
    """How good a label map [H,W] uint8 of label ids probably is, in [0,1], by its confidence [H,W] uint8 levels.

    Four fifths of it are the mean confidence of all pixels, and one fifth is the mean over the classes that occur of
    the mean confidence of each: the share of right pixels counts pixels, mIoU classes, however small. Pixels that no
    class is trained on do not count; it is 1 where there are no others.
    """
    train_ids = classes.train_id_of[label]
    counts = np.bincount(
        train_ids.ravel() * np.intp(CONFIDENCE_LEVELS) + confidence.ravel(), minlength=256 * CONFIDENCE_LEVELS
    ).reshape(256, CONFIDENCE_LEVELS)[:IGNORE_TRAIN_ID]
    return rank_score_of_counts(counts)


def rank_score_of_counts(counts: np.ndarray) -> float:
    """As `rank_score`, of the pixels [C,16] by class and confidence level."""
    pixels = counts.sum(axis=1)
    if not pixels.any():
        return 1.0
    sure = counts @ (np.arange(CONFIDENCE_LEVELS) / (CONFIDENCE_LEVELS - 1))
    of_classes = (sure[pixels > 0] / pixels[pixels > 0]).mean()
    return float(PIXELS_WEIGHT * sure.sum() / pixels.sum() + (1 - PIXELS_WEIGHT) * of_classes)
