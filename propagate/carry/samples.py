"""An opened clip to samples: estimate motion, carry labels, say how sure we are. No engine and no files in it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from jobs.errors import ComputeError
from jobs.timing import Stopwatch
from jobs.training.memory import enough_memory
from propagate.carry.confidence import confidence, evidence, reasons
from propagate.carry.opened import OpenClip, OpenFrame
from propagate.carry.paths import CarryingPath, together
from propagate.carry.resampling import RESAMPLERS, Resampler
from propagate.carry.sample_settings import SampleSettings
from propagate.carry.walk import Displacement, walk
from propagate.data.sample import ANNOTATED, CONFIDENCE_LEVELS, MATCHED, PROPAGATED, Sample, quantize_confidence
from propagate.shards.manifest import Failure
from sdcnet.errors import SdcnetError
from sdcnet.motion.estimator import MotionEstimator, Observation

CARRYING = "3"  # how labels are carried: the next number, where that changes, so that no store holds two ways
_Failing = Callable[[int], AbstractContextManager[None]]


def propagate_clip(
    opened: OpenClip,
    *,
    ignore_id: int,
    estimator: MotionEstimator,
    path: CarryingPath,
    sample_settings: SampleSettings,
    watch: Stopwatch,
    on_failure: Callable[[Failure], None],
) -> Iterator[Sample]:
    """The samples of a clip: the annotated frame, then offsets +1, +2, …, then -1, -2, ….

    ignore_id: for pixels that are less sure than is asked for.
    `on_failure` hears of what the clip lacks before the first sample, and of frames whose motion cannot be estimated,
    or whose labels the memory is too small to carry, which end the clip in their direction.
    """
    clip, pictures, label = opened.clip, opened.pictures, opened.label
    for failure in opened.failures:
        on_failure(failure)
    if not pictures:
        return
    source = pictures[0]

    @contextmanager
    def failing(offset: int) -> Iterator[None]:
        """What goes wrong within is a failure of that offset."""
        doing = "as labels are carried between frames of {}x{}".format(*source.size)
        try:
            with enough_memory(path.device, doing):
                yield
        except (SdcnetError, ComputeError) as error:
            reason = f"{clip.frames[offset].where}: {error}"
            on_failure(Failure(clip=clip.key, offset=offset, reason=reason))

    observations: dict[int, OpenFrame] = {}
    with failing(0):
        annotated_label = path.to_device(torch.from_numpy(label)[None, None])
        observations = {
            offset: replace(picture, pixels=path.to_device(picture.pixels)) for offset, picture in pictures.items()
        }
    if not observations:
        return
    sample = partial(Sample, source_key=clip.key, group=clip.group, pairing=sample_settings.pairing)
    if sample_settings.source:
        sure = np.full(label.shape, CONFIDENCE_LEVELS - 1, np.uint8)
        image = source.stored(sample_settings.images)
        yield sample(
            key=clip.key,
            offset=0,
            origin=ANNOTATED,
            image=image,
            label=label,
            confidence=sure,
            reason=np.full(label.shape, MATCHED, np.uint8),
        )
    for direction in (1, -1):
        resampler = RESAMPLERS[sample_settings.resample](observations[0].pixels, annotated_label)
        displacements = _up_to_failure(
            walk(observations, direction, estimator, path, sample_settings.history),
            [offset for offset in pictures if offset * direction > 0],
            failing,
            watch,
        )
        while batch := list(islice(displacements, path.at_a_time(source.size))):
            offsets = [displacement.offset for displacement in batch]
            carried: Sequence[Tensor] = ()
            with failing(offsets[0]):
                carried = _carry(batch, resampler, observations, path, sample_settings, ignore_id, watch)
            if not carried:
                break
            del batch  # before the next is estimated: each displacement holds two flows
            for offset, maps in zip(offsets, carried, strict=True):
                with watch("encode"):
                    picture = OpenFrame(maps[None, 3:]) if len(maps) > 3 else pictures[offset]
                    image = picture.stored(sample_settings.images)
                yield sample(
                    key=clip.frames[offset].key,
                    offset=offset,
                    origin=PROPAGATED,
                    image=image,
                    label=maps[2].numpy(),
                    confidence=maps[0].numpy(),
                    reason=maps[1].numpy(),
                )


def _up_to_failure(
    displacements: Iterator[Displacement], offsets: Sequence[int], failing: _Failing, watch: Stopwatch
) -> Iterator[Displacement]:
    """The displacements at these offsets, which end with the first that cannot be estimated."""
    for offset in offsets:
        displacement = None
        with failing(offset), watch("motion"):
            displacement = next(displacements)
        if displacement is None:
            return
        yield displacement


def _carry(
    batch: Sequence[Displacement],
    resampler: Resampler,
    observations: Mapping[int, Observation],
    path: CarryingPath,
    settings: SampleSettings,
    ignore_id: int,
    watch: Stopwatch,
) -> Sequence[Tensor]:
    """What there is at each of the displacements, on the host: [C,H,W] uint8.

    The first channel holds levels of confidence, the second reasons, the third label ids, and three more the predicted
    frame, with the pairing 'joint'.
    """
    with watch("warp"):
        maps = [resampler.labels(batch)]
        if settings.pairing == "joint":
            maps.append(resampler.frames(batch))
    with watch("confidence"):
        flows = together([displacement.flow for displacement in batch])
        targets = together([observations[displacement.offset].pixels for displacement in batch])
        found = evidence(flows, targets, observations[0].pixels, maps[0], path)
        levels, reason = quantize_confidence(confidence(found)), reasons(found, path)
        if settings.min_confidence is not None:
            unsure = levels < settings.min_confidence * (CONFIDENCE_LEVELS - 1)
            maps[0] = maps[0].masked_fill(unsure, ignore_id)
        return path.to_host(torch.cat((levels, reason, *maps), dim=1)).unbind()
