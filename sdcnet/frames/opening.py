"""Opening what holds a video: a file by its path, or a stream of bytes that is read forward."""

from pathlib import Path
from typing import Any, BinaryIO

import av

from sdcnet.errors import FrameError

CONVERT = "convert it, as with: ffmpeg -i VIDEO -c:v libx264 -crf 12 VIDEO.mp4"
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"  # the elements of a Matroska file
FORWARD = "send a form that needs no look ahead: Matroska, MPEG-TS, or MP4 with its index in front"


def open_video(source: Path | BinaryIO, name: str) -> Any:
    """PyAV's container of a source with a video stream that can be decoded. Raises: FrameError, with that name."""
    if isinstance(source, Path) and source.suffix.lower() in (".yaml", ".yml"):
        reason = "a YAML file, expected a video; options in a file are given by --config, a layout by --layout"
        raise FrameError(name, reason)
    try:
        opened = str(source) if isinstance(source, Path) else source
        container = av.open(opened, metadata_errors="replace")  # titles, of which nothing is used
    except (av.FFmpegError, OSError) as error:
        reason = f"cannot be opened as a video ({error.strerror}); expected a file that FFmpeg reads; copy it again"
        if not isinstance(source, Path):
            reason += f", or {FORWARD}"
        raise FrameError(name, reason) from None
    if not container.streams.video or container.streams.video[0].codec_context is None:
        kinds = ", ".join(stream.type for stream in container.streams) or "none"
        container.close()
        raise FrameError(name, f"no video stream that can be decoded (streams: {kinds}); give a video, or {CONVERT}")
    return container


def is_cut_off(path: Path) -> bool:
    """Whether a file is shorter than it says of itself: of Matroska, where a decoder takes that for the end.

    Reference: RFC 8794, section 4, for the sizes of elements; RFC 9559, section 4.5, for their order.
    """
    with path.open("rb") as file:
        start = file.read(4096)
    if not start.startswith(_EBML):
        return False
    size, body = _size_of_element(start, len(_EBML))
    segment = body + (size or 0)
    if not start.startswith(_SEGMENT, segment):
        return False
    size, body = _size_of_element(start, segment + len(_SEGMENT))
    return size is not None and body + size > path.stat().st_size


def _size_of_element(data: bytes, place: int) -> tuple[int | None, int]:
    """The size of an element, None where it is unknown, and where its body begins."""
    length = 9 - data[place : place + 1].ljust(1, b"\1")[0].bit_length()
    largest = (1 << 7 * length) - 1
    size = int.from_bytes(data[place : place + length], "big") & largest
    return (None if size == largest else size), place + length
