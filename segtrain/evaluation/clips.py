"""Which frames a temporal consistency is measured on: annotated ones with those around them."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib.resources import files

from propagate.data.clip import Clip, Label
from propagate.datasets.base import Dataset
from segtrain.errors import DataError

_PUBLISHED = "published_clips.txt"


def clips_around(dataset: Dataset, num_before: int, num_after: int, where: str) -> list[Clip]:
    """A clip for each annotated frame, with so many frames before and after it as are there, but of two frames or more.

    A clip in which a frame is known to be missing, which has it in `missing`, is among them.
    Raises: DataError where there is none.
    """
    clips = [_cut(clip, num_before, num_after) for clip in dataset.clips(num_neighbours=max(num_before, num_after))]
    used = [clip for clip in clips if len(clip.frames) > 1 or clip.missing]
    if not used:
        raise DataError(
            f"{where}: of {len(clips)} annotated frames none has another one within {num_before} before and "
            f"{num_after} after it, and consistency in time needs frames in succession; add those around the annotated "
            "ones, or leave out --temporal"
        )
    return used


def published_clips(clips: Iterable[Clip], where: str) -> list[Clip]:
    """Those of the published measure, by their annotated frames. Raises: DataError where there is none."""
    names = published_names()
    used = [clip for clip in clips if clip.key in names]
    if not used:
        raise DataError(
            f"{where}: none of the {len(names)} clips of the published measure is here, which are of the Cityscapes "
            "validation data with their 30-frame snippets; leave out --as-published"
        )
    return used


def published_names() -> frozenset[str]:
    """The annotated frames of the 108 clips of the published measure.

    Reference: the released lists of Liu et al., ECCV 2020: 108 of 500, drawn once.
    """
    return frozenset(files("segtrain.evaluation").joinpath(_PUBLISHED).read_text(encoding="utf-8").split())


def labels_in_succession(dataset: Dataset, clips: Iterable[Clip]) -> dict[str, Label]:
    """The label maps of frames of the clips, by key, that have an annotated frame right before or after them."""
    successions = [
        (frame.key, clip.frames[offset + 1].key)
        for clip in clips
        for offset, frame in clip.frames.items()
        if offset + 1 in clip.frames
    ]
    found: Mapping[str, Label] = dataset.labels({key for keys in successions for key in keys})
    return {key: found[key] for keys in successions if all(key in found for key in keys) for key in keys}


def _cut(clip: Clip, num_before: int, num_after: int) -> Clip:
    return replace(
        clip,
        frames={offset: frame for offset, frame in clip.frames.items() if -num_before <= offset <= num_after},
        missing={offset: why for offset, why in clip.missing.items() if -num_before <= offset <= num_after},
    )
