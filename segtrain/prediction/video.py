"""What is found in a video, as a video."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np

from jobs.files import whole_file
from sdcnet.frames.writing import film
from segtrain.errors import InferenceError
from segtrain.prediction.writing import require_new


@dataclass(frozen=True)
class VideoOutput:
    """Where a video is written, with so many frames a second, and whether with the frames at its left."""

    path: Path
    rate: Fraction
    beside: bool


class Films:
    """A video of what is found, as a context: it is there, whole, when that is left without an error.

    No video has frames of two sizes: where frames have another, the video is finished, and another one begun beside
    it, NAME_2.mp4. `paths` are those that were begun.

    Raises: InferenceError, where a file is there already, or cannot be written.
    """

    def __init__(self, video: VideoOutput) -> None:
        self._video, self.paths = video, list[Path]()
        self._size: tuple[int, ...] = ()
        self._opened = ExitStack()
        require_new(video.path, "--video")

    def __enter__(self) -> "Films":
        return self

    def add(self, frame: np.ndarray, found: np.ndarray, number: int | None = None) -> None:
        """The next picture: [H,W,3] uint8 RGB, a frame, and what was found over it.

        number: of the frame in its video, from which it follows when it is shown; without one, right after the last.
        """
        with _told(self._video.path):
            if frame.shape != self._size:
                self._begin(frame.shape, number or 0)
            picture = np.concatenate((frame, found), axis=1) if self._video.beside else found
            self._film(picture, None if number is None else number - self._first)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _told(self._video.path):
            self._opened.__exit__(kind, error, trace)

    def _begin(self, size: tuple[int, ...], number: int) -> None:
        self._opened.close()
        path, place = self._video.path, len(self.paths) + 1
        if place > 1:
            path = path.with_stem(f"{path.stem}_{place}")
            require_new(path, "--video")
        file = self._opened.enter_context(whole_file(path))
        self._film = self._opened.enter_context(film(file, self._video.rate))
        self._size, self._first = size, number
        self.paths.append(path)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InferenceError(
            f"{path}: cannot be written ({error.strerror or error}); make room, or give another --video"
        ) from None
