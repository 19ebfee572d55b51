"""Frames as steppers see them: normalised, with the motion that leads to the frame before, where one does."""

from collections.abc import Iterable, Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from jobs.timing import Stopwatch
from jobs.training.runtime import Runtime
from sdcnet.motion.estimator import (
    CodedObservation,
    MotionEstimator,
    Observation,
    ObservedInVideo,
    flow_between,
)
from sdcnet.motion.vectors import CELL, CellFlow
from segtrain.errors import InferenceError
from segtrain.models.preprocessing import normalised
from segtrain.video.sources import SourceFrame
from segtrain.video.stepper import Motion, Seen

CUT = 0.5  # of the frames' mean brightness: frames that differ by more, on average, are of two scenes
CUT_CELL = 16  # pixels along each side, over which frames are averaged before
LEAST_KNOWN = 0.5  # of a codec's cells: where it found less, there was nothing to find


def observed(
    frames: Iterable[Observation], estimator: MotionEstimator, runtime: Runtime, watch: Stopwatch
) -> Iterator[Seen]:
    """The frames of one video in their order. Motion is found where a stepper asks for it, on `watch` as "motion".

    It is that of the codec where a frame has one (`CodedObservation`), else the estimator's.
    frames: a `SourceFrame` says its number, and what else its source knows; others are counted. Only the last is kept.
    Raises: InferenceError for an estimator that reads more than one frame before.
    """
    if estimator.num_history > 1:
        raise InferenceError(
            f"this motion is made of {estimator.num_history} frames before, and a scheme keeps one; choose another, "
            "such as --motion dis"
        )
    previous: Observation | None = None
    for number, frame in enumerate(frames):
        known = frame if isinstance(frame, SourceFrame) else SourceFrame(number=number, name="", pixels=frame.pixels)
        cells = frame.to_previous if isinstance(frame, CodedObservation) else None
        is_new = known.is_new or previous is None or is_cut(previous.pixels, frame.pixels)
        is_new |= cells is not None and cells.share_known < LEAST_KNOWN
        image = normalised(frame.pixels.to(runtime.device))
        find_motion = partial(_motion, previous, frame, estimator, runtime, watch)
        find_back = partial(_motion_back, previous, frame, estimator, runtime, watch)
        yield Seen(known.number, image, known.is_key, is_new, find_motion, find_back)
        previous = frame


def is_cut(previous: Tensor, frame: Tensor) -> bool:
    """Whether nothing leads from one frame to the other, [1,3,H,W] uint8 both: another size, or another scene."""
    if previous.shape != frame.shape:
        return True
    before, now = (
        functional.avg_pool2d(pixels.float(), min(CUT_CELL, *pixels.shape[-2:])) for pixels in (previous, frame)
    )
    return bool((now - before).abs().mean() > CUT * (now + before).mean() / 2)


def _motion(
    previous: Observation | None, frame: Observation, estimator: MotionEstimator, runtime: Runtime, watch: Stopwatch
) -> Motion:
    if previous is None:
        raise ValueError("nothing is before the first frame: it has no motion")
    with watch("motion"):
        if isinstance(frame, CodedObservation) and frame.to_previous is not None:
            return _of_codec(frame.to_previous, runtime)
        flow = flow_between(estimator, previous, frame).to(runtime.device)
        return Motion(flow, torch.ones_like(flow[:, :1], dtype=torch.bool))


def _motion_back(
    previous: Observation | None, frame: Observation, estimator: MotionEstimator, runtime: Runtime, watch: Stopwatch
) -> Tensor | None:
    if previous is None or (isinstance(frame, CodedObservation) and frame.to_previous is not None):
        return None
    source, target = (ObservedInVideo(seen.pixels, None) for seen in (frame, previous))
    with watch("motion"):
        return flow_between(estimator, source, target).to(runtime.device)


def _of_codec(cells: CellFlow, runtime: Runtime) -> Motion:
    """Of cells where they part the frame evenly, else of pixels."""
    height, width = cells.size
    known = cells.known[None, None]
    if height % CELL or width % CELL:
        flow = cells.dense()
        known = known.repeat_interleave(CELL, dim=2).repeat_interleave(CELL, dim=3)[..., :height, :width]
    else:
        flow = cells.filled()[None]
    return Motion(flow.to(runtime.device), known.to(runtime.device))
