"""Runs of pixels, as COCO's tools and CVAT's write masks, to bool masks and back."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_LONGEST_NUMBER = 7  # characters of a run in COCO's text, 5 bits each
_FIRST, _LAST = ord("0"), ord("o")
_MORE, _NEGATIVE = 0x20, 0x10


def mask_of_runs(runs: Sequence[int], height: int, width: int) -> np.ndarray:
    """[height,width] bool, row by row: runs of pixels that are not in it, and are, by turns, beginning with not.

    Raises: ValueError unless the runs are as long as the mask has pixels.
    """
    if any(run < 0 for run in runs) or sum(runs) != height * width:
        raise ValueError(f"its runs cover {sum(runs)} pixels, expected {height * width}; export it again")
    lengths = np.array(runs, np.int64)
    inside = np.arange(lengths.size) % 2 == 1
    return np.repeat(inside, lengths).reshape(height, width)


def runs_of_mask(mask: np.ndarray) -> list[int]:
    """The runs of a bool mask, row by row, as `mask_of_runs` reads them."""
    flat = np.concatenate([[False], mask.ravel()])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff(np.concatenate([[0], changes, [mask.size]])).tolist()


def runs_of_text(text: str) -> list[int]:
    """The runs that COCO's compressed text stands for; pycocotools reads it too, but not whether it is long enough.

    Each number takes characters of 5 bits, the lowest first, and a bit that says whether more follow; from the fourth
    number on it is the difference to the number two before. Reference: pycocotools, maskApi.
    Raises: ValueError.
    """
    runs: list[int] = []
    number = bits = 0
    for character in text.encode("utf-8", "replace"):
        if not _FIRST <= character <= _LAST or bits >= 5 * _LONGEST_NUMBER:
            raise ValueError(f"its text of runs is none: {chr(character)!r} after {len(runs)} runs; export it again")
        value = character - _FIRST
        number |= (value & 0x1F) << bits
        bits += 5
        if not value & _MORE:
            if value & _NEGATIVE:
                number -= 1 << bits
            runs.append(number + (runs[-2] if len(runs) > 2 else 0))
            number = bits = 0
    if bits:
        raise ValueError("its text of runs ends within a number; export it again")
    return runs


def runs_of_coco(area: Mapping[str, Any], size: tuple[int, int]) -> list[int]:
    """The runs, column by column, of COCO's object of `size` and `counts`, of an image of (H, W).

    Nothing is made of them yet. Raises: ValueError.
    """
    if list(size) != area.get("size"):
        raise ValueError(f"runs of the size {area.get('size')!r:.60}, of an image of {list(size)}")
    counts = area.get("counts")
    if isinstance(counts, str):
        return runs_of_text(counts)
    if not isinstance(counts, list):
        found = f"is {counts!r:.60}" if "counts" in area else "is missing"
        raise ValueError(f"the runs: counts {found}, expected a text or a list; export it again")
    if any(type(each) is not int for each in counts):
        raise ValueError("counts holds what is no whole number; export it again")
    return counts
