"""Where a video comes from: a file, a pipe, or a folder of frames; read forward, each frame once."""

import os
import select
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from io import FileIO
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
from sdcnet.frames.transcoding import LARGEST_GROUP, Transcoder
from sdcnet.motion.vectors import CellFlow
from segtrain.errors import DataError
from segtrain.prediction.sources import ENDINGS, read_picture, require_names_of_their_own

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


@dataclass(frozen=True, kw_only=True)
class CodedSourceFrame(SourceFrame):
    """The same of a video whose codec stored motion: a `CodedObservation`.

    to_previous: the flow to the frame before it, or, where frames were dropped in between, over all of them; None where
    the codec has none that surely leads there.
    """

    to_previous: CellFlow | None


class VideoSource(ABC):
    """The frames of one video, to be iterated once, in constant memory.

    name: for messages. rate: frames a second, as its container says, or RATE. num_frames: None where that is not known
    before. told: sentences on what went wrong, no more than NUM_TOLD. num_lost_at_end: frames that should follow the
    last one. came: the time of `perf_counter` when bytes came that had to be waited for; waited: seconds of that, once
    the first were there. `stop` ends it before the next frame; it may be called from a signal's handler.
    transcodes: whether frames are encoded in memory too, for the motion that a codec finds (`CodedSourceFrame`), which
    counts as reading them.
    """

    NUM_TOLD = 16
    came: float | None = None
    waited: float = 0.0
    transcodes = False

    def __init__(self, name: str, rate: Fraction, num_frames: int | None) -> None:
        self.name, self.rate, self.num_frames = name, rate, num_frames
        self.num_lost_at_end = 0
        self.told: list[str] = []
        self.stopped = Event()

    def __iter__(self) -> Iterator[SourceFrame]:
        frames = _transcoded(self._frames()) if self.transcodes else self._frames()
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


def open_source(path: Path, *, with_vectors: bool = False, transcodes: bool = False) -> VideoSource:
    """A video file, a folder of frames, or what comes through standard input, where the path is `-`.

    with_vectors: whether the frames of a video come with the motion that its codec stored. transcodes: whether frames
    are encoded for such motion, whatever they come from.
    Raises: FrameError for a video that cannot be opened; DataError for a folder without frames, or no such path.
    """
    source = _opened(path, with_vectors)
    source.transcodes = transcodes
    return source


def _opened(path: Path, with_vectors: bool) -> VideoSource:
    if path.is_dir():
        return FolderSource(path)
    if path != PIPE:
        if not path.exists():
            raise DataError(f"{path}: does not exist, expected a video, a folder of frames, or -; check the path")
        return StreamSource(path, path.stem, with_vectors=with_vectors)
    if sys.stdin.isatty():
        raise DataError("-: nothing is sent to standard input; send it a video, as in: ffmpeg … -f matroska - | …")
    return StreamSource(FileIO(sys.stdin.fileno(), closefd=False), "stream", with_vectors=with_vectors)


class StreamSource(VideoSource):
    """A video file, or a pipe with a video in it; its frames are named by their numbers, below `name`."""

    def __init__(self, source: Path | BinaryIO, name: str, *, with_vectors: bool = False) -> None:
        self._names, self._with_vectors = name, with_vectors
        self._pipe = None if isinstance(source, Path) else _Pipe(source)
        try:
            self._stream = FrameStream(self._pipe or source, with_vectors=with_vectors)  # type: ignore[arg-type]
        finally:
            if self._pipe is not None and self._pipe.interrupt is not None:
                raise self._pipe.interrupt from None
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
            made = SourceFrame(
                number=frame.number,
                name=f"{self._names}/{frame.number:06d}",
                pixels=_tensor(frame.pixels),
                seconds=frame.seconds,
                is_key=frame.is_key,
                is_new=not kinds.isdisjoint(("lost", "resized")),
                num_lost=sum(incident.num_frames for incident in frame.incidents),
            )
            if self._with_vectors:
                cells = None if frame.vectors is None else CellFlow.of(frame.vectors, frame.size)
                made = CodedSourceFrame(**vars(made), to_previous=cells)
            yield made
        if self._stream.ending is not None and not self.stopped.is_set():
            self.num_lost_at_end = max(
                1, self._stream.ending.num_frames
            )  # where it breaks off, the number is not known
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
        require_names_of_their_own((self._name(path), str(path)) for path in paths)
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
                        name=self._name(path),
                        pixels=_tensor(pixels),
                        is_new=is_first or num_lost > 0,
                        num_lost=num_lost,
                    )
                    is_first, num_lost = False, 0
                number += 1
        self.num_lost_at_end = num_lost

    def _name(self, path: Path) -> str:
        return path.relative_to(self._folder).with_suffix("").as_posix()


class _Pipe:
    """Bytes as they come, never more than have come; and the end of them, once it is stopped.

    interrupt: what was raised while bytes were waited for; FFmpeg, which asks for them, would turn it into another.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.name = "standard input"
        self.came: float | None = None
        self.waited = 0.0
        self.interrupt: KeyboardInterrupt | None = None
        self._file, self._has_begun = file, False
        self._stopped, self._stop = os.pipe()

    def read(self, size: int) -> bytes:
        if self.interrupt is not None:
            return b""
        waiting = [self._file.fileno(), self._stopped]
        ready, _, _ = select.select(waiting, (), (), 0)
        if not ready:
            begin = perf_counter()
            try:
                ready, _, _ = select.select(waiting, (), ())
            except KeyboardInterrupt as interrupt:
                self.interrupt = interrupt
                return b""
            self.came = perf_counter()
            self.waited += self.came - begin if self._has_begun else 0.0
        self._has_begun = True
        return b"" if self._stopped in ready else self._file.read(size)

    def stop(self) -> None:
        os.write(self._stop, b"s")


def _transcoded(frames: Iterable[SourceFrame]) -> Iterator[CodedSourceFrame]:
    """The frames with the motion that an encoder finds; none at those with which it begins anew."""
    transcoder: Transcoder | None = None
    size, num_left = (0, 0), 0
    for frame in frames:
        image = frame.image
        if transcoder is None or frame.is_new or num_left == 0 or image.shape[:2] != size:
            size, num_left = (image.shape[0], image.shape[1]), LARGEST_GROUP
            transcoder = Transcoder(size)
        records, _ = transcoder.vectors_of(image)
        num_left -= 1
        cells = None if records is None else CellFlow.of(records, size)
        yield CodedSourceFrame(**{**vars(frame), "to_previous": cells})


def _tensor(pixels: np.ndarray) -> Tensor:
    """[H,W,3] uint8 -> [1,3,H,W]."""
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]
