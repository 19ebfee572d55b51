"""An opened clip to samples: estimate motion, carry labels, say how sure we are. No engine and no files in it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from jobs.errors import ComputeError
from jobs.timing import Stopwatch
from propagate.carry.confidence import confidence
from propagate.carry.opened import OpenClip, OpenFrame
from propagate.carry.paths import CarryingPath
from propagate.carry.resampling import RESAMPLERS
from propagate.carry.sample_settings import SampleSettings
from propagate.carry.walk import walk
from propagate.data.classes import ClassTable
from propagate.data.sample import ANNOTATED, CONFIDENCE_LEVELS, PROPAGATED, Sample, quantize_confidence
from propagate.shards.manifest import Failure
from sdcnet.errors import SdcnetError
from sdcnet.motion.estimator import MotionEstimator

CARRYING = "2"  # how labels are carried: the next number, where that changes, so that no store holds two ways


def propagate_clip(
    opened: OpenClip,
    *,
    classes: ClassTable,
    estimator: MotionEstimator,
    path: CarryingPath,
    sample_settings: SampleSettings,
    watch: Stopwatch,
    on_failure: Callable[[Failure], None],
) -> Iterator[Sample]:
    """The samples of a clip: the annotated frame, then offsets +1, +2, …, then -1, -2, ….

    `on_failure` hears of what the clip lacks before the first sample, and of frames whose motion cannot be estimated,
    which end the clip in their direction.
    """
    clip, pictures, label = opened.clip, opened.pictures, opened.label
    for failure in opened.failures:
        on_failure(failure)
    if not pictures:
        return
    source = pictures[0]
    sample = partial(Sample, source_key=clip.key, group=clip.group, pairing=sample_settings.pairing)
    if sample_settings.source:
        sure = np.full(label.shape, CONFIDENCE_LEVELS - 1, np.uint8)
        image = source.stored(sample_settings.images)
        yield sample(key=clip.key, offset=0, origin=ANNOTATED, image=image, label=label, confidence=sure)
    observations = {
        offset: replace(picture, pixels=path.to_device(picture.pixels)) for offset, picture in pictures.items()
    }
    annotated, annotated_label = observations[0].pixels, path.to_device(torch.from_numpy(label)[None, None])
    for direction in (1, -1):
        resampler = RESAMPLERS[sample_settings.resample](annotated, annotated_label)
        displacements = walk(observations, direction, estimator, path, sample_settings.history)
        for offset in (offset for offset in pictures if offset * direction > 0):
            with watch("motion"):
                try:
                    displacement = next(displacements)
                except (SdcnetError, ComputeError) as error:
                    reason = f"{clip.frames[offset].where}: {error}"
                    on_failure(Failure(clip=clip.key, offset=offset, reason=reason))
                    break
            with watch("warp"):
                maps = [resampler.label(displacement)]
                if sample_settings.pairing == "joint":
                    maps.append(resampler.frame(displacement))
            with watch("confidence"):
                levels = quantize_confidence(
                    confidence(displacement.flow, observations[offset].pixels, annotated, path)
                )
                if sample_settings.min_confidence is not None:
                    unsure = levels < sample_settings.min_confidence * (CONFIDENCE_LEVELS - 1)
                    maps[0] = maps[0].masked_fill(unsure, classes.ignore_id)
                together = path.to_host(torch.cat((levels, *maps), dim=1))
            with watch("encode"):
                picture = pictures[offset] if len(maps) == 1 else OpenFrame(together[:, 2:])
                image = picture.stored(sample_settings.images)
            yield sample(
                key=clip.frames[offset].key,
                offset=offset,
                origin=PROPAGATED,
                image=image,
                label=together[0, 1].numpy(),
                confidence=together[0, 0].numpy(),
            )
            del displacement  # before the next is estimated: it holds two flows
