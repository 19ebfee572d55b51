"""What the writers of all formats share."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from propagate.data.classes import ClassTable
from propagate.data.images import encode_png
from propagate.data.sample import Sample
from propagate.errors import StoreError
from propagate.export import File
from propagate.formats.class_tables import CLASS_FILE, table_file
from propagate.formats.source import MOST_BYTES

_JPEG_SIGNATURE = b"\xff\xd8\xff"


class AnnotationWriter:
    """Writes the samples of a split as annotations: see `propagate.export.TreeWriter`.

    What nobody labelled, the pixels of the ignored id, is left out.
    """

    def __init__(self, split: str, classes: ClassTable) -> None:
        self.split, self.classes = split, classes
        self._kept = 0

    @property
    def exactness(self) -> str:
        return "every pixel of the label maps is kept"

    def files(self, sample: Sample) -> Iterator[File]:
        raise NotImplementedError

    def rest(self) -> Iterator[File]:
        """The class table, for --classes of `propagate import`."""
        yield CLASS_FILE, table_file(self.classes)

    def frame(self, sample: Sample) -> File:
        """A frame's name and file: the source's own bytes, where it has some."""
        if isinstance(sample.image, np.ndarray):
            return f"{sample.key}.png", encode_png(sample.image)
        ending = "jpg" if sample.image.startswith(_JPEG_SIGNATURE) else "png"
        return f"{sample.key}.{ending}", sample.image

    def label_ids(self, sample: Sample) -> list[int]:
        """Those that a sample's label map holds, but for the ignored one. Raises: StoreError where one is unknown."""
        found = set(np.unique(sample.label).tolist())
        if unknown := found - {each.id for each in self.classes.classes}:
            raise StoreError(
                f"{sample.key}: holds label ids that class table '{self.classes.name}' does not have: "
                f"{sorted(unknown)}; write the store again with the table of its labels"
            )
        return sorted(found - {self.classes.ignore_id})

    def keep(self, text: str) -> str:
        """A part of the one file of annotations. Raises: StoreError where that grows larger than can be imported."""
        self._kept += len(text)
        if self._kept > MOST_BYTES:
            raise StoreError(
                f"annotations of more than {MOST_BYTES} bytes, the most that can be imported; export a smaller store, "
                "or in a format with a file for each frame"
            )
        return text


@dataclass(frozen=True)
class AnnotationFormat:
    """A format of annotations, by what writes it; the folder that it is written to must be new or empty."""

    begin: Callable[[str, ClassTable], AnnotationWriter]
    roots: tuple[str, ...] = ("",)


def box_of(mask: np.ndarray) -> list[int]:
    """[left, top, width, height] of what is in a bool mask [H,W] that is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    return [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top]
