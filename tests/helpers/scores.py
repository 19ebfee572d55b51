"""Scores of stores of synthetic streets."""

from pathlib import Path

import numpy as np

from propagate.data.classes import load_classes
from propagate.data.images import read_label
from propagate.scoring.metrics import confusion
from propagate.scoring.truth import truth_directory
from propagate.shards.reader import open_store


def matrix_of_store(out: Path, street: Path) -> np.ndarray:
    """The confusion matrix over all samples that are not annotated frames."""
    classes = load_classes("cityscapes")
    num = len(classes.train_names)
    matrix = np.zeros((num, num + 1), np.int64)
    truths = truth_directory(street / "truth")
    for sample in open_store(out).samples(images=False):
        if sample.offset:
            truth = read_label(truths([sample.key])[sample.key], classes)
            matrix += confusion(classes.train_id_of[truth], classes.train_id_of[sample.label], num)
    return matrix
