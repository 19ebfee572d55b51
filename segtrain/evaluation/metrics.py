"""Scores of a segmentation beyond those of `propagate.scoring.metrics`, from the same confusion matrices [C,C+1].

The published evaluation swaps false positives and false negatives in precision and recall; these don't.
"""

import numpy as np

from propagate.scoring.metrics import class_iou


def class_recall(matrix: np.ndarray) -> np.ndarray:
    """The share of each class's pixels that were found: [C] float64, NaN where it has none."""
    return _ratio(np.diagonal(matrix), matrix.sum(axis=1))


def class_precision(matrix: np.ndarray) -> np.ndarray:
    """The share of pixels predicted as a class that are of it: [C] float64, NaN where none was predicted."""
    return _ratio(np.diagonal(matrix), matrix[:, : len(matrix)].sum(axis=0))


def mean_class_accuracy(matrix: np.ndarray) -> float:
    """The mean recall of the classes that occur; NaN where none does."""
    recall = class_recall(matrix)
    present = recall[~np.isnan(recall)]
    return float(present.mean()) if present.size else float("nan")


def frequency_weighted_iou(matrix: np.ndarray) -> float:
    """The IoU of the classes that occur, weighted by how often they do; NaN where none does.

    Reference: Long et al., "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015.
    """
    pixels = matrix.sum(axis=1)
    occurs = pixels > 0
    return float((pixels[occurs] / pixels.sum()) @ class_iou(matrix)[occurs]) if occurs.any() else float("nan")


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole as float64, NaN where whole is 0."""
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
