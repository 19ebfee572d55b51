"""Sequences of image files: which files are consecutive frames of one recording, by their names, and their pixels."""

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from jobs.image_limit import open_image
from sdcnet.errors import FrameError
from sdcnet.frames.sequence import FrameSequence

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm")
AGAIN = "copy or download it again"
# A recording, the number of a frame in it, then perhaps words: aachen_000000_000019_leftImg8bit, 0016E5_07959, img0.
_NAME = re.compile(r"(?P<recording>.*?)(?P<number>\d+)(?P<words>([-_.][A-Za-z][A-Za-z0-9]*)*)")

_log = logging.getLogger(__name__)


class PictureSequence(FrameSequence):
    """Image files of one size. Raises: FrameError: a file that is no 8-bit RGB image, or has another size."""

    def __init__(self, paths: Sequence[Path]) -> None:
        size = _checked_size(paths[0])
        for path in paths[1:]:
            if (other := _checked_size(path)) != size:
                reason = (
                    f"a frame of {_by(other)}, expected {_by(size)} as in {paths[0]}, of the same sequence; "
                    "put recordings of different sizes in different folders"
                )
                raise FrameError(str(path), reason)
        super().__init__(f"{paths[0]}…{paths[-1].name}", size, tuple(paths))

    def __len__(self) -> int:
        return len(self.paths)

    def _read(self, index: int) -> np.ndarray:
        path = self.paths[index]
        try:
            with open_image(path, str(path), FrameError) as image:
                pixels = np.asarray(image)
        except (OSError, SyntaxError, ValueError) as error:
            raise FrameError(str(path), f"an image that cannot be decoded ({error}); {AGAIN}") from None
        if pixels.shape != (*self.size, 3):
            raise FrameError(str(path), f"has changed since it was opened; expected {_by(self.size)} RGB; begin again")
        return pixels


def picture_sequences(paths: Iterable[Path]) -> list[PictureSequence]:
    """The sequences that image files make: by folder, then by name; a gap in the numbers begins a new one.

    Numbers count in steps of their recording's smallest step. Frames without a neighbour are left out, with a warning.
    Raises: FrameError, as `PictureSequence` does.
    """
    runs = list(consecutive(paths))
    lone = [run[0] for run in runs if len(run) == 1]
    if lone:
        _log.warning("%d frames have no neighbour and are left out, first %s", len(lone), lone[0])
    return [PictureSequence(run) for run in runs if len(run) > 1]


def consecutive(paths: Iterable[Path]) -> Iterator[list[Path]]:
    """Files of consecutive numbers, in the order of their recordings' names."""
    recordings: dict[tuple[str, ...], list[tuple[int, Path]]] = defaultdict(list)
    for position, path in enumerate(sorted(paths, key=natural_order)):
        match = _NAME.fullmatch(path.stem)
        name = (match["recording"], match["words"]) if match else ()
        number = int(match["number"]) if match else position  # without numbers, the order of the names has to do
        recordings[str(path.parent), path.suffix.lower(), *name].append((number, path))
    for numbered in recordings.values():
        numbered.sort(key=lambda item: item[0])
        gaps = [after - before for (before, _), (after, _) in pairwise(numbered)]
        step = min((gap for gap in gaps if gap > 0), default=1)
        run = [numbered[0][1]]
        for gap, (_, path) in zip(gaps, numbered[1:], strict=True):
            if gap > step:
                yield run
                run = []
            run.append(path)
        yield run


def natural_order(path: Path) -> list[tuple[int, int, str]]:
    """A key that sorts names as people do: frame2 before frame10."""
    parts = re.split(r"(\d+)", str(path))
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


def _checked_size(path: Path) -> tuple[int, int]:
    """(H, W) from an image's header. Raises: FrameError: no image, or none of 8-bit RGB."""
    try:
        with open_image(path, str(path), FrameError) as image:
            form, mode, (width, height) = image.format, image.mode, image.size
    except (OSError, SyntaxError, ValueError) as error:
        if path.is_file() and not path.stat().st_size:
            raise FrameError(str(path), f"empty file (0 bytes), expected an image; {AGAIN}") from None
        raise FrameError(str(path), f"cannot be read as an image ({error}); {AGAIN}, or remove it") from None
    if mode != "RGB":
        reason = f"{form} image of mode {mode}, expected 8-bit RGB; convert it, or name the folder of the frames alone"
        raise FrameError(str(path), reason)
    return height, width


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
