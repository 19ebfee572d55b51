"""An opened clip to samples: estimate motion, carry labels, say how sure we are. No engine and no files in it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import groupby, islice
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from jobs.errors import ComputeError
from jobs.timing import Stopwatch
from jobs.training.memory import enough_memory
from propagate.carry.carried import Carried, LabelCorrection, judged
from propagate.carry.confidence import match
from propagate.carry.destinations import Destination, End, Walker
from propagate.carry.opened import OpenClip, OpenFrame, told
from propagate.carry.paths import CarryingPath, together
from propagate.carry.resampling import RESAMPLERS, Resampler
from propagate.carry.sample_settings import SampleSettings
from propagate.carry.voting import Side, vote
from propagate.data.sample import (
    ANNOTATED,
    CONFIDENCE_LEVELS,
    FUSED,
    MATCHED,
    PROPAGATED,
    Sample,
    quantize_confidence,
)
from propagate.errors import PropagateError
from propagate.shards.manifest import Failure
from sdcnet.errors import SdcnetError
from sdcnet.motion.estimator import MotionEstimator, Observation

CARRYING = "5"  # how labels are carried: the next number, where that changes, so that no store holds two ways


def propagate_clip(
    opened: OpenClip,
    *,
    ignore_id: int,
    estimator: MotionEstimator,
    path: CarryingPath,
    sample_settings: SampleSettings,
    watch: Stopwatch,
    on_failure: Callable[[Failure], None],
    corrections: Sequence[LabelCorrection] = (),
) -> Iterator[Sample]:
    """The samples of a clip: the annotated frame, then offsets +1, +2, …, then -1, -2, …, of those that are asked for.

    ignore_id: for pixels that are less sure than is asked for. corrections: of what was carried, in their order.
    `on_failure` hears of what the clip lacks before the first sample, and of frames whose motion cannot be estimated,
    or whose labels the memory is too small to carry, which end the clip in their direction.
    """
    clip, pictures = opened.clip, opened.pictures
    for failure in opened.failures:
        on_failure(failure)
    if not pictures:
        return
    size = next(iter(pictures.values())).size

    @contextmanager
    def failing(offset: int) -> Iterator[None]:
        """What goes wrong within is a failure of that offset."""
        doing = "as labels are carried between frames of {}x{}".format(*size)
        try:
            with enough_memory(path.device, doing):
                yield
        except (SdcnetError, ComputeError, PropagateError) as error:
            reason = f"{clip.frames[offset].where}: {told(error)}"
            on_failure(Failure(clip=clip.key, offset=offset, reason=reason))

    observations: dict[int, OpenFrame] = {}
    ends: dict[int, End] = {}  # by direction; 0: the clip's own
    with failing(0):
        if 0 in pictures:
            ends[0] = End(0, clip.key, path.to_device(torch.from_numpy(opened.label)[None, None]))
        if clip.beyond is not None and opened.beyond is not None:
            label = path.to_device(torch.from_numpy(opened.beyond)[None, None])
            ends[1] = End(clip.beyond.offset, clip.beyond.key, label)
        observations = {
            offset: replace(picture, pixels=path.to_device(picture.pixels)) for offset, picture in pictures.items()
        }
    if not observations:
        return
    sample = partial(Sample, group=clip.group, pairing=sample_settings.pairing)
    if sample_settings.makes(0) and 0 in ends:
        yield sample(
            key=clip.key,
            source_key=clip.key,
            offset=0,
            origin=ANNOTATED,
            image=pictures[0].stored(sample_settings.images),
            label=opened.label,
            confidence=np.full(opened.label.shape, CONFIDENCE_LEVELS - 1, np.uint8),
            reason=np.full(opened.label.shape, MATCHED, np.uint8),
        )
    walker = Walker(
        observations=observations,
        estimator=estimator,
        path=path,
        history=sample_settings.history,
        failing=failing,
        watch=watch,
    )
    for direction in (1, -1):
        if direction in ends and clip.beyond is not None:
            places = walker.between(ends.get(0), ends[direction], clip.beyond.reach)
        elif 0 in ends:
            places = walker.beside(ends[0], direction)
        else:
            continue
        places = (place for place in places if sample_settings.passes(place.offset))
        resamplers = {
            end.offset: RESAMPLERS[sample_settings.resample](observations[end.offset].pixels, end.label)
            for end in ends.values()
        }
        at_a_time = 1 if clip.masks else path.at_a_time(size)  # masks that cannot be read end it at their frame
        for batch in _batches(places, at_a_time, sample_settings.makes):
            offsets = [place.offset for place in batch]
            sources = [_sources(place) for place in batch]
            maps: Sequence[Tensor] = ()
            with failing(offsets[0]):
                carried, frames = _carry(
                    batch, resamplers, observations, path, sample_settings, estimator.refinable, watch
                )
                del batch  # before the next is estimated: each displacement holds two flows
                if not sample_settings.makes(offsets[0]):
                    continue
                keys = [clip.frames[offset].key for offset in offsets]
                for correction in corrections:
                    with watch("correction"):
                        carried = correction(carried, _pixels(observations, offsets), keys)
                maps = _on_host(carried, frames, path, sample_settings, ignore_id)
            if not maps:
                break
            for offset, source, of_one in zip(offsets, sources, maps, strict=True):
                with watch("encode"):
                    picture = OpenFrame(of_one[None, 3:]) if len(of_one) > 3 else pictures[offset]
                    image = picture.stored(sample_settings.images)
                yield sample(
                    key=clip.frames[offset].key,
                    image=image,
                    label=of_one[2].numpy(),
                    confidence=of_one[0].numpy(),
                    reason=of_one[1].numpy(),
                    **source,
                )


def _batches(places: Iterator[Destination], most: int, makes: Callable[[int], bool]) -> Iterator[list[Destination]]:
    """The frames, so many at a time, of which all have their labels from the same annotated frames, and all or none
    become samples.
    """
    for _, group in groupby(places, key=lambda place: ({way[0].offset for way in place.ways}, makes(place.offset))):
        while batch := list(islice(group, most)):
            yield batch
            del batch


class _Sources(TypedDict):
    """Where the labels of a sample come from, as it says it."""

    origin: str
    source_key: str
    offset: int
    second_source_key: str
    second_offset: int


def _sources(place: Destination) -> _Sources:
    near, *far = (end for end, _ in place.ways)
    return _Sources(
        origin=FUSED if far else PROPAGATED,
        source_key=near.key,
        offset=place.offset - near.offset,
        second_source_key=far[0].key if far else "",
        second_offset=place.offset - far[0].offset if far else 0,
    )


def _pixels(observations: Mapping[int, Observation], offsets: Sequence[int]) -> Tensor:
    return together([observations[offset].pixels for offset in offsets])


def _carry(
    batch: Sequence[Destination],
    resamplers: Mapping[int, Resampler],
    observations: Mapping[int, Observation],
    path: CarryingPath,
    settings: SampleSettings,
    is_refinable: bool,
    watch: Stopwatch,
) -> tuple[Carried, list[Tensor]]:
    """What comes to the frames, which have their labels from the same annotated frames, and the predicted frames.

    These are [N,3,H,W] uint8, with the pairing 'joint' alone. Displacements that may not be refined on the images leave
    labels where they are, too.
    """
    targets = _pixels(observations, [place.offset for place in batch])
    sides = []
    with watch("confidence"):
        for end in sorted({end for place in batch for end, _ in place.ways}, key=lambda end: end.offset):
            flow = together([way.flow for place in batch for start, way in place.ways if start is end])
            frame = observations[end.offset].pixels
            distances = [abs(place.offset - end.offset) for place in batch]
            sides.append(Side(frame, end.label, flow, match(flow, targets, frame, path), distances))
    frames: list[Tensor] = []
    with watch("warp"):
        if settings.votes and (is_refinable or len(sides) > 1):
            label = vote(targets, sides, path)
        else:
            [resampler] = {resamplers[end.offset] for end, _ in batch[0].ways}
            displacements = [way for place in batch for _, way in place.ways]
            label = resampler.labels(displacements)
            if settings.pairing == "joint":
                frames.append(resampler.frames(displacements))
    with watch("confidence"):
        return judged(label, sides, path), frames


def _on_host(
    carried: Carried, frames: Sequence[Tensor], path: CarryingPath, settings: SampleSettings, ignore_id: int
) -> Sequence[Tensor]:
    """What there is at each frame: [C,H,W] uint8 each.

    The first channel holds levels of confidence, the second reasons, the third label ids, and three more the predicted
    frame, if there is one.
    """
    levels, label = quantize_confidence(carried.confidence), carried.label
    if settings.min_confidence is not None:
        unsure = levels < settings.min_confidence * (CONFIDENCE_LEVELS - 1)
        label = label.masked_fill(unsure, ignore_id)
    return path.to_host(torch.cat((levels, carried.reason, label, *frames), dim=1)).unbind()
