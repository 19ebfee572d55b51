"""Where frames come from: folders of image files, and video files, as sequences of consecutive frames."""

from collections.abc import Iterable
from pathlib import Path

from sdcnet.errors import FrameError
from sdcnet.frames import pictures, video
from sdcnet.frames.sequence import FrameSequence

__all__ = ["FrameSequence", "open_sequences", "visible_files"]


def open_sequences(sources: Iterable[Path]) -> list[FrameSequence]:
    """The sequences in folders, searched with their sub-folders, and in video files; in the order of their names.

    In a folder, image files whose names differ only in a number are one recording, and a gap in the numbers cuts it;
    files of other kinds, and hidden ones, are left alone. A video that ends early is used as far as it goes, with a
    warning.

    Raises: FrameError: a source that is not there, has no two consecutive frames, or holds a file that cannot be used.
    """
    return [sequence for source in sources for sequence in _open_source(source)]


def _open_source(source: Path) -> list[FrameSequence]:
    if source.is_file():
        if source.suffix.lower() in pictures.ENDINGS:
            raise FrameError(str(source), "a single image, expected a video or a folder of frames; give its folder")
        return [video.VideoSequence(source)]
    if not source.is_dir():
        found = "is no regular file" if source.exists() else "does not exist"
        raise FrameError(str(source), f"{found}, expected a folder of frames or a video; check the path")
    files = visible_files(source)
    images = [path for path in files if path.suffix.lower() in pictures.ENDINGS]
    videos = [path for path in files if path.suffix.lower() in video.ENDINGS]
    sequences: list[FrameSequence] = [*pictures.picture_sequences(images)]
    sequences += [video.VideoSequence(path) for path in sorted(videos, key=pictures.natural_order)]
    if not sequences:
        found = f"{len(images)} images of which no two are consecutive" if images else "neither images nor videos"
        endings = " ".join((*pictures.ENDINGS, *video.ENDINGS))
        reason = f"{found} in this folder, expected two consecutive frames ({endings}); name the frames' folder"
        raise FrameError(str(source), reason)
    return sequences


def visible_files(folder: Path) -> list[Path]:
    """All files below a folder, but for those that are, or lie in, something hidden; in no order."""
    return [path for path in folder.rglob("*") if not _is_hidden(path.relative_to(folder)) and path.is_file()]


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
