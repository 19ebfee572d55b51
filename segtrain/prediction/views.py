"""What is shown of a segmentation: colours, an overlay, and what is wrong; [H,W,3] uint8 RGB each."""

import numpy as np

from propagate.data.classes import IGNORE_TRAIN_ID, ClassTable

KINDS = ("pred", "rgb", "compose", "diff")  # of results; `pred` are the label ids themselves


def colours(train_ids: np.ndarray, classes: ClassTable) -> np.ndarray:
    """[H,W] uint8 train ids in the colours of their classes."""
    return classes.palette[classes.id_of_train_id.clip(min=0)[train_ids]]


def overlay(image: np.ndarray, train_ids: np.ndarray, classes: ClassTable) -> np.ndarray:
    """The image [H,W,3] uint8 RGB under the colours of its classes, half of each."""
    return ((image.astype(np.uint16) + colours(train_ids, classes)) // 2).astype(np.uint8)


def difference(image: np.ndarray, found: np.ndarray, truth: np.ndarray, classes: ClassTable) -> np.ndarray:
    """The image [H,W,3] dark and grey, and over it, in the colour of what was found, the pixels that are wrong.

    found, truth: [H,W] uint8 train ids; what the truth ignores is not wrong.
    """
    grey = (image.mean(axis=2, keepdims=True) / 2).astype(np.uint8)
    is_wrong = (found != truth) & (truth != IGNORE_TRAIN_ID)
    return np.where(is_wrong[..., None], colours(found, classes), grey)
