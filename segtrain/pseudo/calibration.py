"""A first pass over some of the frames: how probable are the labels of each class?"""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from jobs.errors import CheckpointError, UnfitNodeError
from jobs.pool.places import Share
from jobs.pool.run import run_units
from jobs.pool.units import Doubtful
from propagate.data.classes import ClassTable
from propagate.data.clip import Clip, Frame
from propagate.errors import InputError, UnreachableError
from propagate.job.places import computing_threads, room_for
from propagate.job.sight import ADVICE
from segtrain.errors import DataError
from segtrain.pseudo.clips import wanted_offsets
from segtrain.pseudo.labelling import Labelling
from segtrain.pseudo.thresholds import class_thresholds, histograms

FRAMES = 8  # that a worker is given at a time


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The threshold of each class, by train id, and of how many frames they are."""

    thresholds: tuple[float, ...]
    num_frames: int


@dataclass(frozen=True, kw_only=True)
class _Histograms:
    """counts: [C,NUM_BINS] int64 over the frames that could be read; failures: why others could not be."""

    counts: np.ndarray
    failures: tuple[str, ...]


@dataclass
class _Worker:
    share: Share
    labelling: Labelling
    classes: ClassTable

    def __post_init__(self) -> None:
        torch.set_num_threads(computing_threads(self.share, is_network=True))
        try:
            self._labeller = self.labelling.open(self.classes)
        except CheckpointError as error:  # the driver could open it
            raise UnfitNodeError(f"{error}; {ADVICE}") from None

    def __call__(
        self,
        unit: Sequence[Frame],
        attempt: str,  # noqa: ARG002
        on_progress: Callable[[int], None],
    ) -> _Histograms | Doubtful[_Histograms]:
        num_classes = len(self.classes.train_names)
        failures: list[str] = []
        unreachable = False
        counts = histograms(np.zeros(0, np.uint8), np.zeros(0, np.float32), num_classes)
        for frame in unit:
            try:
                found = self._labeller.segment(frame.pixels())
            except InputError as error:
                failures.append(str(error))
                unreachable |= isinstance(error, UnreachableError)
            else:
                counts += histograms(found.labels, found.confidence, num_classes)
            on_progress(1)
        record = _Histograms(counts=counts, failures=tuple(failures))
        return Doubtful(record) if unreachable else record


def frames_to_calibrate_on(clips: Sequence[Clip], beyond: int, at_most: int) -> list[Frame]:
    """Frames that are to get labels, evenly spread over all of them, or all."""
    frames = [clip.frames[offset] for clip in clips for offset in wanted_offsets(clip, beyond)]
    wanted = min(len(frames), at_most)
    return [frames[number] for number in np.linspace(0, len(frames) - 1, wanted).round().astype(int)]


def calibrate(
    frames: Sequence[Frame],
    labelling: Labelling,
    classes: ClassTable,
    cap: float,
    *,
    engine: str,
    num_workers: int | None = None,
    address: str | None = None,
    on_progress: Callable[[int], None] = lambda _frames: None,
) -> Calibration:
    """The median probability of each class over frames, at most the cap; frames that cannot be read do not count.

    Raises: DataError where none can be read; InferenceError, JobError.
    """
    units = [frames[start : start + FRAMES] for start in range(0, len(frames), FRAMES)]
    counts = histograms(np.zeros(0, np.uint8), np.zeros(0, np.float32), len(classes.train_names))
    failures: list[str] = []
    outcomes = run_units(
        units,
        partial(_Worker, labelling=replace(labelling, motion=None), classes=classes),
        engine=engine,
        num_workers=num_workers,
        address=address,
        room=room_for(is_network=True),
        gpus=labelling.device != "cpu",
        on_progress=on_progress,
    )
    with closing(outcomes):
        for outcome in outcomes:
            if outcome.record is None:
                failures += [f"{frame.where}: {outcome.error}" for frame in units[outcome.index]]
            else:
                counts += outcome.record.counts
                failures += outcome.record.failures
    if len(failures) == len(frames):
        raise DataError(f"none of {len(frames)} frames can be read to find thresholds on; the first: {failures[0]}")
    return Calibration(thresholds=class_thresholds(counts, cap), num_frames=len(frames) - len(failures))
