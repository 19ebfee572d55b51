"""Which frames get pseudo labels: those around annotated frames, or those of videos and folders without any."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from propagate.data.clip import Clip, Frame, Resource
from propagate.data.file_frame import FileFrame
from propagate.data.video_frame import VideoFile, VideoFrame
from propagate.datasets.folder import safe_name
from sdcnet.frames import pictures, video, visible_files
from segtrain.errors import DataError

CLIP = 30  # frames of a video that are the unit of work, of failures and of planning
ENDINGS = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True, kw_only=True)
class Stretch(Clip):
    """A part of a recording without annotations: the frame at offset 0 is its first one, and gets labels too.

    begins_with: the key of the recording's first frame; start: how many frames after that the stretch begins.
    """

    begins_with: str
    start: int


def clips_around(clips: Sequence[Clip], beyond: int) -> list[Clip]:
    """Clips of annotated frames without their label maps, each frame in one alone, that of the nearest of these.

    clips: as a data set gives them. Those without a frame farther away than `beyond`, none of which is known to be
    missing, are left out. Raises: DataError where none is left.
    """
    nearest: dict[str, tuple[int, str]] = {}
    for clip in clips:
        for offset, frame in clip.frames.items():
            place = abs(offset), clip.key
            nearest[frame.key] = min(nearest.get(frame.key, place), place)
    own = [
        replace(
            clip,
            label=None,
            frames={n: frame for n, frame in clip.frames.items() if nearest[frame.key] == (abs(n), clip.key)},
        )
        for clip in clips
    ]
    kept = [clip for clip in own if clip.missing or any(abs(offset) > beyond for offset in clip.frames)]
    if not any(abs(offset) > beyond for clip in kept for offset in clip.frames):
        farthest = max((abs(offset) for clip in own for offset in clip.frames), default=0)
        raise DataError(
            f"no frame to label farther than {beyond} from the nearest of {len(clips)} annotated frames, the farthest "
            f"is {farthest} away; choose a smaller --beyond or a larger --frames, or add the frames between them"
        )
    return kept


def clips_of_sources(sources: Iterable[Path], split: str, every: int) -> list[Clip]:
    """Every n-th frame of videos, and of folders of frames, searched with their sub-folders, in stretches.

    In a folder, files whose names differ only in a number are one recording, and a gap in the numbers begins another.
    Frames are named by their paths in their folder; those of a video by its name and their numbers.
    Raises: DataError for a source that is not there or holds neither, and for two frames of one name; FrameError for a
    video that cannot be opened.
    """
    clips: list[Clip] = [
        clip
        for source in sources
        for group, frames in _recordings(source)
        for clip in _stretches(frames, group, split, every)
    ]
    seen: dict[str, Frame] = {}
    for frame in (frame for clip in clips for frame in clip.frames.values()):
        if (other := seen.setdefault(frame.key, frame)) is not frame:
            raise DataError(
                f"{frame.where} and {other.where}: both would be called {frame.key}; rename one, or label them into "
                "different stores"
            )
    return clips


def wanted_offsets(clip: Clip, beyond: int) -> list[int]:
    """The offsets of a clip whose frames get labels: outwards, those after offset 0 first."""
    wanted = [n for n in clip.frames if abs(n) > beyond or isinstance(clip, Stretch)]
    return sorted(wanted, key=lambda offset: (offset < 0, abs(offset)))


def _recordings(source: Path) -> Iterator[tuple[str, list[Frame]]]:
    """Consecutive frames, and the group that they are of."""
    if source.is_file():
        yield _video(source, source.parent)
        return
    if not source.is_dir():
        raise DataError(f"{source}: does not exist, expected a video or a folder of frames; check the path")
    files = visible_files(source)
    images = [path for path in files if path.suffix.lower() in ENDINGS]
    videos = [path for path in files if path.suffix.lower() in video.ENDINGS]
    if not images and not videos:
        endings = " ".join((*ENDINGS, *video.ENDINGS))
        raise DataError(f"{source}: neither frames nor videos in this folder ({endings}); name the folder of some")
    for run in pictures.consecutive(images):
        yield safe_name(run[0].parent.resolve().name), [_picture(path, source) for path in run]
    for path in sorted(videos, key=pictures.natural_order):
        yield _video(path, source)


def _picture(path: Path, folder: Path) -> FileFrame:
    name = path.relative_to(folder)
    key = safe_name(name.with_suffix("").as_posix())
    return FileFrame(key, Resource(str(folder.resolve()), name.as_posix(), path.stat().st_size))


def _video(path: Path, folder: Path) -> tuple[str, list[Frame]]:
    sequence = video.VideoSequence(path)
    name = path.relative_to(folder).as_posix()
    group = safe_name(path.relative_to(folder).with_suffix("").as_posix())
    file = VideoFile.of(folder.resolve(), name)
    return group, [VideoFrame(f"{group}_{n}", file, n, sequence.size, (n, n)) for n in range(len(sequence))]


def _stretches(frames: Sequence[Frame], group: str, split: str, every: int) -> Iterator[Stretch]:
    numbers = range(0, len(frames), every)
    starts = [*range(0, len(numbers), CLIP), len(numbers)]
    for first, after in pairwise(starts):
        start = numbers[first]
        yield Stretch(
            key=frames[start].key,
            split=split,
            group=group,
            frames={number - start: frames[number] for number in numbers[first:after]},
            label=None,
            begins_with=frames[0].key,
            start=start,
        )
