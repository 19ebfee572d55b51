"""Small videos for tests."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from propagate.data.images import encode_png

LAYOUT = """labels_hold: colors
classes:
  name: halves
  ignore_id: 255
  classes:
    - {id: 0, name: left, train_id: 0, color: [200, 0, 0]}
    - {id: 1, name: right, train_id: 1, color: [0, 200, 0]}
    - {id: 255, name: void, train_id: 255, color: [0, 0, 0]}
"""


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


def packets(path: Path) -> list[tuple[int, int]]:
    """Where each packet lies in its file, and how many bytes it has."""
    with av.open(str(path)) as container:
        return [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]


def damaged(path: Path, number: int, *, zero: bool = False) -> Path:
    """The file with the middle of a packet, or all of it, overwritten."""
    data = bytearray(path.read_bytes())
    position, size = packets(path)[number]
    begin, length = (position, size) if zero else (position + size // 3, size // 3)
    noise = bytes(length) if zero else np.random.default_rng(1).bytes(length)
    data[begin : begin + length] = noise
    other = path.with_stem("damaged")
    other.write_bytes(data)
    return other


def write_drive(root: Path, num_frames: int, names: Sequence[str], options: Mapping[str, str] | None = None) -> None:
    """A root of videos: drive.mp4, with label maps of these names, in colours, each of a left and a right half.

    options: of the encoder, H.264; by default with B-frames.
    """
    folder = root / "labels" / "drive"
    folder.mkdir(parents=True)
    write_video(root / "drive.mp4", "libx264", dict(options or {"g": "12", "bf": "3"}), num_frames)
    (root / "layout.yaml").write_text(LAYOUT)
    colours = np.full((48, 64, 3), (200, 0, 0), np.uint8)
    colours[:, 32:] = (0, 200, 0)
    for name in names:
        (folder / name).write_bytes(encode_png(colours))
