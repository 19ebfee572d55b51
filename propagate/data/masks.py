"""Masks of frames that something else made, such as SAM: where they lie, and what they hold.

A frame's masks are ``<key>.png``, which numbers them from 1 on, or ``<key>.json``, a list of masks as COCO's runs.

Reference: cocodataset.org, format of data.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from propagate.data.clip import Clip, Resource
from propagate.data.images import read_mask_ids
from propagate.data.keyed_files import KeyedFiles
from propagate.data.runs import mask_of_runs, runs_of_coco
from propagate.errors import DatasetError, InputError

MOST_MASKS = 10_000  # of one frame, as runs
MOST_BYTES = 1 << 25  # of a JSON file
_ENDINGS = (".png", ".json")


class MaskDirectory:
    """Masks anywhere below a directory, listed once and found by their frame's key, which may hold folders.

    Raises: DatasetError: no such directory.
    """

    def __init__(self, root: Path) -> None:
        advice = "--masks takes the directory that holds <frame>.png or <frame>.json"
        self._files = KeyedFiles(root, _ENDINGS, advice)

    def find(self, key: str) -> Resource | None:
        """The file of the masks of that frame, or None. Raises: DatasetError where there are two."""
        paths = [path for ending in _ENDINGS for path in self._files.paths_of(key + ending)]
        if len(paths) > 1:
            raise DatasetError(
                f"{self._files.root}: two files of masks for {key}: {paths[0]} and {paths[1]}; give --masks a "
                "directory below which each frame has one"
            )
        return self._files.resource(paths[0]) if paths else None


def with_masks(clips: Sequence[Clip], root: Path) -> list[Clip]:
    """Clips with the files of masks that there are of their neighbours. Raises: DatasetError where there is none."""
    directory = MaskDirectory(root)
    found = []
    for clip in clips:
        annotated = {0} if clip.beyond is None else {0, clip.beyond.offset}
        files = {offset: directory.find(frame.key) for offset, frame in clip.frames.items() if offset not in annotated}
        found.append(replace(clip, masks={offset: file for offset, file in files.items() if file is not None}))
    keys = [frame.key for clip in clips for offset, frame in clip.frames.items() if offset]
    if keys and not any(clip.masks for clip in found):
        raise DatasetError(
            f"{root}: none of the {len(keys)} frames that labels are carried to has masks there; they are called "
            f"{keys[0]}.png or {keys[0]}.json, and so on, in any folder below it"
        )
    return found


def read_masks(resource: Resource, size: tuple[int, int]) -> np.ndarray:
    """The masks of a frame of (H, W): [H,W] int32, 0 where there is none, and else numbers from 1 on, without holes.

    Of masks that overlap the one of fewer pixels has them. Raises: InputError: a file that cannot be read, is of
    another size or form, or holds too much.
    """
    is_png = resource.name.endswith(".png")
    numbers = read_mask_ids(resource) if is_png else _of_runs(resource, size)
    if numbers.shape != size:
        raise InputError(
            str(resource),
            "masks of {}x{}, of a frame of {}x{}: they must have one size".format(*numbers.shape, *size),
        )
    there = np.bincount(numbers.ravel()) > 0
    there[0] = False
    return (np.cumsum(there, dtype=np.int32) * there)[numbers]


def _of_runs(resource: Resource, size: tuple[int, int]) -> np.ndarray:
    """[H,W] int32, the larger masks under the smaller. Raises: InputError."""
    where = str(resource)
    listed = _listed(resource)
    runs = []
    for number, item in enumerate(listed):
        area = item.get("segmentation", item) if isinstance(item, dict) else item
        if not isinstance(area, dict):
            raise InputError(
                where, f"mask {number} is {area!r:.60}, expected COCO's runs, an object of size and counts"
            )
        try:
            each = runs_of_coco(area, size)
            if any(run < 0 for run in each) or sum(each) != size[0] * size[1]:
                raise ValueError(f"its runs cover {sum(each)} pixels, expected {size[0] * size[1]}; export it again")
        except ValueError as error:
            raise InputError(where, f"mask {number}: {error}") from None
        runs.append(each)
    numbers = np.zeros(size, np.int32)
    for number, each in enumerate(sorted(runs, key=lambda each: -sum(each[1::2])), 1):
        numbers[mask_of_runs(each, size[1], size[0]).T] = number
    return numbers


def _listed(resource: Resource) -> list[Any]:
    """The items of a JSON list. Raises: InputError."""
    where = str(resource)
    data = resource.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise InputError(where, f"more than {MOST_BYTES} bytes of masks of one frame; keep the masks that matter")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InputError(where, f"not a JSON file ({reason}); export it again") from None
    if not isinstance(found, list):
        raise InputError(where, f"holds {found!r:.60}, expected a list of masks as COCO's runs; export it again")
    if len(found) > MOST_MASKS:
        raise InputError(where, f"{len(found)} masks of one frame, expected at most {MOST_MASKS}")
    return found
