"""Frames of videos, by their numbers; what a clip needs of one is decoded once, and never written to a disk."""

import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from propagate.data.clip import unreadable
from propagate.errors import InputError
from sdcnet.errors import FrameError
from sdcnet.frames.video import VideoSequence

AGAIN = "copy it again, or run with --overwrite if it is meant to be another"


@dataclass(frozen=True)
class VideoFile:
    """A video file: `name` is relative to the root, `size` in bytes; `sha256` and `size` identify its content."""

    root: str
    name: str
    size: int
    sha256: str

    @property
    def path(self) -> Path:
        return Path(self.root) / self.name


@dataclass(frozen=True)
class VideoFrame:
    """Frame `number`, counted from 0 in the order in which they are shown: see `propagate.data.clip.Frame`.

    window: the first and the last number of the frames that are wanted with it: they are decoded together.
    """

    key: str
    video: VideoFile
    number: int
    frame_size: tuple[int, int]
    window: tuple[int, int]

    @property
    def where(self) -> str:
        return f"{self.video.path}, frame {self.number}"

    @property
    def identity(self) -> tuple[str, int, str, int]:
        return self.video.name, self.video.size, self.video.sha256, self.number

    def size(self) -> tuple[int, int]:
        return self.frame_size

    def pixels(self) -> np.ndarray:
        return _OPEN.read(self)

    def encoded(self) -> None:
        return None


class _OpenVideo:
    """The video that this process read last, open, and the frames of one window of it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._video: VideoFile | None = None
        self._sequence: VideoSequence | None = None
        self._window: tuple[int, int] | None = None
        self._frames: Tensor | None = None

    def read(self, frame: VideoFrame) -> np.ndarray:
        """[H,W,3] uint8 RGB. Raises: InputError."""
        with self._lock:
            try:
                sequence = self._opened(frame.video)
                if frame.number >= len(sequence):
                    raise InputError(frame.where, f"is not there, the video has {len(sequence)} frames now; {AGAIN}")
                self._decode(sequence, frame)
                if self._frames is None:
                    (pixels,) = sequence.frames(frame.number, frame.number + 1)
                else:
                    pixels = self._frames[frame.number - frame.window[0]]
            except FrameError as error:
                raise InputError(frame.where, error.reason) from None
            return pixels.permute(1, 2, 0).contiguous().numpy()

    def _decode(self, sequence: VideoSequence, frame: VideoFrame) -> None:
        """Decode a frame's window, unless that was the last; where a frame of it is damaged, they are read singly."""
        if frame.window != self._window:
            self._window, self._frames = frame.window, None
            try:
                self._frames = sequence.frames(frame.window[0], frame.window[1] + 1)
            except FrameError:
                return

    def _opened(self, video: VideoFile) -> VideoSequence:
        """Raises: InputError, FrameError."""
        try:
            size = video.path.stat().st_size
        except OSError as error:
            raise unreadable(str(video.path), error) from None
        if size != video.size:
            raise InputError(str(video.path), f"has {size} bytes now, {video.size} when the run was planned; {AGAIN}")
        if self._sequence is None or video != self._video:
            if self._sequence is not None:
                self._sequence.close()
            self._video, self._window, self._frames = video, None, None
            self._sequence = None
            self._sequence = VideoSequence(video.path)
        return self._sequence


_OPEN = _OpenVideo()
