"""What the trainer reads: samples of pixels and train ids, wherever they lie, by their number and a window.

`segtrain.data.store_samples` makes such a data set from a shard store, `segtrain.data.labelled_frames` from the
annotated frames of any layout that `propagate.datasets` knows.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple, Protocol

import numpy as np

from propagate.data.classes import ClassTable
from propagate.shards.reader import SampleRecord
from segtrain.data.index import ClassIndex, join_indices
from segtrain.errors import DataError

NUM_NAMED = 3  # of many offenders, a message names so many


class Window(NamedTuple):
    """A part of an image, in pixels, inside it."""

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Its rows and its columns."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


class PairMotion(NamedTuple):
    """Where the pixels of an image are in a neighbour of it.

    flow: [h,w,2] float32, from each pixel to its place in the neighbour, (dx, dy) in pixels. is_seen: [h,w] bool, the
    pixels that both frames show.
    """

    flow: np.ndarray
    is_seen: np.ndarray


class Pixels(NamedTuple):
    """A sample: image [h,w,3] uint8 RGB, and its label [h,w] uint8 train ids, 255 where ignored.

    neighbours: frames around the image, of its form and of the same part, in the order of the offsets asked for.
    motions: of the image to each of them, where they are known beforehand. shown: [h,w] bool, where there is an image,
    None for everywhere. weight: [h,w] float32, how much each pixel's label counts in the loss; None where all are 1.
    """

    image: np.ndarray
    label: np.ndarray
    neighbours: tuple[np.ndarray, ...] = ()
    motions: tuple[PairMotion, ...] = ()
    shown: np.ndarray | None = None
    weight: np.ndarray | None = None

    @property
    def frames(self) -> tuple[np.ndarray, ...]:
        """The image, then its neighbours."""
        return (self.image, *self.neighbours)


class SegmentationDataset(Protocol):
    """Samples by their number, 0…len(records)-1. Can be pickled; files are opened by the process that reads them.

    classes: its train names are what train ids mean. offsets: of the neighbours that samples come with, as signed
    differences from their own frame: all of them, or those that there are, as the data set was opened.
    """

    @property
    def classes(self) -> ClassTable: ...

    @property
    def records(self) -> Sequence[SampleRecord]: ...

    @property
    def offsets(self) -> tuple[int, ...]: ...

    def size(self, number: int) -> tuple[int, int]:
        """(H, W) of a sample."""
        ...

    def offsets_at(self, number: int) -> tuple[int, ...]:
        """Those of `offsets` at which a sample has a neighbour, in their order."""
        ...

    def identities(self, number: int) -> Mapping[int, str]:
        """What tells the sample's frame (0), and each of its neighbours by offset, from frames of other pixels."""
        ...

    def read(self, number: int, window: Window | None = None, offsets: Sequence[int] | None = None) -> Pixels:
        """A sample's pixels, or those within the window alone: the same as the whole, sliced.

        offsets: of the neighbours to read, some of `offsets_at`; None for all of them.
        Raises: ValueError for a window that isn't inside the image; DataError, or an error of `propagate.errors`, for a
        sample that can't be read.
        """
        ...

    def index(self, tile: int) -> ClassIndex:
        """Where each class lies, in tiles of tile x tile pixels; its records are those of the data set."""
        ...


def inside(window: Window | None, size: tuple[int, int]) -> Window:
    """The window, or that of the whole image of size (H, W). Raises: ValueError where it isn't inside the image."""
    height, width = size
    if window is None:
        return Window(0, 0, height, width)
    bottom, right = window.top + window.height, window.left + window.width
    if not (0 <= window.top < bottom <= height and 0 <= window.left < right <= width):
        raise ValueError(f"expected a window inside an image of {height}x{width}, found {window}")
    return window


def join(parts: Sequence[SegmentationDataset]) -> SegmentationDataset:
    """The samples of all parts, one part after the other.

    Raises: DataError where their train ids mean different classes, or their samples have neighbours at different
    offsets; ValueError for no part at all.
    """
    if not parts:
        raise ValueError("expected one data set or more to join, found none")
    first = parts[0]
    for part in parts[1:]:
        _require_same_classes(first.classes, part.classes)
        if part.offsets != first.offsets:
            raise DataError(
                f"data sets with neighbours at offsets {list(first.offsets)} and {list(part.offsets)} can't be joined; "
                "open both with the same offsets, in the same order"
            )
    return _Joined(tuple(parts))


def require_apart(training: SegmentationDataset, validation: SegmentationDataset) -> None:
    """Raise DataError where a sample of the validation stems from a frame that is trained on, annotated or not."""
    trained = {key for record in training.records for key in (record.source_key, record.second_source_key, record.key)}
    validated = {key for record in validation.records for key in (record.source_key, record.second_source_key)}
    shared = sorted((validated & trained) - {""})
    if shared:
        named = ", ".join(shared[:NUM_NAMED]) + (", …" if len(shared) > NUM_NAMED else "")
        raise DataError(
            f"{len(shared)} frames are both trained on and validated on: {named}; scores on them would say "
            "nothing: choose another split for one of the two, none to validate on (--val-split none), or, of frames "
            "that are others, other names"
        )


class _Joined:
    """Several data sets with the same train names as one; the class table is the first one's."""

    def __init__(self, parts: tuple[SegmentationDataset, ...]) -> None:
        self.classes = parts[0].classes
        self.offsets = parts[0].offsets
        self.records = tuple(record for part in parts for record in part.records)
        self._parts = parts
        self._starts = list(accumulate((len(part.records) for part in parts[:-1]), initial=0))

    def size(self, number: int) -> tuple[int, int]:
        part, within = self._locate(number)
        return part.size(within)

    def offsets_at(self, number: int) -> tuple[int, ...]:
        part, within = self._locate(number)
        return part.offsets_at(within)

    def identities(self, number: int) -> Mapping[int, str]:
        part, within = self._locate(number)
        return part.identities(within)

    def read(self, number: int, window: Window | None = None, offsets: Sequence[int] | None = None) -> Pixels:
        part, within = self._locate(number)
        return part.read(within, window, offsets)

    def index(self, tile: int) -> ClassIndex:
        return join_indices([part.index(tile) for part in self._parts])

    def _locate(self, number: int) -> tuple[SegmentationDataset, int]:
        """The part that holds a sample, and the sample's number in it."""
        place = bisect_right(self._starts, number) - 1
        return self._parts[place], number - self._starts[place]


def _require_same_classes(first: ClassTable, other: ClassTable) -> None:
    if first.train_names == other.train_names:
        return
    differences = [
        f"train id {train_id} is '{a}' and '{b}'"
        for train_id, (a, b) in enumerate(zip(first.train_names, other.train_names, strict=False))
        if a != b
    ]
    if len(first.train_names) != len(other.train_names):
        differences.append(f"there are {len(first.train_names)} and {len(other.train_names)} of them")
    more = ["…"] if len(differences) > NUM_NAMED else []
    raise DataError(
        f"data sets with the classes of '{first.name}' and of '{other.name}' can't be joined: "
        f"{', '.join(differences[:NUM_NAMED] + more)}; give both the same trained classes, in the same order"
    )
