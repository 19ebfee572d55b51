"""A clip that was read: its frames decoded as far as they can be used, its label map, and why the rest cannot."""

import socket
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from jobs.timing import Stopwatch
from propagate.data.classes import ClassTable
from propagate.data.clip import Beyond, Clip, CodedFrame, Frame, Label
from propagate.data.images import decode_frame, encode_png, read_label
from propagate.errors import InputError, UnreachableError
from propagate.shards.manifest import Failure
from sdcnet.motion.vectors import CellFlow


@dataclass(frozen=True)
class OpenFrame:
    """An observation of a frame, `pixels` [1,3,H,W] uint8 RGB, and the bytes that these were decoded from, if any."""

    pixels: Tensor
    encoded: bytes | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.pixels.shape[-2], self.pixels.shape[-1]

    def stored(self, form: str) -> bytes | np.ndarray:
        """As a shard takes it: the source's own bytes where there are any, or [H,W,3] uint8 if it wants raw ones."""
        if form == "encoded" and self.encoded is not None:
            return self.encoded
        pixels = np.ascontiguousarray(self.pixels[0].permute(1, 2, 0).numpy())
        return encode_png(pixels) if form == "encoded" else pixels


@dataclass(frozen=True)
class OpenCodedFrame(OpenFrame):
    """The same of a video, and the flow to the frame before it that the codec stored: a `CodedObservation`."""

    to_previous: CellFlow | None = None


@dataclass(frozen=True)
class OpenClip:
    """A clip that was read: pictures by offset, without that at offset 0 where it or its label map cannot be used; its
    label map [H,W] uint8, or [0,0] where there is none; why frames could not be used, and whether another machine may
    be able to read what this one cannot reach.

    beyond: [H,W] uint8, the label map of the annotated frame beyond, whose picture is there too then; None where the
    clip has none, or it cannot be used. From each of the two that can, pictures reach up to a frame that cannot be.
    """

    clip: Clip
    pictures: dict[int, OpenFrame]
    label: np.ndarray
    failures: tuple[Failure, ...]
    unreachable: bool
    beyond: np.ndarray | None = None


def told(error: Exception) -> str:
    """What an error says, with the name of this machine where it is one that another perhaps does not have."""
    return f"{error} on {socket.gethostname()}" if isinstance(error, UnreachableError) else str(error)


def open_clip(
    clip: Clip, classes: ClassTable, watch: Stopwatch, *, num_threads: int = 1, with_vectors: bool = False
) -> OpenClip:
    """Read a clip's frames and its label map; frames in so many threads, and of videos with the codec's motion if so.

    A frame that is missing, unreadable or of another size ends the clip in its direction, also from the annotated frame
    beyond; where that or its label map cannot be used, the clip goes as far as its own labels are carried. Where an
    annotated frame or label map of its own cannot be, what labels come to from beyond is left, if there is any. In a
    clip without a label map no frame ends it. What this machine cannot reach is said with its name.
    """
    failures = [Failure(clip=clip.key, offset=offset, reason=reason) for offset, reason in clip.missing.items()]
    unreachable = False

    def fail(offset: int, error: InputError) -> None:
        nonlocal unreachable
        unreachable |= isinstance(error, UnreachableError)
        failures.append(Failure(clip=clip.key, offset=offset, reason=told(error)))

    pictures: dict[int, OpenFrame] = {}
    label = np.empty((0, 0), np.uint8)
    beyond: np.ndarray | None = None
    if clip.label is None:
        with watch("decode"), _decoder(clip, num_threads, with_vectors) as decoded:
            pictures = _decode_each(clip, decoded, fail)
    elif 0 in clip.frames:
        with watch("decode"), _decoder(clip, num_threads, with_vectors) as decoded:
            try:
                source = decoded(0)
                label = read_label_of(clip.label, classes, source.size)
                pictures[0] = source
                usable = partial(_decode_usable, clip, source.size, decoded, fail)
                if clip.beyond is None:
                    pictures |= usable(sorted(offset for offset in clip.frames if offset > 0))
                else:
                    between, beyond = _decode_between(clip.beyond, classes, source.size, usable, fail)
                    pictures |= between
                pictures |= usable(sorted((offset for offset in clip.frames if offset < 0), reverse=True))
            except InputError as error:
                fail(0, error)
                if clip.beyond is not None:
                    pictures, beyond = _decode_back(clip, clip.beyond, classes, decoded, fail)
    return OpenClip(clip, pictures, label, tuple(failures), unreachable, beyond)


def read_label_of(label_map: Label, classes: ClassTable, size: tuple[int, int]) -> np.ndarray:
    """[H,W] uint8 label ids. Raises: InputError, also where they are not of the frame's size."""
    label = read_label(label_map, classes)
    if label.shape != size:
        raise InputError(
            str(label_map.resource),
            f"label map of {_by(label.shape)} for a frame of {_by(size)}: they must have one size",
        )
    return label


@contextmanager
def _decoder(clip: Clip, num_threads: int, with_vectors: bool) -> Iterator[Callable[[int], OpenFrame]]:
    """What decodes the frame at an offset, or raises InputError: when it is asked to, or ahead of that, in threads.

    Those that are not asked for in the end, as there is a bad one before them, are decoded in vain at most.
    """
    if num_threads == 1:
        yield lambda offset: _decode(clip.frames[offset], with_vectors)
        return
    first = (0,) if clip.beyond is None else (0, clip.beyond.offset)
    as_asked_for = sorted(clip.frames, key=lambda offset: (offset not in first, offset < 0, abs(offset)))
    with ThreadPoolExecutor(num_threads) as threads:
        coming = {offset: threads.submit(_decode, clip.frames[offset], with_vectors) for offset in as_asked_for}
        try:
            yield lambda offset: coming[offset].result()
        finally:
            threads.shutdown(cancel_futures=True)


def _decode(frame: Frame, with_vectors: bool) -> OpenFrame:
    """Raises: InputError."""
    if with_vectors and isinstance(frame, CodedFrame):
        to_previous = frame.to_previous()  # first: pixels are decoded with it
        return OpenCodedFrame(_to_tensor(frame.pixels()), to_previous=to_previous)
    encoded = frame.encoded()
    pixels = frame.pixels() if encoded is None else decode_frame(encoded, frame.where)  # never read twice
    return OpenFrame(_to_tensor(pixels), encoded)


def _to_tensor(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()


def _decode_each(
    clip: Clip, decoded: Callable[[int], OpenFrame], fail: Callable[[int, InputError], None]
) -> dict[int, OpenFrame]:
    """The frames that can be used, which are those of the size of the first one: outwards, those after offset 0 first.

    None depends on another, as nothing is carried from one to the next.
    """
    pictures: dict[int, OpenFrame] = {}
    for offset in sorted(clip.frames, key=lambda offset: (offset < 0, abs(offset))):
        size = next((picture.size for picture in pictures.values()), None)
        try:
            pictures[offset] = _decode_of(clip, size, decoded, offset)
        except InputError as error:
            fail(offset, error)
    return pictures


def _decode_of(clip: Clip, size: tuple[int, int] | None, decoded: Callable[[int], OpenFrame], offset: int) -> OpenFrame:
    """The frame at an offset. Raises: InputError, also where it is not of the clip's size, if that is known."""
    picture = decoded(offset)
    if size is not None and picture.size != size:
        other = "the first frame of its clip" if clip.label is None else "its annotated frame"
        raise InputError(
            clip.frames[offset].where,
            f"frame of {_by(picture.size)}, {other} has {_by(size)}: they must have one size",
        )
    return picture


def _decode_usable(
    clip: Clip,
    size: tuple[int, int],
    decoded: Callable[[int], OpenFrame],
    fail: Callable[[int, InputError], None],
    offsets: Iterable[int],
) -> dict[int, OpenFrame]:
    """The frames at these offsets, up to the first that cannot be used."""
    pictures: dict[int, OpenFrame] = {}
    for offset in offsets:
        try:
            pictures[offset] = _decode_of(clip, size, decoded, offset)
        except InputError as error:
            fail(offset, error)
            break
    return pictures


def _decode_between(
    beyond: Beyond,
    classes: ClassTable,
    size: tuple[int, int],
    usable: Callable[[Iterable[int]], dict[int, OpenFrame]],
    fail: Callable[[int, InputError], None],
) -> tuple[dict[int, OpenFrame], np.ndarray | None]:
    """The frames up to the annotated one beyond, as far as they can be used from either end, and its label map."""
    far = usable([beyond.offset])
    label: np.ndarray | None = None
    if far:
        try:
            label = read_label_of(beyond.label, classes, size)
        except InputError as error:
            fail(beyond.offset, error)
    if label is None:
        return usable(range(1, min(beyond.reach + 1, beyond.offset))), None
    near = usable(range(1, beyond.offset))
    unusable = len(near) + 1  # where all can be used, the frame beyond, and nothing is left
    far |= usable(range(beyond.offset - 1, unusable, -1))
    return near | dict(sorted(far.items())), label


def _decode_back(
    clip: Clip,
    beyond: Beyond,
    classes: ClassTable,
    decoded: Callable[[int], OpenFrame],
    fail: Callable[[int, InputError], None],
) -> tuple[dict[int, OpenFrame], np.ndarray | None]:
    """The annotated frame beyond, those that labels come to from there alone, and its label map, if usable."""
    try:
        annotated = decoded(beyond.offset)
        label = read_label_of(beyond.label, classes, annotated.size)
    except InputError as error:
        fail(beyond.offset, error)
        return {}, None
    before = range(beyond.offset - 1, max(0, beyond.offset - beyond.reach - 1), -1)
    pictures = {beyond.offset: annotated, **_decode_usable(clip, annotated.size, decoded, fail, before)}
    return dict(sorted(pictures.items())), label


def _by(size: tuple[int, ...]) -> str:
    return f"{size[0]}x{size[1]}"
