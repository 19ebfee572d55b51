"""A video read forward, once: from a file or from a stream of bytes that may never end, in constant memory."""

import logging
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import av
import numpy as np

from jobs.image_limit import require_few_pixels
from sdcnet.errors import FrameError
from sdcnet.frames.exported import NOT_EXPORTED, VectorSource
from sdcnet.frames.opening import FORWARD, is_cut_off, open_video

NOT_ASKED_FOR = "vectors were not asked for"
DAMAGED = "a damaged packet"
CUT_OFF = "the file is cut off"
Kind = Literal["lost", "resized", "without vectors", "ends early"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Incident:
    """What went wrong in a stream, and what was done. `sentence` says both.

    kind: 'lost', frames that cannot be decoded; 'resized', frames of another size from here on; 'without vectors', a
    codec that exports none; 'ends early', the end of a stream that should be longer. number: of the first frame
    concerned; num_frames: how many are lost.
    """

    kind: Kind
    number: int
    num_frames: int
    sentence: str


@dataclass(frozen=True)
class StreamedFrame:
    """One frame, in the order in which they are shown.

    number: counted from 0, lost frames included, so that a gap tells of them. seconds: since the first frame, or None
    where the stream has no time stamps. pixels: [H,W,3] uint8 RGB. is_key: whether it is an I-frame. vectors: records
    [N] of `sdcnet.frames.exported.RECORD` that all lead to the frame numbered one less, or None; without_vectors says
    why then. incidents: what happened right before it.
    """

    number: int
    seconds: float | None
    pixels: np.ndarray
    is_key: bool
    vectors: np.ndarray | None
    without_vectors: str | None
    incidents: tuple[Incident, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.pixels.shape[0], self.pixels.shape[1]


@dataclass
class _Resumption:
    """Decoding begun anew after damage, at a key frame with that time stamp, None where there are none.

    number: of the key frame: how many frames are stored before it, and, of those after it, shown before it.
    """

    damage: str
    time: int | None
    number: int

    def count(self, packet: Any) -> None:
        self.number += self.is_before(packet) and not packet.is_discard

    def is_before(self, stored: Any) -> bool:
        """Whether a packet or a frame is shown before the key frame. Its decoder may lack what it is made of."""
        return self.time is not None and stored.pts is not None and stored.pts < self.time


class FrameStream:
    """The frames of the first video stream of a source, each decoded once; to be iterated once.

    source: a file, or a binary stream that is open for reading; of a pipe, nothing is read twice, and nothing ahead of
    what the decoder needs. with_vectors: whether the decoder exports motion vectors, which takes time.

    Whatever goes wrong on the way is an `Incident`, which is logged as a warning: with the frame where reading goes on,
    or, once iteration has ended, as `ending`. After a damaged packet, reading goes on at the next key frame. Numbers
    after lost frames count packets, of which a container, or a decoder of MPEG-2, may itself leave out damaged ones
    without a word.

    Raises: FrameError, here and on the first frame, for a source that cannot be opened, without a video stream, or of
    which no frame can be decoded; on a frame that is too large.
    """

    def __init__(self, source: Path | BinaryIO, *, with_vectors: bool = False) -> None:
        self._remedy = "copy it again, or leave it out"
        if isinstance(source, Path):
            self.name = str(source)
        else:
            name = getattr(source, "name", None)  # of a pipe it is a number
            self.name, self._remedy = name if isinstance(name, str) else "the stream", FORWARD
        self._path = source if isinstance(source, Path) else None
        self.ending: Incident | None = None
        self._container = open_video(source, self.name)
        self._stream = self._container.streams.video[0]
        self._context = self._stream.codec_context
        require_few_pixels(self._stream.height, self._stream.width, self.name, FrameError)
        self._vectors = VectorSource(self._context) if with_vectors else None
        self._next = 0  # the number of the frame that comes next
        self._num_packets = self._num_hidden = 0  # of frames that are shown, and of those that are not
        self._resumption: _Resumption | None = None  # after lost frames, until one is there again
        self._first_seconds: float | None = None
        self._size: tuple[int, int] | None = None
        self._waiting: list[Incident] = []  # told with the next frame
        self._broken: str | None = None  # why the container cannot be read on
        self._says_without = with_vectors

    @property
    def codec(self) -> str:
        """FFmpeg's name of the decoder."""
        return str(self._context.name)

    @property
    def rate(self) -> float | None:
        """Frames a second, as the container says, if it does."""
        rate = self._stream.average_rate or self._stream.guessed_rate
        return float(rate) if rate else None

    def close(self) -> None:
        self._container.close()

    def __iter__(self) -> Iterator[StreamedFrame]:
        damage: str | None = None  # since when a key frame is waited for
        try:
            for packet in self._packets():
                if damage is not None and packet is not None and packet.is_keyframe and not packet.is_corrupt:
                    self._resume(packet, damage)
                    damage = None
                if self._resumption is not None and packet is not None:
                    self._resumption.count(packet)
                if damage is None:
                    damage = yield from self._decoded(packet)
                    if damage is not None:
                        _log.warning("%s: %s at frame %d; waiting for a key frame", self.name, damage, self._next)
                if packet is not None:
                    self._num_packets += not packet.is_discard
                    self._num_hidden += packet.is_discard
            self._end(damage)
        finally:
            self.close()

    def _packets(self) -> Iterator[Any]:
        """All packets that hold something, and None at the end, also where the container breaks off."""
        try:
            for packet in self._container.demux(self._stream):
                if packet.size:
                    yield packet
                else:
                    self._num_hidden += packet.pts is not None  # as AVI says that a frame is the one before once more
        except (av.FFmpegError, OSError) as error:
            self._broken = error.strerror
        yield None

    def _decoded(self, packet: Any) -> Generator[StreamedFrame, None, str | None]:
        """The frames that a packet completes, or that remain at the end; returns what damage was met, if any."""
        damage = None
        if packet is not None and packet.is_corrupt:
            frames, damage = self._drained(), DAMAGED
        elif packet is None:
            frames = self._drained()
        else:
            if self._vectors is not None:
                self._vectors.take(packet)
            try:
                frames = self._context.decode(packet)
            except av.FFmpegError as error:
                frames, damage = self._drained(), f"{DAMAGED} ({error.strerror})"
        for frame in frames:
            if frame.is_corrupt:
                return DAMAGED
            if (made := self._made(frame)) is not None:
                yield made
        return damage

    def _drained(self) -> list[Any]:
        """The frames that were decoded, but not shown yet."""
        with suppress(av.FFmpegError):
            return list(self._context.decode(None))
        return []

    def _resume(self, packet: Any, damage: str) -> None:
        """Begin to decode anew at a key frame."""
        self._context.flush_buffers()
        self._forget_before()
        self._resumption = _Resumption(damage, packet.pts, self._num_packets)

    def _end(self, damage: str | None) -> None:
        """Say whether the stream ended where it should. Raises: FrameError where nothing came of it."""
        if self._resumption is not None:
            damage = damage or self._resumption.damage
        if not self._next:
            found = damage or self._broken or "it holds none"
            reason = f"no frame can be decoded ({found}); {self._remedy}"
            raise FrameError(self.name, reason)
        cause = damage or self._broken or (CUT_OFF if self._path is not None and is_cut_off(self._path) else None)
        num_expected = max(self._stream.frames - self._num_hidden, self._num_packets if damage else 0)
        if not num_expected and cause is not None and self._container.duration is not None:
            num_expected = round(self._container.duration / av.time_base * (self.rate or 0))
        if cause == CUT_OFF and num_expected <= self._next:
            return  # what is missing is no frame, but an index
        if cause is None and num_expected <= self._next:
            return
        num_lost = max(0, num_expected - self._next)
        missing = f"{_frames(self._next, num_expected)} not there" if num_lost else "it breaks off"
        sentence = f"ends early ({cause or 'its container promises more'}): {missing}; those before are used"
        self.ending = Incident("ends early", self._next, num_lost, sentence)
        _log.warning("%s: %s", self.name, sentence)

    def _made(self, frame: Any) -> StreamedFrame | None:
        """The frame as it is given on; None for one that is shown before the key frame where decoding began anew."""
        if self._resumption is not None:
            if self._resumption.is_before(frame):
                return None
            first, self._next = self._next, max(self._next, self._resumption.number)
            if num_lost := self._next - first:
                told = f"{_frames(first, self._next)} lost; read on at the next key frame, {self._next}"
                self._tell("lost", first, num_lost, f"{self._resumption.damage}: {told}")
            self._resumption = None
        size = frame.height, frame.width
        if size != self._size:
            self._resize(size)
        vectors, without = (None, NOT_ASKED_FOR) if self._vectors is None else self._vectors.of(frame)
        if without == NOT_EXPORTED and self._says_without:
            self._says_without = False
            reason = f"{self.codec} exports no motion vectors; estimate motion on the frames, or encode as MPEG-4"
            self._tell("without vectors", self._next, 0, reason)
        seconds = None if frame.pts is None else float(frame.pts * self._stream.time_base)
        if self._first_seconds is None:
            self._first_seconds = seconds
        incidents, self._waiting = tuple(self._waiting), []
        self._next += 1
        return StreamedFrame(
            number=self._next - 1,
            seconds=None if seconds is None else seconds - (self._first_seconds or 0),
            pixels=frame.to_ndarray(format="rgb24"),
            is_key=int(frame.pict_type) == 1,
            vectors=vectors,
            without_vectors=without,
            incidents=incidents,
        )

    def _resize(self, size: tuple[int, int]) -> None:
        require_few_pixels(*size, self.name, FrameError)
        if self._size is not None:
            (height, width), (before, wide) = size, self._size
            reason = (
                f"frame {self._next} has {height}x{width}, those before {before}x{wide}; read on, as if another "
                "video began there"
            )
            self._tell("resized", self._next, 0, reason)
            self._forget_before()
        self._size = size

    def _forget_before(self) -> None:
        if self._vectors is not None:
            self._vectors.begin_anew()

    def _tell(self, kind: Kind, number: int, num_frames: int, sentence: str) -> None:
        self._waiting.append(Incident(kind, number, num_frames, sentence))
        _log.warning("%s: %s", self.name, sentence)


def _frames(first: int, stop: int) -> str:
    return f"frame {first} is" if stop - first == 1 else f"frames {first}…{stop - 1} are"
