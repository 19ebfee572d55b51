"""Frames of videos, by their numbers; what a clip needs of one is decoded once, and never written to a disk."""

import hashlib
import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from torch import Tensor

from jobs.files import open_regular
from propagate.data.clip import unreadable
from propagate.errors import InputError
from sdcnet.errors import FrameError
from sdcnet.frames.video import VideoSequence
from sdcnet.motion.vectors import CellFlow

AGAIN = "copy it again, or run with --overwrite if it is meant to be another"


@dataclass(frozen=True)
class VideoFile:
    """A video file: `name` is relative to the root, `size` in bytes; `sha256` and `size` identify its content."""

    root: str
    name: str
    size: int
    sha256: str

    @classmethod
    def of(cls, root: Path, name: str) -> Self:
        """The file as it is now; it is read through, for its digest. Raises: OSError."""
        with open_regular(root / name) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return cls(str(root), name, file.tell(), digest)

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

    def to_previous(self) -> CellFlow | None:
        records = _OPEN.vectors(self)
        return None if records is None else CellFlow.of(records, self.frame_size)

    def encoded(self) -> None:
        return None


WINDOWS = 2  # a frame between two annotated ones has those of both


@dataclass
class _Window:
    """What was decoded of a window: no frames, where one of them is damaged; vectors, where they were asked for."""

    frames: Tensor | None = None
    vectors: list[np.ndarray | None] | None = None


class _OpenVideo:
    """The video that this process read last, open, and the frames of the last windows of it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._video: VideoFile | None = None
        self._sequence: VideoSequence | None = None
        self._windows: dict[tuple[int, int], _Window] = {}  # the one that was used last at the end

    def read(self, frame: VideoFrame) -> np.ndarray:
        """[H,W,3] uint8 RGB. Raises: InputError."""
        with self._lock:
            pixels, _ = self._found(frame, with_vectors=False)
            return pixels.permute(1, 2, 0).contiguous().numpy()

    def vectors(self, frame: VideoFrame) -> np.ndarray | None:
        """Those that lead to the frame before: see `VideoSequence.frames_and_vectors`. Raises: InputError."""
        with self._lock:
            return self._found(frame, with_vectors=True)[1]

    def _found(self, frame: VideoFrame, *, with_vectors: bool) -> tuple[Tensor, np.ndarray | None]:
        """[3,H,W] uint8 RGB, and its vectors if they are asked for. Raises: InputError."""
        try:
            sequence = self._opened(frame.video)
            if frame.number >= len(sequence):
                raise InputError(frame.where, f"is not there, the video has {len(sequence)} frames now; {AGAIN}")
            window = self._decoded(sequence, frame, with_vectors)
            if window.frames is not None:
                place = frame.number - frame.window[0]
                return window.frames[place], window.vectors[place] if window.vectors is not None else None
            alone = frame.number, frame.number + 1
            (pixels,), (vectors,) = (
                sequence.frames_and_vectors(*alone) if with_vectors else (sequence.frames(*alone), [None])
            )
            return pixels, vectors
        except FrameError as error:
            raise InputError(frame.where, error.reason) from None

    def _decoded(self, sequence: VideoSequence, frame: VideoFrame, with_vectors: bool) -> _Window:
        """A frame's window, decoded unless it is there; where a frame of it is damaged, they are read singly."""
        window = self._windows.pop(frame.window, None)
        if window is None or (with_vectors and window.frames is not None and window.vectors is None):
            while len(self._windows) >= WINDOWS:
                del self._windows[next(iter(self._windows))]
            window = _Window()
            numbers = frame.window[0], frame.window[1] + 1
            with suppress(FrameError):
                if with_vectors:
                    window.frames, window.vectors = sequence.frames_and_vectors(*numbers)
                else:
                    window.frames = sequence.frames(*numbers)
        self._windows[frame.window] = window
        return window

    def _opened(self, video: VideoFile) -> VideoSequence:
        """Raises: InputError, FrameError."""
        try:
            with open_regular(video.path) as file:
                size = os.fstat(file.fileno()).st_size
        except OSError as error:
            raise unreadable(str(video.path), error) from None
        if size != video.size:
            raise InputError(str(video.path), f"has {size} bytes now, {video.size} when the run was planned; {AGAIN}")
        if self._sequence is None or video != self._video:
            if self._sequence is not None:
                self._sequence.close()
            self._video, self._sequence, self._windows = video, None, {}
            self._sequence = VideoSequence(video.path)
        return self._sequence


_OPEN = _OpenVideo()
