"""A clip to samples: decode, estimate motion, carry labels, say how sure we are. No engine and no files in it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from jobs.errors import ComputeError
from jobs.timing import Stopwatch
from propagate.carry.confidence import confidence
from propagate.carry.recipe import Recipe
from propagate.carry.resampling import RESAMPLERS
from propagate.carry.walk import walk
from propagate.data.classes import ClassTable
from propagate.data.clip import Clip
from propagate.data.images import decode_frame, encode_png, read_label
from propagate.data.sample import CONFIDENCE_LEVELS, Sample, quantize_confidence
from propagate.errors import InputError
from propagate.shards.manifest import Failure
from sdcnet.errors import SdcnetError
from sdcnet.motion.estimator import MotionEstimator


@dataclass(frozen=True)
class _Picture:
    """A frame, [1,3,H,W] uint8, and the bytes it was decoded from, if it was."""

    pixels: Tensor
    encoded: bytes | None = None

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels.shape[-2], self.pixels.shape[-1]

    def stored(self, form: str) -> bytes | np.ndarray:
        """As a shard takes it: the source's own bytes where there are any, or [H,W,3] uint8 if it wants raw ones."""
        if form == "encoded" and self.encoded is not None:
            return self.encoded
        pixels = np.ascontiguousarray(self.pixels[0].permute(1, 2, 0).numpy())
        return encode_png(pixels) if form == "encoded" else pixels


@dataclass(frozen=True)
class OpenClip:
    """A clip whose files were read: pictures by offset, none where the annotated frame cannot be used; its label map
    [H,W] uint8; and why files could not be used.
    """

    clip: Clip
    pictures: dict[int, _Picture]
    label: np.ndarray
    failures: tuple[Failure, ...]


def open_clip(clip: Clip, classes: ClassTable, watch: Stopwatch) -> OpenClip:
    """Read a clip's files.

    A frame that is missing, unreadable or of another size ends the clip in its direction; an annotated frame or label
    map that cannot be used ends it altogether.
    """
    failures: list[Failure] = []

    def fail(offset: int, reason: str) -> None:
        failures.append(Failure(clip=clip.key, offset=offset, reason=reason))

    for offset, reason in clip.missing.items():
        fail(offset, reason)
    pictures: dict[int, _Picture] = {}
    label = np.empty((0, 0), np.uint8)
    if 0 in clip.frames:
        with watch("decode"):
            try:
                source = _decode(clip, 0)
                label = read_label(clip.label, classes)
                if label.shape != source.size:
                    raise InputError(
                        str(clip.label.resource),
                        f"label map of {_by(label.shape)} for a frame of {_by(source.size)}: they must have one size",
                    )
                pictures[0] = source
                for direction in (1, -1):
                    pictures |= _decode_outwards(clip, direction, source.size, fail)
            except InputError as error:
                fail(0, str(error))
    return OpenClip(clip, pictures, label, tuple(failures))


def propagate_clip(
    opened: OpenClip,
    *,
    classes: ClassTable,
    estimator: MotionEstimator,
    recipe: Recipe,
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
    frames = {offset: picture.pixels for offset, picture in pictures.items()}
    sample = partial(Sample, source_key=clip.key, group=clip.group, pairing=recipe.pairing)
    if recipe.source:
        sure = np.full(label.shape, CONFIDENCE_LEVELS - 1, np.uint8)
        yield sample(key=clip.key, offset=0, image=source.stored(recipe.images), label=label, confidence=sure)
    for direction in (1, -1):
        resampler = RESAMPLERS[recipe.resample](source.pixels, torch.from_numpy(label)[None, None])
        displacements = walk(frames, direction, estimator, recipe.history)
        for offset in (offset for offset in frames if offset * direction > 0):
            with watch("motion"):
                try:
                    displacement = next(displacements)
                except (SdcnetError, ComputeError) as error:
                    reason = f"{clip.frames[offset].image}: {error}"
                    on_failure(Failure(clip=clip.key, offset=offset, reason=reason))
                    break
            with watch("warp"):
                label_map = resampler.label(displacement)[0, 0].numpy()
                predicted = resampler.frame(displacement) if recipe.pairing == "joint" else None
            with watch("confidence"):
                sure = quantize_confidence(confidence(displacement, frames[offset], source.pixels)[0, 0].numpy())
                if recipe.min_confidence is not None:
                    unsure = sure < recipe.min_confidence * (CONFIDENCE_LEVELS - 1)
                    label_map = np.where(unsure, np.uint8(classes.ignore_id), label_map)
            with watch("encode"):
                picture = pictures[offset] if predicted is None else _Picture(predicted)
                image = picture.stored(recipe.images)
            yield sample(key=clip.frames[offset].key, offset=offset, image=image, label=label_map, confidence=sure)
            del displacement  # before the next is estimated: it holds three flows


def _decode(clip: Clip, offset: int) -> _Picture:
    resource = clip.frames[offset].image
    encoded = resource.read()
    pixels = torch.from_numpy(decode_frame(encoded, str(resource)))
    return _Picture(pixels.permute(2, 0, 1)[None].contiguous(), encoded)


def _decode_outwards(
    clip: Clip, direction: int, size: tuple[int, int], fail: Callable[[int, str], None]
) -> dict[int, _Picture]:
    """The neighbours on one side, up to the first that cannot be used."""
    pictures: dict[int, _Picture] = {}
    offset = direction
    while offset in clip.frames:
        try:
            picture = _decode(clip, offset)
            if picture.size != size:
                raise InputError(
                    str(clip.frames[offset].image),
                    f"frame of {_by(picture.size)}, its annotated frame has {_by(size)}: they must have one size",
                )
        except InputError as error:
            fail(offset, str(error))
            break
        pictures[offset] = picture
        offset += direction
    return pictures


def _by(size: tuple[int, ...]) -> str:
    return f"{size[0]}x{size[1]}"
