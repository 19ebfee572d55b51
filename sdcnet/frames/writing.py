"""Pictures to video files that everything plays."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import BinaryIO, Protocol

import av
import numpy as np

QUALITY = {"crf": "18"}  # of H.264
LARGEST_DENOMINATOR = 1001  # of a rate; that of NTSC


class Film(Protocol):
    """A video that is being written."""

    def __call__(self, picture: np.ndarray, number: int | None = None) -> None:
        """Add a picture, [H,W,3] uint8 RGB, of the size of the first; an odd last row or column is left out.

        number: from which it follows when it is shown, ascending; without one, right after the last.
        """
        ...


@contextmanager
def film(file: BinaryIO, rate: Fraction | int) -> Iterator[Film]:
    """Write pictures into an MP4 file, so many a second, as H.264 or, where PyAV comes without that, MPEG-4.

    rate: of what a file can hold, fractions of small numbers, the nearest one.
    Raises: OSError, of which PyAV's errors are kinds.
    """
    rate = Fraction(rate).limit_denominator(LARGEST_DENOMINATOR) or Fraction(1, LARGEST_DENOMINATOR)
    codec = next(name for name in ("libx264", "mpeg4") if name in av.codecs_available)
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=rate, options=QUALITY)
        stream.pix_fmt = "yuv420p"  # which everything plays; its colours have half the size

        def add(picture: np.ndarray, number: int | None = None) -> None:
            height, width = (side // 2 * 2 for side in picture.shape[:2])
            if not stream.codec_context.is_open:
                stream.height, stream.width = height, width
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]), format="rgb24")
            if number is not None:
                frame.pts, frame.time_base = number, 1 / rate
            container.mux(stream.encode(frame))

        yield add
        container.mux(stream.encode())
