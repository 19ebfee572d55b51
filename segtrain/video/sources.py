"""Where a video comes from: a file, or a folder of frames; read forward, each frame once."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from threading import Event
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from jobs.errors import FileError
from propagate.errors import PropagateError
from sdcnet.frames import pictures, visible_files
from sdcnet.frames.video import VideoSequence
from segtrain.errors import DataError
from segtrain.prediction.sources import ENDINGS, read_picture

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
    last one.
    `stop` ends it before the next frame; it may be called from a signal's handler.
    """

    NUM_TOLD = 16

    def __init__(self, name: str, rate: Fraction, num_frames: int | None) -> None:
        self.name, self.rate, self.num_frames = name, rate, num_frames
        self.num_lost_at_end = 0
        self.told: list[str] = []
        self.stopped = Event()

    def __iter__(self) -> Iterator[SourceFrame]:
        frames = self._frames()
        while True:
            begin = perf_counter()
            frame = None if self.stopped.is_set() else next(frames, None)
            if frame is None:
                return
            yield replace(frame, decode_seconds=perf_counter() - begin)

    def stop(self) -> None:
        self.stopped.set()

    @abstractmethod
    def _frames(self) -> Iterator[SourceFrame]: ...

    def _tell(self, sentence: str) -> None:
        if len(self.told) < self.NUM_TOLD:
            self.told.append(sentence)


def open_source(path: Path) -> VideoSource:
    """A video file, or a folder of frames.

    Raises: FrameError for a video that cannot be opened; DataError for a folder without frames, or no such path.
    """
    if path.is_dir():
        return FolderSource(path)
    if not path.exists():
        raise DataError(f"{path}: does not exist, expected a video or a folder of frames; check the path")
    return FileSource(path)


class FileSource(VideoSource):
    """A video file; its frames are named by their numbers, below the video's name."""

    def __init__(self, path: Path) -> None:
        self._path, self._sequence = path, VideoSequence(path)
        super().__init__(str(path), self._sequence.rate, len(self._sequence))

    def _frames(self) -> Iterator[SourceFrame]:
        for number, seconds in enumerate(self._sequence.seconds):
            pixels = self._sequence.frames(number, number + 1)
            yield SourceFrame(number=number, name=f"{self._path.stem}/{number:06d}", pixels=pixels, seconds=seconds)
        self._sequence.close()


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


def _tensor(pixels: np.ndarray) -> Tensor:
    """[H,W,3] uint8 -> [1,3,H,W]."""
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]
