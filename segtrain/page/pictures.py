"""Pictures of the last validation, kept in the run folder for its page.

pictures/pictures.json      step, colours of the classes, and the images; written last, so that all it names is there
pictures/NUMBER-KIND.png    8-bit RGB, shrunk where the longer side has more than LONGEST pixels
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from jobs.training.run_folder import cannot_write, replace
from propagate.data.classes import IGNORE_TRAIN_ID, ClassTable
from propagate.data.colours import colours_of_names, colours_of_train_ids, difference
from propagate.data.images import encode_png
from segtrain.data.dataset import Pixels

FOLDER, INDEX = "pictures", "pictures.json"
KINDS = ("image", "truth", "prediction", "difference")
LONGEST = 640  # pixels of the longer side: the page carries all pictures in itself


@dataclass(frozen=True)
class Segmented:
    """An image that was validated on, by its sample's key; found: [H,W] uint8 train ids."""

    key: str
    pixels: Pixels
    found: np.ndarray

    @property
    def wrong(self) -> float | None:
        """The share of wrong pixels among those that the truth does not ignore; None where it ignores all."""
        counts = self.pixels.label != IGNORE_TRAIN_ID
        return float((self.found != self.pixels.label)[counts].mean()) if counts.any() else None


def save_pictures(out: Path, step: int, images: Sequence[Segmented], classes: ClassTable) -> None:
    """Replace the pictures of a run folder. Raises: RunFolderError where they cannot be written."""
    folder = out / FOLDER
    try:
        folder.mkdir(exist_ok=True)
        (folder / INDEX).unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    entries = []
    for number, image in enumerate(images):
        for kind, picture in zip(KINDS, _views(image, classes), strict=True):
            replace(folder / f"{number}-{kind}.png", encode_png(picture))
        height, width = _shown_size(image.found)
        entries.append({"key": image.key, "height": height, "width": width, "wrong": image.wrong})
    index = {"step": step, "classes": colours_of_names(classes), "images": entries}
    replace(folder / INDEX, (json.dumps(index, ensure_ascii=False, indent=1) + "\n").encode())


def _views(image: Segmented, classes: ClassTable) -> tuple[np.ndarray, ...]:
    """What KINDS names, [h,w,3] uint8 RGB each."""
    height, width = _shown_size(image.found)
    shown = cv2.resize(image.pixels.image, (width, height), interpolation=cv2.INTER_AREA)
    truth, found = (
        cv2.resize(train_ids, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        for train_ids in (image.pixels.label, image.found)
    )
    coloured = (colours_of_train_ids(train_ids, classes) for train_ids in (truth, found))
    return shown, *coloured, difference(shown, found, truth, classes)


def _shown_size(found: np.ndarray) -> tuple[int, int]:
    height, width = found.shape
    scale = min(1.0, LONGEST / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))
