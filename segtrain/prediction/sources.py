"""What a network is to segment: images in folders, frames of videos, or the annotated images of a data set."""

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from propagate.data.clip import Resource
from propagate.data.images import decode_frame, read_image
from sdcnet.frames import pictures, video, visible_files
from segtrain.data.dataset import SegmentationDataset
from segtrain.errors import DataError

ENDINGS = (".png", ".jpg", ".jpeg")
OTHER_IMAGES = (".bmp", ".gif", ".heic", ".ppm", ".tif", ".tiff", ".webp")  # FFmpeg would open most of them as videos


class Picture(NamedTuple):
    """An image, not yet read. `name` is its path among the results, without an ending; `where`, what messages call it.

    read: -> [H,W,3] uint8 RGB, and [H,W] uint8 true train ids or None. Raises an error of the package that reads it.
    """

    name: str
    where: str
    read: Callable[[], tuple[np.ndarray, np.ndarray | None]]


def pictures_of_files(sources: Iterable[Path]) -> list[Picture]:
    """The images of folders, searched with their sub-folders, single images, and all frames of videos.

    Named by their paths in their folders; the frames of a video by their numbers, below the video's name.
    Raises: DataError: a source that is not there, holds no images, or has names that another one has; FrameError: a
    video that cannot be opened.
    """
    found = [picture for source in sources for picture in _of_source(source)]
    require_names_of_their_own((picture.name, picture.where) for picture in found)
    return found


def require_names_of_their_own(named: Iterable[tuple[str, str]]) -> None:
    """Raise DataError where two of these would be written to one place. named: names among the results, and sources."""
    by_name: dict[str, str] = {}
    for name, where in named:
        if name in by_name:
            raise DataError(
                f"{where} and {by_name[name]}: both would be written as {name}; segment them into different folders, "
                "one after the other"
            )
        by_name[name] = where


def rate_of(source: Path) -> Fraction:
    """Frames a second of a video. Raises: DataError for what is none; FrameError for one that cannot be opened."""
    if source.suffix.lower() not in video.ENDINGS:
        raise DataError(f"{source}: is no video, and of such a --video is made; leave it out, or give a video")
    return video.VideoSequence(source).rate


def pictures_of_dataset(dataset: SegmentationDataset) -> list[Picture]:
    """The annotated images of a data set, with their truth, named by their keys."""
    return [
        Picture(record.key, record.key, partial(_read_annotated, dataset, number))
        for number, record in enumerate(dataset.records)
    ]


def _read_annotated(dataset: SegmentationDataset, number: int) -> tuple[np.ndarray, np.ndarray]:
    pixels = dataset.read(number)
    return pixels.image, pixels.label


def _of_source(source: Path) -> Iterator[Picture]:
    if source.is_file():
        yield from _of_file(source, source.parent)
        return
    if not source.is_dir():
        raise DataError(f"{source}: does not exist, expected a folder of images, an image or a video; check the path")
    paths = visible_files(source)
    known = [path for path in paths if path.suffix.lower() in (*ENDINGS, *video.ENDINGS)]
    if not known:
        endings = " ".join((*ENDINGS, *video.ENDINGS))
        raise DataError(
            f"{source}: {len(paths)} files, none of them an image or a video ({endings}); name their folder"
        )
    for path in sorted(known, key=pictures.natural_order):
        yield from _of_file(path, source)


def _of_file(path: Path, folder: Path) -> Iterator[Picture]:
    name = path.relative_to(folder).with_suffix("").as_posix()
    if path.suffix.lower() in ENDINGS:
        yield Picture(name, str(path), partial(_read_picture, path))
        return
    if path.suffix.lower() in OTHER_IMAGES:
        raise DataError(f"{path}: an image of a kind that is not read, expected PNG or JPEG; convert it to PNG")
    sequence = video.VideoSequence(path)
    for number in range(len(sequence)):
        where = f"{path}, frame {number}"
        yield Picture(str(PurePosixPath(name, f"{number:06d}")), where, partial(_read_frame, sequence, number))


def read_picture(path: Path) -> np.ndarray:
    """An image file, PNG or JPEG: [H,W,3] uint8 RGB. Raises: InputError, FileError."""
    return decode_frame(read_image(Resource(str(path.parent), path.name, 0)), str(path))


def _read_picture(path: Path) -> tuple[np.ndarray, None]:
    return read_picture(path), None


def _read_frame(sequence: video.VideoSequence, number: int) -> tuple[np.ndarray, None]:
    frame = sequence.frames(number, number + 1)[0].permute(1, 2, 0).numpy()
    if number == len(sequence) - 1:
        sequence.close()  # of many videos, one is open at a time
    return frame, None
