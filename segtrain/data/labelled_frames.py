"""The annotated frames of a data set in its own layout, for training and validation: frames and labels as they lie."""

import json
import logging
from collections.abc import Mapping, Sequence

import numpy as np

from propagate.data.classes import ClassTable
from propagate.data.clip import TRAIN_IDS, Clip, Frame, Label
from propagate.data.images import read_label
from propagate.data.sample import ANNOTATED
from propagate.datasets.base import DatasetOptions
from propagate.datasets.registry import open_dataset
from propagate.shards.reader import SampleRecord
from segtrain.data.dataset import NUM_NAMED, Pixels, SegmentationDataset, Window, inside
from segtrain.data.index import ClassIndex
from segtrain.data.label_index import index_label_files
from segtrain.data.neighbours import find_neighbours, require_offsets
from segtrain.data.stored_frames import KnownFrames
from segtrain.errors import DataError

_log = logging.getLogger(__name__)


def open_labelled_frames(
    name: str,
    options: DatasetOptions,
    *,
    classes: ClassTable | None = None,
    offsets: tuple[int, ...] = (),
    all_needed: bool = True,
    without: KnownFrames | None = None,
    origin: str = ANNOTATED,
) -> SegmentationDataset:
    """The annotated frames of the split of a data set in the layout of that name, sorted by key.

    Each is a sample of offset 0 and score 1. Files are decoded as a whole, whatever the window; a file that can't be
    used is an InputError when it is read. classes: another table than the data set's own, for another choice of trained
    classes. offsets: of the neighbours that each sample comes with, as the layout counts frames; where all are needed,
    samples that lack one are left out. without: stored frames that are no part of it, whatever it has then; a frame is
    one of them where key, pixels and trained labels are the same. How many is logged, and how many share their key
    alone, and are taken. origin: of the samples.

    Raises: DatasetError for a root, split or layout that can't be used; DataError where a label map has no frame, or
    holds train ids, which another table would give another meaning, and where no sample has all its neighbours;
    ValueError for an offset of 0, or one that is repeated.
    """
    require_offsets(offsets)
    dataset = open_dataset(name, options)
    clips = dataset.clips(num_neighbours=max(map(abs, offsets), default=0))
    alone = [clip.missing[0] for clip in clips if not clip.frames]
    if alone:
        raise DataError(f"{len(alone)} of {len(clips)} label maps have no frame: {'; '.join(alone[:NUM_NAMED])}")
    if classes is not None:
        _require_label_ids(clips, dataset.classes, classes)
    if without:
        clips = _without_stored(clips, without, dataset.classes, classes, options)
    used = _with_neighbours(clips, offsets, str(options.root), all_needed=all_needed) if offsets and clips else clips
    return _LabelledFrames(classes or dataset.classes, used, offsets, origin)


def _without_stored(
    clips: list[Clip], stored: KnownFrames, own: ClassTable, classes: ClassTable | None, options: DatasetOptions
) -> list[Clip]:
    """The clips whose annotated frame is none of those stored. Raises: InputError, StoreError."""
    known = {clip.key for clip in clips if clip.key in stored}
    same = {
        clip.key
        for clip in clips
        if clip.key in known and any(frame.is_of(clip, own, classes) for frame in stored[clip.key])
    }
    if same:
        _log.warning(
            "%s: %d of %d annotated frames of split '%s' are in the stores, and not taken twice",
            options.root,
            len(same),
            len(clips),
            options.split,
        )
    if others := sorted(known - same):
        _log.warning(
            "%s: %d of %d annotated frames of split '%s' are called as frames of the stores are, but have other pixels "
            "or labels, and are taken too: the first, %s",
            options.root,
            len(others),
            len(clips),
            options.split,
            others[0],
        )
    return [clip for clip in clips if clip.key not in same]


class _LabelledFrames:
    def __init__(self, classes: ClassTable, clips: list[Clip], offsets: tuple[int, ...], origin: str) -> None:
        self.classes = classes
        self.offsets = offsets
        self.records = tuple(_record(clip, origin) for clip in clips)
        self._annotated = [(clip.frames[0], clip.label) for clip in clips if clip.label is not None]
        self._neighbours = [
            {offset: clip.frames[offset] for offset in offsets if offset in clip.frames} for clip in clips
        ]

    def size(self, number: int) -> tuple[int, int]:
        frame, _ = self._annotated[number]
        return frame.size()

    def offsets_at(self, number: int) -> tuple[int, ...]:
        return tuple(self._neighbours[number])

    def identities(self, number: int) -> Mapping[int, str]:
        frames = {0: self._annotated[number][0], **self._neighbours[number]}
        return {offset: json.dumps([frame.key, *frame.identity]) for offset, frame in frames.items()}

    def read(self, number: int, window: Window | None = None, offsets: Sequence[int] | None = None) -> Pixels:
        frame, label_map = self._annotated[number]
        image, label = frame.pixels(), read_label(label_map, self.classes)
        _require_same_size(image, frame, label, label_map)
        part = inside(window, label.shape).slices
        around = self._neighbours[number]
        neighbours = tuple(
            _read_neighbour(around[offset], image, frame)[part] for offset in (around if offsets is None else offsets)
        )
        return Pixels(image[part], self.classes.train_id_of[label[part]], neighbours)

    def index(self, tile: int) -> ClassIndex:
        return index_label_files(self.records, [label for _, label in self._annotated], self.classes, tile)


def _record(clip: Clip, origin: str = ANNOTATED) -> SampleRecord:
    return SampleRecord(
        key=clip.key, source_key=clip.key, group=clip.group, offset=0, pairing="label", score=1.0, origin=origin
    )


def _with_neighbours(clips: list[Clip], offsets: tuple[int, ...], where: str, *, all_needed: bool) -> list[Clip]:
    """The clips that have what they need of the offsets. Raises: DataError where there is none."""
    there = sorted({offset for clip in clips for offset in clip.frames})
    holes = [reason for clip in clips for reason in clip.missing.values()]
    if holes and not all_needed:
        _log.warning("%s: %d frames beside annotated ones are missing: the first, %s", where, len(holes), holes[0])
    complete = find_neighbours(
        [_record(clip) for clip in clips],
        [clip.frames for clip in clips],
        offsets,
        all_needed=all_needed,
        where=where,
        there_is=f"within that range there are frames at offsets {there}",
        advice="add the frames around the annotated ones",
    )
    return [clips[number] for number in complete]


def _read_neighbour(neighbour: Frame, image: np.ndarray, frame: Frame) -> np.ndarray:
    """[H,W,3] uint8 RGB. Raises: InputError, and DataError where it isn't of the size of the annotated frame."""
    pixels = neighbour.pixels()
    if pixels.shape != image.shape:
        raise DataError(
            f"{neighbour.where}: a frame of {pixels.shape[0]}x{pixels.shape[1]}, but its neighbour {frame.where} is of "
            f"{image.shape[0]}x{image.shape[1]}; frames of a sequence must have one size: scale one of them"
        )
    return pixels


def _require_label_ids(clips: list[Clip], own: ClassTable, classes: ClassTable) -> None:
    """Raise DataError where a label map holds train ids: which classes they mean, the data set's own table says."""
    holders = [clip.label for clip in clips if clip.label is not None and clip.label.holds == TRAIN_IDS]
    if holders and classes.train_names != own.train_names:
        raise DataError(
            f"{holders[0].resource}: holds train ids of the class table '{own.name}', which '{classes.name}' can't "
            "read; give label maps of label ids, or leave out the class table"
        )


def _require_same_size(image: np.ndarray, frame: Frame, label: np.ndarray, label_map: Label) -> None:
    if image.shape[:2] != label.shape:
        raise DataError(
            f"{frame.where}: a frame of {image.shape[0]}x{image.shape[1]}, but its label map {label_map.resource} is "
            f"of {label.shape[0]}x{label.shape[1]}; both must have one size: scale one of them, labels without blending"
        )
