"""Label maps as people look at them: in the colours of their classes, over their image; [H,W,3] uint8 RGB each."""

import numpy as np

from propagate.data.classes import IGNORE_TRAIN_ID, ClassTable


def colours_of_label_ids(label_ids: np.ndarray, classes: ClassTable) -> np.ndarray:
    """Label ids, [H,W] uint8, in the colours of their classes; black where an id is unknown."""
    return classes.palette[label_ids]


def colours_of_train_ids(train_ids: np.ndarray, classes: ClassTable) -> np.ndarray:
    """Train ids, [H,W] uint8, in the colours of their classes; 255 in that of the ignored id."""
    return classes.palette[classes.id_of_train_id.clip(min=0)[train_ids]]


def colours_of_names(classes: ClassTable) -> dict[str, str]:
    """#rrggbb by the name of each trained class, in the order of their train ids."""
    (row,) = colours_of_train_ids(np.arange(len(classes.train_names), dtype=np.uint8)[None], classes)
    return {name: "#" + bytes(colour).hex() for name, colour in zip(classes.train_names, row, strict=True)}


def overlay(image: np.ndarray, colours: np.ndarray, share: float = 0.5) -> np.ndarray:
    """An image under colours, both [H,W,3] uint8, of which so great a share is seen."""
    return (np.float32(1 - share) * image + np.float32(share) * colours).astype(np.uint8)  # exact for halves


def difference(image: np.ndarray, found: np.ndarray, truth: np.ndarray, classes: ClassTable) -> np.ndarray:
    """The image [H,W,3] dark and grey, and over it, in the colour of what was found, the pixels that are wrong.

    found, truth: [H,W] uint8 train ids; what the truth ignores is not wrong.
    """
    grey = (image.mean(axis=2, keepdims=True) / 2).astype(np.uint8)
    is_wrong = (found != truth) & (truth != IGNORE_TRAIN_ID)
    return np.where(is_wrong[..., None], colours_of_train_ids(found, classes), grey)
