"""Score schemes on the annotated frames of videos: by the distance from the last frame that was computed in full."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch

from jobs.console.values import counted
from jobs.timing import Stopwatch
from jobs.training.runtime import Runtime
from propagate.data.classes import ClassTable
from propagate.data.clip import Clip, Label
from propagate.errors import PropagateError
from propagate.scoring.metrics import confusion, trimap
from sdcnet.motion.estimator import MotionEstimator
from segtrain.errors import DataError
from segtrain.evaluation.band import DEFAULT_BAND, Band
from segtrain.evaluation.report import LeftOut
from segtrain.evaluation.temporal import ClipTally, temporal_motion
from segtrain.models.network import SegmentationNetwork
from segtrain.video.clips import SeenClip, read_clip
from segtrain.video.cost import stage_macs
from segtrain.video.registry import SchemeSettings, open_stepper
from segtrain.video.report import SchemeScore, ScoredStep, VideoReport
from segtrain.video.stepper import Stepper
from segtrain.video.stepping import stepped
from segtrain.video.tiled import Tiling, open_stepper_of

NUM_WARM_UP = 5  # frames of each scheme that are not timed


def evaluate_video(
    network: SegmentationNetwork,
    classes: ClassTable,
    clips: Sequence[Clip],
    schemes: Sequence[SchemeSettings],
    estimator: MotionEstimator,
    runtime: Runtime,
    *,
    distances: Sequence[int] | None = None,
    with_vectors: bool = False,
    labels: Mapping[str, Label] | None = None,
    band: Band = DEFAULT_BAND,
    tiling: Tiling | None = None,
    on_progress: Callable[[int], object] | None = None,
) -> VideoReport:
    """Segment clips by each scheme, and count what is right.

    A clip's annotated frame is scored once at each distance: the scheme begins so many frames before it, with one that
    is computed in full. Consistency in time is that of the labels along the whole clip.

    network: in evaluation mode, on the runtime's device, with the classes. clips: with at least as many frames before
    the annotated one as the largest distance. distances: None takes those of each scheme (`Stepper.phases`).
    with_vectors: of videos, the codec's motion serves where there is one. labels: of frames in succession, by their
    keys, for the consistency of the truth. band: the pixels that count for the trimap
    mIoU. tiling: how frames are cut into tiles, None where they are seen whole. on_progress: called with the number of
    clips dealt with since its last call. A clip that cannot be read is a failure of the report, and the rest goes on.

    Raises: InferenceError, TooLargeError, where the network cannot segment a frame; DataError where no clip is left.
    """
    watch = Stopwatch()
    num_warm_up = NUM_WARM_UP if tiling is None else 1  # in tiles a frame is many steps
    runs = [
        _Run(settings, open_stepper_of(network, settings, tiling), classes.train_names, distances, num_warm_up)
        for settings in schemes
    ]
    failures: list[LeftOut] = []
    first_size = (0, 0)
    frames: list[np.ndarray] = []
    num_clips = num_frames = 0
    for clip in clips:
        try:
            seen = read_clip(clip, classes, estimator, runtime, watch, with_vectors=with_vectors, labels=labels)
        except (PropagateError, DataError) as error:
            failures.append(LeftOut(image=clip.key, reason=str(error)))
        else:
            num_clips += 1
            num_frames += len(seen.frames)
            frames = frames or [pixels[0].permute(1, 2, 0).numpy() for pixels in seen.pixels]
            first_size = first_size if num_clips > 1 else (seen.truth.shape[0], seen.truth.shape[1])
            is_near = trimap(seen.truth, band.width, band.shape)
            for run in runs:
                run.add(seen, is_near, runtime, watch)
        if on_progress is not None:
            on_progress(1)
    if not num_clips:
        raise DataError(f"none of {len(clips)} clips can be read; the first: {failures[0].reason}")
    for run in runs:
        run.score.motion_seconds = watch.seconds["motion"] / max(1, watch.times["motion"])
    return VideoReport(
        classes=classes,
        clips=num_clips,
        size=first_size,
        motion=str(estimator.fingerprint["motion"]),
        temporal_motion=temporal_motion().fingerprint,
        device=_told(runtime),
        decode_seconds=watch.seconds["decode"] / num_frames,
        macs=stage_macs(network, first_size),
        schemes=[run.score for run in runs],
        band=band,
        is_tiled=tiling is not None,
        frames=frames,
        failures=tuple(failures),
    )


def distances_of(
    network: SegmentationNetwork, schemes: Iterable[SchemeSettings], distances: Sequence[int] | None
) -> set[int]:
    """The distances at which frames are scored, by one scheme or another: `evaluate_video` has the arguments."""
    if distances is not None:
        return set(distances)
    return {distance for settings in schemes for distance in open_stepper(network, settings).phases}


class _Run:
    """One scheme along all clips."""

    def __init__(
        self,
        settings: SchemeSettings,
        stepper: Stepper,
        class_names: tuple[str, ...],
        distances: Sequence[int] | None,
        num_warm_up: int,
    ) -> None:
        self._stepper, self._num_classes, self._num_warm_up = stepper, len(class_names), num_warm_up
        self._distances = tuple(stepper.phases if distances is None else distances)
        self._is_warm = False
        self._macs: dict[tuple[int, int], Mapping[str, int]] = {}  # by the size of frames
        nothing = np.zeros((self._num_classes, self._num_classes + 1), np.int64)
        self.score = SchemeScore(
            title=settings.title,
            counts={distance: nothing.copy() for distance in self._distances},
            near=nothing.copy(),
            class_names=class_names,
        )

    def add(self, clip: SeenClip, is_near: np.ndarray, runtime: Runtime, watch: Stopwatch) -> None:
        """is_near: [H,W] bool, the pixels that count for the trimap mIoU."""
        size = clip.truth.shape[0], clip.truth.shape[1]
        if size not in self._macs:
            self._macs[size] = self._stepper.macs(size)
        if not self._is_warm:
            for _ in stepped(self._stepper, clip.frames[: self._num_warm_up], runtime, watch):
                self._is_warm = True
        for distance in self._distances:
            before = clip.frames[clip.place - distance : clip.place + 1]
            *_, last = stepped(self._stepper, before, runtime, watch)
            found = last.labels.numpy()
            self.score.counts[distance] += confusion(clip.truth, found, self._num_classes)
            self.score.near += confusion(clip.truth[is_near], found[is_near], self._num_classes)
            cost = last.cost
            self.score.steps.append(
                ScoredStep(
                    distance=distance,
                    seconds=last.seconds,
                    macs=sum(self._macs[size][name] for name in cost.ran),
                    is_full=last.is_full,
                    motions=cost.motions,
                )
            )
        labels = [each.labels.numpy() for each in stepped(self._stepper, clip.frames, runtime, watch)]
        self.score.shown = self.score.shown or labels
        tally = ClipTally(clip.key, self._num_classes)
        for found, truth, pair in zip(labels, clip.truths, (None, *clip.pairs), strict=True):
            tally.add(found, truth, pair)
        self.score.temporal.append(tally.clip())
        self._stepper.reset()  # what it holds would lie beside what the next scheme does


def _told(runtime: Runtime) -> str:
    """The device in words, with what its speed depends on."""
    if runtime.device.type == "cuda":
        return f"{torch.cuda.get_device_name(runtime.device)}, {runtime.dtype}".replace("torch.", "")
    return f"a CPU, {counted(torch.get_num_threads(), 'thread')}"
