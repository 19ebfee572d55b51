"""Clips of a data set as steppers see them: an annotated frame, those before it, and those after it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from torch import Tensor

from jobs.timing import Stopwatch
from jobs.training.runtime import Runtime
from propagate.carry.opened import open_clip
from propagate.data.classes import ClassTable
from propagate.data.clip import Clip, Label
from propagate.datasets.base import Dataset
from propagate.errors import InputError
from sdcnet.motion.estimator import MotionEstimator
from segtrain.errors import DataError
from segtrain.evaluation.temporal import Pair, pair_of, temporal_motion
from segtrain.evaluation.temporal_measure import truth_of
from segtrain.video.observations import observed
from segtrain.video.stepper import Seen


@dataclass(frozen=True)
class SeenClip:
    """Frames in their order. place: of the annotated one among them. truth: [H,W] uint8, its train ids.

    pixels: of each frame [1,3,H,W] uint8 RGB, on the host. truths: of each frame, as truth; None where it isn't known.
    """

    key: str
    frames: Sequence[Seen]
    pixels: Sequence[Tensor]
    place: int
    truth: np.ndarray
    truths: Sequence[np.ndarray | None]

    @cached_property
    def pairs(self) -> Sequence[Pair]:
        """Of each frame but the first, the way from the one before it, by `temporal_motion`."""
        motion = temporal_motion()
        return [pair_of(before, frame, motion) for before, frame in pairwise(self.pixels)]


def clips_with(dataset: Dataset, num_before: int, where: str) -> list[Clip]:
    """The clips that have so many frames before the annotated one. Raises: DataError where there is none."""
    clips = dataset.clips(num_neighbours=max(1, num_before))
    found = [clip for clip in clips if -num_before in clip.frames]
    if not found:
        most = max((-min(clip.frames, default=0) for clip in clips), default=0)
        raise DataError(
            f"{where}: of {len(clips)} annotated frames none has {num_before} frames before it, the most are {most}; "
            "choose smaller --distances, or a smaller --interval"
        )
    return found


def read_clip(
    clip: Clip,
    classes: ClassTable,
    estimator: MotionEstimator,
    runtime: Runtime,
    watch: Stopwatch,
    *,
    with_vectors: bool = False,
    labels: Mapping[str, Label] | None = None,
) -> SeenClip:
    """Decode a clip's frames, on `watch` as "decode"; their motion is found where it is asked for.

    with_vectors: of videos, decode the codec's motion too. labels: by the keys of frames, for their `truths`.

    Raises: DataError, where a frame or the label map cannot be used.
    """
    opened = open_clip(clip, classes, watch, with_vectors=with_vectors)
    if opened.failures:
        raise DataError("; ".join(failure.reason for failure in opened.failures))
    offsets = sorted(opened.pictures)
    pictures = [opened.pictures[offset] for offset in offsets]
    try:
        truths = [truth_of((labels or {}).get(clip.frames[at].key), opened.label.shape, classes) for at in offsets]
    except InputError as error:
        raise DataError(str(error)) from None
    return SeenClip(
        key=clip.key,
        frames=list(observed(pictures, estimator, runtime, watch)),
        pixels=[picture.pixels for picture in pictures],
        place=offsets.index(0),
        truth=classes.train_id_of[opened.label],
        truths=truths,
    )
