"""Small videos for tests."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def write_video(
    path: Path,
    codec: str,
    options: dict[str, str],
    num_frames: int,
    size: tuple[int, int] = (48, 64),
    times: Sequence[int] = (),
) -> None:
    """A texture that moves by a pixel a frame, at 25 frames a second, or at `times`, in hundredths of a second."""
    texture = np.random.default_rng(0).integers(0, 256, (size[0], size[1] + num_frames, 3), np.uint8)
    with av.open(str(path), "w", options=options if path.suffix == ".mp4" else {}) as container:
        stream = container.add_stream(codec, rate=25, options={k: v for k, v in options.items() if k != "movflags"})
        stream.height, stream.width = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for number in range(num_frames):
            pixels = np.ascontiguousarray(texture[:, number : number + size[1]])
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            if times:
                frame.pts, frame.time_base = times[number], Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def decoded(path: Path) -> np.ndarray:
    """All frames [T,H,W,3], by decoding from the start."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
