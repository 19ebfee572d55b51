"""What is found in a video, as a video."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from jobs.files import whole_file
from sdcnet.frames.writing import film
from segtrain.errors import InferenceError


@dataclass(frozen=True)
class VideoOutput:
    """Where a video is written, with so many frames a second, and whether with the frames at its left."""

    path: Path
    rate: Fraction
    beside: bool


@contextmanager
def written(video: VideoOutput) -> Iterator[Callable[[np.ndarray, np.ndarray], None]]:
    """Takes frames and what was found over them, [H,W,3] uint8 RGB both, and writes a video, whole or not at all.

    Raises: InferenceError, where the file is there already, or cannot be written.
    """
    if video.path.exists():
        raise InferenceError(f"{video.path}: is there already; remove it, or give --video another name")
    try:
        with whole_file(video.path) as file, film(file, video.rate) as add:
            yield lambda frame, found: add(np.concatenate((frame, found), axis=1) if video.beside else found)
    except OSError as error:
        raise InferenceError(
            f"{video.path}: cannot be written ({error.strerror or error}); make room, or give another --video"
        ) from None
