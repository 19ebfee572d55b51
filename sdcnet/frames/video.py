"""Video files as sequences of frames, by PyAV: any frame by its number, exactly as decoding from the start gives it."""

import logging
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice, pairwise
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from torch import Tensor

from jobs.files import open_regular
from jobs.image_limit import require_few_pixels
from sdcnet.errors import FrameError
from sdcnet.frames.exported import VectorSource
from sdcnet.frames.opening import CONVERT, is_cut_off, open_video
from sdcnet.frames.sequence import FrameSequence

ENDINGS = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")
NUM_TRIED = 16  # frames at the start that are decoded to see whether their time stamps tell their order

_log = logging.getLogger(__name__)


_Decoded = tuple[Any, np.ndarray | None]  # a frame, and its motion vectors


class _Key(NamedTuple):
    """When a key frame is shown, and when it is decoded: from there a decoder can begin."""

    shown: int
    decoded: int


class VideoSequence(FrameSequence):
    """The frames of a file's first video stream.

    A frame is known by its time stamp. It is reached from the frames decoded before it, or from the last key frame
    that is not after it, so that reading forward decodes each frame once. The decoder stays open until `close`.

    A video that ends early is used as far as it goes: `num_missing` says how many frames its container promises more,
    and a warning is logged.

    Raises: FrameError for no file that PyAV can open, no video stream, no frames, time stamps that do not order
    the frames.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._decoder: Iterator[_Decoded] | None = None
        self._exports = False  # whether the decoder gives motion vectors too
        self._vectors: dict[int, np.ndarray | None] = {}  # of the frames that are kept
        self._container: Any = None
        self._next = 0  # the number of the frame that the decoder gives next
        with self._opened() as container:
            stream = container.streams.video[0]
            size = stream.height, stream.width
            self._unit = stream.time_base  # of time stamps, seconds
            require_few_pixels(*size, str(path), FrameError)
            num_promised, times, keys = self._index(container)
        super().__init__(str(path), size, (path,))
        self._times, self._keys = times, keys  # in the units of the stream, ascending
        if not self._in_order(self._times_from(keys[0], NUM_TRIED)):
            raise FrameError(str(path), f"its time stamps do not tell the order of its frames; {CONVERT}")
        if not self._in_order(self._times_from(keys[-1])):
            self._keys = keys[:1]  # the container cannot find key frames, as an AVI file that has lost its index
        self._times = times[: self._num_decodable()]
        self.num_missing = num_promised - len(self._times)
        if self.num_missing:
            _log.warning(
                "%s: ends early: expected %d frames, %d are there and are used", path, num_promised, len(self._times)
            )
        elif is_cut_off(path):
            _log.warning("%s: ends early: the file is cut off, %d frames are there and are used", path, len(self))

    def __len__(self) -> int:
        return len(self._times)

    @property
    def rate(self) -> Fraction:
        """Frames a second, in the mean."""
        return Fraction(len(self) - 1) / ((self._times[-1] - self._times[0]) * self._unit)

    @property
    def seconds(self) -> list[float]:
        """When each frame is shown, counted from the first."""
        return [float((time - self._times[0]) * self._unit) for time in self._times]

    def frames_and_vectors(self, start: int, stop: int) -> tuple[Tensor, list[np.ndarray | None]]:
        """As `frames`, and the motion vectors of each that lead to the one before it, as `VectorSource.of` gives them.

        From the first call on, all frames are decoded so, which takes longer.
        """
        if not self._exports:
            self.close()
            self._exports = True
        frames = self.frames(start, stop)
        self._vectors = {i: self._vectors[i] for i in range(start, stop)}
        return frames, list(self._vectors.values())

    def close(self) -> None:
        super().close()
        self._vectors = {}
        self._decoder = None
        if self._container is not None:
            self._container.close()
            self._container = None

    def __getstate__(self) -> dict[str, object]:
        return super().__getstate__() | {"_decoder": None, "_container": None, "_vectors": {}}

    def _opened(self) -> Any:
        try:
            open_regular(self._path).close()
        except OSError as error:
            reason = f"cannot be read ({error.strerror}), expected a file that FFmpeg reads; check the path"
            raise FrameError(str(self._path), reason) from None
        return open_video(self._path, str(self._path))

    def _index(self, container: Any) -> tuple[int, list[int], list[_Key]]:
        """How many frames the file should have, the time stamps of those that it has, ascending, and its key frames."""
        num_hidden, times, keys = 0, [], []
        is_cut, last_decoded = False, None
        try:
            for packet in container.demux(video=0):
                if packet.is_corrupt:
                    is_cut = True
                    break
                if not packet.size:
                    continue
                if packet.pts is None:
                    reason = f"its frames have no time stamps, so that they cannot be found again; {CONVERT}"
                    raise FrameError(str(self._path), reason)
                last_decoded = packet.dts
                if packet.is_keyframe:
                    # Containers list key frames by when they are decoded, if they say when that is.
                    keys.append(_Key(packet.pts, packet.pts if packet.dts is None else packet.dts))
                if packet.is_discard:
                    num_hidden += 1
                else:
                    times.append(packet.pts)
        except av.FFmpegError:
            is_cut = True
        num_promised = max(container.streams.video[0].frames - num_hidden, len(times) + is_cut)
        if len(times) != container.streams.video[0].frames - num_hidden and last_decoded is not None:
            # Frames are stored in the order of decoding: of those shown after this time, some in between may be lost.
            is_cut |= container.streams.video[0].frames > 0 or is_cut_off(self._path)
            complete = _complete(sorted(times), last_decoded, is_cut=is_cut)
            if len(times) == num_promised:  # it says nowhere how many there should be, as in Matroska
                num_promised = len(complete)
            times = complete
        if len(times) < 2 or not keys:
            reason = f"{len(times)} frames can be read, expected a video of two or more; copy it again, or leave it out"
            raise FrameError(str(self._path), reason)
        if len(set(times)) < len(times):
            raise FrameError(str(self._path), f"several of its frames have the same time stamp; {CONVERT}")
        return num_promised, sorted(times), sorted(keys)

    def _num_decodable(self) -> int:
        """How many frames there are up to the first that cannot be decoded, tried from the last key frame on."""
        for key in reversed(self._keys):
            found = self._times_from(key)
            if found and found[-1] > self._times[0]:
                return bisect_right(self._times, found[-1])
        raise FrameError(str(self._path), "no two frames can be decoded; copy it again, or leave it out")

    def _in_order(self, found: list[int]) -> bool:
        """Whether these time stamps follow one another in the index; those after its end do not count."""
        expected = self._times[bisect_left(self._times, found[0]) :] if found else []
        return all(one == other for one, other in zip(found, expected, strict=False))

    def _times_from(self, key: _Key, limit: int | None = None) -> list[int]:
        """Time stamps of the frames from that key frame on, at most `limit`, until one cannot be decoded."""
        found = []
        with self._opened() as container:
            try:
                for frame, _ in islice(_decoded_from(container, key), limit):
                    if frame.is_corrupt:
                        break
                    found.append(frame.pts)
            except av.FFmpegError:
                pass
        return found

    def _read(self, index: int) -> np.ndarray:
        place = max(bisect_right(self._keys, self._times[index], key=attrgetter("shown")) - 1, 0)
        is_passed = index < self._next or self._keys[place].shown > self._times[min(self._next, index)]
        found = None if self._decoder is None or is_passed else self._reached(index)
        if found is None:
            # asked for a key frame, some containers give a later one
            for key in dict.fromkeys((self._keys[place], self._keys[max(place - 1, 0)], self._keys[0])):
                self.close()
                self._container = self._opened()
                self._decoder = _decoded_from(self._container, key, exports=self._exports)
                if found := self._reached(index):
                    break
            else:
                reason = f"frame {index} of {len(self)} is not there; copy it again, or cut the video before it"
                raise FrameError(str(self._path), reason)
        frame, vectors = found
        self._next = index + 1
        if (frame.height, frame.width) != self.size:
            height, width = self.size
            reason = (
                f"frame {index} has {frame.height}x{frame.width}, those before {height}x{width}; cut the video there"
            )
            raise FrameError(str(self._path), reason)
        if self._exports:
            self._vectors[index] = vectors
        return frame.to_ndarray(format="rgb24")

    def _reached(self, index: int) -> _Decoded | None:
        """That frame, where the decoder that is open comes to it. Raises: FrameError."""
        assert self._decoder is not None
        try:
            found = next((found for found in self._decoder if found[0].pts >= self._times[index]), None)
        except av.FFmpegError as error:
            reason = f"frame {index} of {len(self)} cannot be decoded ({error}); copy it again, or cut the video before"
            raise FrameError(str(self._path), reason) from None
        return found if found is not None and found[0].pts == self._times[index] else None


def _complete(times: list[int], last_decoded: int, *, is_cut: bool) -> list[int]:
    """Of ascending time stamps those before which no frame is lost: up to what was decoded last.

    And on to the first gap that is wider than any before, unless the file is known to be cut.
    """
    number = bisect_right(times, last_decoded)
    widest = 0 if is_cut else max((after - before for before, after in pairwise(times[:number])), default=0)
    while 0 < number < len(times) and times[number] - times[number - 1] <= widest:
        number += 1
    return times[:number]


def _decoded_from(container: Any, key: _Key, *, exports: bool = False) -> Iterator[_Decoded]:
    """The frames from a key frame on, in the order of their time stamps, with their motion vectors if `exports`."""
    stream = container.streams.video[0]
    source = VectorSource(stream.codec_context) if exports else None
    if key.decoded > (stream.start_time or 0):
        container.seek(key.decoded, stream=stream)
    for packet in container.demux(stream):
        if source is not None:
            source.take(packet)
        for frame in packet.decode():
            vectors, _ = (None, None) if source is None else source.of(frame)
            if frame.pts is not None and frame.pts >= key.shown:
                yield frame, vectors
