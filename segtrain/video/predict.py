"""Segment a video frame after frame, and write what is found."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import tee
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np

from jobs.ahead import ahead
from jobs.errors import JobError
from jobs.signals import uninterrupted
from jobs.timing import Stopwatch
from jobs.training.runtime import Runtime
from sdcnet.errors import SdcnetError
from sdcnet.motion.estimator import MotionEstimator
from segtrain.errors import SegtrainError
from segtrain.prediction.video import Films, VideoOutput
from segtrain.prediction.views import overlaid
from segtrain.prediction.writing import ViewFiles
from segtrain.trained import TrainedNetwork
from segtrain.video.live import live
from segtrain.video.observations import observed
from segtrain.video.sources import SourceFrame, VideoSource
from segtrain.video.stepper import Stepper
from segtrain.video.stepping import Stepped, stepped
from segtrain.video.tally import Tally

NUM_AHEAD = 2  # frames that are read before they are dealt with, and dealt with before they are written


class _Done(NamedTuple):
    """latency: seconds from when the frame was due to when it was segmented; None where none is due."""

    frame: SourceFrame
    step: Stepped
    latency: float | None


def predict_video(
    trained: TrainedNetwork,
    source: VideoSource,
    stepper: Stepper,
    estimator: MotionEstimator,
    runtime: Runtime,
    out: Path,
    *,
    kinds: Sequence[str] = ("pred",),
    video: VideoOutput | None = None,
    is_live: bool = False,
    on_progress: Callable[[int], object] | None = None,
) -> Tally:
    """Segment the frames of a video by a stepper of the trained network, and write what is found to
    <out>/<kind>/<name>.png.

    kinds: `pred`, `rgb` and `compose`, as `segtrain.prediction.predict` says. video: where to write a video of all
    frames. is_live: frames are dealt with at the pace of their time stamps, and those that are too many are dropped.
    on_progress: called with the number of frames dealt with since its last call. Reading and writing go on beside the
    network.

    `source.stop()` ends it as the end of the video does. What is raised leaves what was written until then, whole.

    Raises: InferenceError, where files are there already, or cannot be written, or the network cannot segment a frame;
    FrameError, DataError for a source that cannot be used; MotionError; ValueError for a kind that is none of KINDS.
    """
    files, tally, failures = ViewFiles(out, kinds, trained.classes), Tally(), list[Exception]()
    frames = live(source) if is_live else ahead(source, NUM_AHEAD)
    with ExitStack() as cleanup:
        cleanup.callback(source.stop)
        films = None if video is None else cleanup.enter_context(Films(video))
        done = ahead(_done(frames, stepper, estimator, runtime), NUM_AHEAD)
        for frame, step, latency in _until_failure(done, failures):
            with uninterrupted():
                _write(frame, step.labels.numpy(), trained, files, films)
                tally.add(frame, step, latency)
            if on_progress is not None:
                on_progress(1)
    if failures:
        raise failures[0]
    tally.lost += source.num_lost_at_end
    tally.files, tally.told = files.num_files, tuple(source.told)
    tally.videos = () if films is None else tuple(films.paths)
    return tally


def _until_failure(items: Iterable[_Done], failures: list[Exception]) -> Iterator[_Done]:
    """The items, up to an error of our own, which is kept: it must not undo what was made of those before."""
    try:
        yield from items
    except (SegtrainError, SdcnetError, JobError) as error:
        failures.append(error)


def _done(
    frames: Iterator[SourceFrame], stepper: Stepper, estimator: MotionEstimator, runtime: Runtime
) -> Iterator[_Done]:
    watch = Stopwatch()
    seen, same = tee(frames)  # of which one frame is kept
    steps = stepped(stepper, observed(seen, estimator, runtime, watch), runtime, watch)
    for step, frame in zip(steps, same, strict=True):
        yield _Done(frame, step, None if frame.due is None else perf_counter() - frame.due)


def _write(
    frame: SourceFrame, found: np.ndarray, trained: TrainedNetwork, files: ViewFiles, films: Films | None
) -> None:
    pixels = frame.image
    files.write(frame.name, pixels, found)
    if films is not None:
        films.add(pixels, overlaid(pixels, found, trained.classes), frame.number)
