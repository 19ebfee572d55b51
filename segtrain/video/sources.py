"""Where a video comes from: a file, a pipe, or a folder of frames; read forward, each frame once."""

import os
import select
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from threading import Event
from time import perf_counter
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from jobs.errors import FileError
from propagate.errors import PropagateError
from sdcnet.frames import pictures, visible_files
from sdcnet.frames.stream import FrameStream
from segtrain.errors import DataError
from segtrain.prediction.sources import ENDINGS, read_picture

PIPE = Path("-")
RATE = Fraction(25)  # frames a second of what does not say


@dataclass(frozen=True, kw_only=True)
class SourceFrame:
    """A frame of a video, as its source has it.

    number: counted from 0 in its video; frames that are lost or dropped count. name: its path among results. pixels:
    [1,3,H,W] uint8 RGB. seconds: since the first frame, None where the source has no time stamps. is_key: whether the
    codec stored it, or one dropped since the frame before, whole; None where no codec says so. is_new: whether it does
    not follow the frame before: that is another recording's, has another size, or frames between were lost. num_lost,
    num_dropped: of frames right before it. decode_seconds: what reading it took. due: the time of `perf_counter` at
    which it is to be shown, where that matters.
    """

    number: int
    name: str
    pixels: Tensor
    seconds: float | None = None
    is_key: bool | None = None
    is_new: bool = False
    num_lost: int = 0
    num_dropped: int = 0
    decode_seconds: float = 0.0
    due: float | None = None

    @property
    def image(self) -> np.ndarray:
        """[H,W,3] uint8 RGB."""
        return self.pixels[0].permute(1, 2, 0).numpy()


class VideoSource(ABC):
    """The frames of one video, to be iterated once, in constant memory.

    name: for messages. rate: frames a second, as its container says, or RATE. num_frames: None where that is not known
    before. told: sentences on what went wrong, no more than NUM_TOLD. num_lost_at_end: frames that should follow the
    last one. came: the time of `perf_counter` when bytes came that had to be waited for; waited: seconds of that, once
    the first were there. `stop` ends it before the next frame; it may be called from a signal's handler.
    """

    NUM_TOLD = 16
    came: float | None = None
    waited: float = 0.0

    def __init__(self, name: str, rate: Fraction, num_frames: int | None) -> None:
        self.name, self.rate, self.num_frames = name, rate, num_frames
        self.num_lost_at_end = 0
        self.told: list[str] = []
        self.stopped = Event()

    def __iter__(self) -> Iterator[SourceFrame]:
        frames = self._frames()
        while True:
            begin, waited = perf_counter(), self.waited
            frame = None if self.stopped.is_set() else next(frames, None)
            if frame is None:
                return
            yield replace(frame, decode_seconds=perf_counter() - begin - (self.waited - waited))

    def stop(self) -> None:
        self.stopped.set()

    @abstractmethod
    def _frames(self) -> Iterator[SourceFrame]: ...

    def _tell(self, sentence: str) -> None:
        if len(self.told) < self.NUM_TOLD:
            self.told.append(sentence)


def open_source(path: Path) -> VideoSource:
    """A video file, a folder of frames, or what comes through standard input, where the path is `-`.

    Raises: FrameError for a video that cannot be opened; DataError for a folder without frames, or no such path.
    """
    if path.is_dir():
        return FolderSource(path)
    if path != PIPE:
        if not path.exists():
            raise DataError(f"{path}: does not exist, expected a video, a folder of frames, or -; check the path")
        return StreamSource(path, path.stem)
    if sys.stdin.isatty():
        raise DataError("-: nothing is sent to standard input; send it a video, as in: ffmpeg … -f matroska - | …")
    return StreamSource(open(sys.stdin.fileno(), "rb", buffering=0, closefd=False), "stream")


class StreamSource(VideoSource):
    """A video file, or a pipe with a video in it; its frames are named by their numbers, below `name`."""

    def __init__(self, source: Path | BinaryIO, name: str) -> None:
        self._names = name
        self._pipe = None if isinstance(source, Path) else _Pipe(source)
        self._stream = FrameStream(self._pipe or source)  # type: ignore[arg-type]
        rate = self._stream.rate
        super().__init__(
            self._stream.name, RATE if rate is None else Fraction(rate).limit_denominator(1001), num_frames=None
        )

    @property
    def came(self) -> float | None:  # type: ignore[override]
        return None if self._pipe is None else self._pipe.came

    @property
    def waited(self) -> float:  # type: ignore[override]
        return 0.0 if self._pipe is None else self._pipe.waited

    def stop(self) -> None:
        super().stop()
        if self._pipe is not None:
            self._pipe.stop()

    def _frames(self) -> Iterator[SourceFrame]:
        for frame in self._stream:
            kinds = {incident.kind for incident in frame.incidents}
            for incident in frame.incidents:
                self._tell(incident.sentence)
            yield SourceFrame(
                number=frame.number,
                name=f"{self._names}/{frame.number:06d}",
                pixels=_tensor(frame.pixels),
                seconds=frame.seconds,
                is_key=frame.is_key,
                is_new=not kinds.isdisjoint(("lost", "resized")),
                num_lost=sum(incident.num_frames for incident in frame.incidents),
            )
        if self._stream.ending is not None and not self.stopped.is_set():
            self.num_lost_at_end = self._stream.ending.num_frames
            self._tell(self._stream.ending.sentence)


class FolderSource(VideoSource):
    """The images of a folder, searched with its sub-folders, in the order of their names.

    Files whose names differ only in a number are one recording; another one, or a gap in the numbers, begins anew. They
    are named by their paths in the folder. An image that cannot be read is lost.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        paths = [path for path in visible_files(folder) if path.suffix.lower() in ENDINGS]
        if not paths:
            raise DataError(
                f"{folder}: no images in this folder ({' '.join(ENDINGS)}); name the folder of a video's frames, or a "
                "video"
            )
        self._runs = list(pictures.consecutive(paths))
        super().__init__(str(folder), RATE, len(paths))

    def _frames(self) -> Iterator[SourceFrame]:
        number, num_lost = 0, 0
        for run in self._runs:
            is_first = True
            for path in run:
                try:
                    pixels = read_picture(path)
                except (PropagateError, FileError) as error:
                    num_lost += 1
                    self._tell(str(error))
                else:
                    yield SourceFrame(
                        number=number,
                        name=path.relative_to(self._folder).with_suffix("").as_posix(),
                        pixels=_tensor(pixels),
                        is_new=is_first or num_lost > 0,
                        num_lost=num_lost,
                    )
                    is_first, num_lost = False, 0
                number += 1
        self.num_lost_at_end = num_lost


class _Pipe:
    """Bytes as they come, never more than have come; and the end of them, once it is stopped."""

    def __init__(self, file: BinaryIO) -> None:
        self.name = "standard input"
        self.came: float | None = None
        self.waited = 0.0
        self._file, self._has_begun = file, False
        self._stopped, self._stop = os.pipe()

    def read(self, size: int) -> bytes:
        waiting = [self._file.fileno(), self._stopped]
        ready, _, _ = select.select(waiting, (), (), 0)
        if not ready:
            begin = perf_counter()
            ready, _, _ = select.select(waiting, (), ())
            self.came = perf_counter()
            self.waited += self.came - begin if self._has_begun else 0.0
        self._has_begun = True
        return b"" if self._stopped in ready else self._file.read(size)

    def stop(self) -> None:
        os.write(self._stop, b"s")


def _tensor(pixels: np.ndarray) -> Tensor:
    """[H,W,3] uint8 -> [1,3,H,W]."""
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]
