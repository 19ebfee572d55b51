"""What can be written of a segmentation, by kind."""

import numpy as np

from propagate.data.classes import ClassTable
from propagate.data.colours import colours_of_train_ids, difference, overlay

KINDS = ("pred", "rgb", "compose", "diff")


def view(
    kind: str, image: np.ndarray, found: np.ndarray, truth: np.ndarray | None, classes: ClassTable
) -> np.ndarray | None:
    """Label ids, [H,W] uint8, or a picture for people, [H,W,3] uint8 RGB; None where that needs an unknown truth.

    kind: of KINDS. image: [H,W,3] uint8 RGB. found, truth: [H,W] uint8 train ids.
    """
    if kind == "pred":
        return classes.id_of_train_id[found].astype(np.uint8)
    if kind == "rgb":
        return colours_of_train_ids(found, classes)
    if kind == "compose":
        return overlaid(image, found, classes)
    return None if truth is None else difference(image, found, truth, classes)


def overlaid(image: np.ndarray, found: np.ndarray, classes: ClassTable) -> np.ndarray:
    """[H,W,3] uint8 RGB: the colours of [H,W] uint8 train ids over their image."""
    return overlay(image, colours_of_train_ids(found, classes))
