"""Frames that have no motion vectors: encoded as MPEG-4 in memory, and decoded again, for the vectors alone."""

from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import numpy as np

from sdcnet.errors import MotionError
from sdcnet.frames.exported import VectorSource
from sdcnet.frames.stream import StreamedFrame

LARGEST_GROUP = 600  # frames; the encoder takes no more
# Four vectors for each 16x16 block, hardly a block that is not predicted, and no key frame at a cut: what it costs is
# rate, of which there is plenty.
_ENCODER = {"qmin": "4", "qmax": "4", "intra_penalty": "1000000", "flags": "+mv4", "sc_threshold": "1000000000"}
_RATE = 25  # frames a second, which decides nothing
_BITS_A_SECOND = 200_000_000


class Transcoder:
    """Frames of one size (H, W), one after another, to the vectors that lead from each to the one before it.

    The first of every `group` frames has none; nothing else decides.
    """

    def __init__(self, size: tuple[int, int], group: int = LARGEST_GROUP) -> None:
        if not 1 <= group <= LARGEST_GROUP:
            raise ValueError(f"a group of {group} frames, expected 1…{LARGEST_GROUP}")
        self._encoder = av.CodecContext.create("mpeg4", "w")
        self._encoder.height, self._encoder.width = size
        self._encoder.pix_fmt = "yuv420p"
        self._encoder.time_base, self._encoder.framerate = Fraction(1, _RATE), Fraction(_RATE)
        self._encoder.gop_size, self._encoder.max_b_frames = group, 0
        self._encoder.bit_rate, self._encoder.options = _BITS_A_SECOND, _ENCODER
        self._decoder = av.CodecContext.create("mpeg4", "r")
        self._vectors = VectorSource(self._decoder)
        self._next = 0

    def vectors_of(self, pixels: np.ndarray) -> tuple[np.ndarray | None, str | None]:
        """The next frame [H,W,3] uint8 RGB -> its records, or None and why: as `VectorSource.of`.

        Raises: MotionError for frames that are too large for MPEG-4, 8191 pixels along a side.
        """
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame.pts, self._next = self._next, self._next + 1
        try:
            (packet,) = self._encoder.encode(frame)
        except av.FFmpegError as error:
            height, width = pixels.shape[:2]
            raise MotionError(
                f"frames of {height}x{width} cannot be encoded as MPEG-4 ({error.strerror}), whose sides have at most "
                "8191 pixels; make them smaller, or take --motion dis"
            ) from None
        self._vectors.take(packet)
        (decoded,) = self._decoder.decode(packet)
        return self._vectors.of(decoded)


def transcoded(frames: Iterable[np.ndarray], *, group: int = 12) -> Iterator[StreamedFrame]:
    """Frames [H,W,3] uint8 RGB as if they came from a video of MPEG-4 that has a key frame every `group` frames.

    Their pixels stay as they are. A frame of another size is a key frame, with which a group begins.
    """
    transcoder, size = None, None
    for number, pixels in enumerate(frames):
        if transcoder is None or pixels.shape != size:
            size, transcoder = pixels.shape, Transcoder(pixels.shape[:2], group)
        vectors, without = transcoder.vectors_of(pixels)
        yield StreamedFrame(number, None, pixels, vectors is None, vectors, without)
