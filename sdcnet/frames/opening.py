"""Opening what holds a video: a file by its path, or a stream of bytes that is read forward."""

from pathlib import Path
from typing import Any, BinaryIO

import av

from sdcnet.errors import FrameError

CONVERT = "convert it, as with: ffmpeg -i VIDEO -c:v libx264 -crf 12 VIDEO.mp4"
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
