"""The Cityscapes layout, extracted or in the zip files as they are downloaded.

Reference: Cordts et al., CVPR 2016; names and snippets as the data set's own documentation gives them.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

from propagate.classes import load_classes
from propagate.clip import Clip, Label
from propagate.datasets.base import DatasetOptions, refuse_layout_file, refuse_unknown_split
from propagate.datasets.sequence import Entry, FrameSequence, find_labels, make_clips
from propagate.datasets.tree import Tree
from propagate.errors import DatasetError

# Where <split>/<city>/ may lie; what comes first wins.
_FRAME_FOLDERS = (
    "leftImg8bit_sequence",
    "leftImg8bit_sequence_trainvaltest/leftImg8bit_sequence",
    "leftImg8bit_trainvaltest/leftImg8bit_sequence",
    "leftImg8bit",
    "leftImg8bit_trainvaltest/leftImg8bit",
)
_LABEL_FOLDERS = ("gtFine", "gtFine_trainvaltest/gtFine")
_LABEL_ENDINGS = (("_gtFine_labelIds.png", False), ("_gtFine_labelTrainIds.png", True))
_FRAME_ENDING = "_leftImg8bit.png"
_KEY = re.compile(r".+_\d{6}_\d{6}")  # a city's name may hold underscores itself
_NUM_BEFORE, _NUM_AFTER = 19, 10  # a snippet's frames on either side of the annotated one


class Cityscapes:
    """30-frame snippets with the 20th annotated; an offset is a difference of frame numbers.

    Raises DatasetError: a root without labels, an unknown split, an option that the layout does not take.
    """

    def __init__(self, options: DatasetOptions) -> None:
        refuse_layout_file(options, "cityscapes")
        if options.max_gap is not None:
            raise DatasetError(
                f"{options.root}: the cityscapes layout takes no --max-gap, its frame numbers count every frame; "
                "leave it out"
            )
        self.classes = load_classes("cityscapes")
        self._tree = Tree(options.root, archives=("leftImg8bit*.zip", "gtFine*.zip"))
        self._split = options.split
        splits = sorted({split for folder in _LABEL_FOLDERS for split in self._tree.folders(folder)})
        if not splits:
            raise DatasetError(
                f"{options.root}: no Cityscapes labels: neither gtFine/<split>/<city>/ nor gtFine_trainvaltest.zip "
                "is there; add one of them, or name another --dataset"
            )
        refuse_unknown_split(options, splits)

    def clips(self, num_neighbours: int) -> list[Clip]:
        return make_clips(
            self._tree,
            self._split,
            frames=self._frames(sorted({label.group for label in self._labels})),
            labels=self._labels,
            walk=self._walk,
            num_neighbours=num_neighbours,
        )

    def labels(self, keys: Iterable[str]) -> dict[str, Label]:
        return find_labels(self._tree, self._labels, keys)

    @cached_property
    def _labels(self) -> list[Entry]:
        cities = sorted({city for top in _LABEL_FOLDERS for city in self._tree.folders(f"{top}/{self._split}")})
        found: dict[tuple[str, str], Entry] = {}
        for ending, holds_train_ids in _LABEL_ENDINGS:
            for city, path, key in self._files(_LABEL_FOLDERS, cities, ending):
                if _KEY.fullmatch(key) is None:
                    raise DatasetError(
                        f"{self._tree.locate(path)}: expected a name like aachen_000000_000019{ending}; rename or "
                        "remove it"
                    )
                found.setdefault((city, key), _entry(city, path, key, holds_train_ids=holds_train_ids))
        if not found:
            raise DatasetError(
                f"{self._tree.root}: frames without labels: split '{self._split}' holds no "
                f"*{' and no *'.join(ending for ending, _ in _LABEL_ENDINGS)}; add them"
            )
        return list(found.values())

    def _frames(self, cities: Iterable[str]) -> list[Entry]:
        found: dict[tuple[str, str], Entry] = {}
        for city, path, key in self._files(_FRAME_FOLDERS, cities, _FRAME_ENDING):
            if _KEY.fullmatch(key) is not None and (city, key) not in found:
                found[city, key] = _entry(city, path, key)
        return list(found.values())

    def _files(self, folders: Iterable[str], cities: Iterable[str], ending: str) -> Iterator[tuple[str, str, str]]:
        """City, path and key of each file with that ending."""
        for city in cities:
            for top in folders:
                folder = f"{top}/{self._split}/{city}"
                for name in self._tree.files(folder):
                    if name.endswith(ending):
                        yield city, f"{folder}/{name}", name.removesuffix(ending)

    def _walk(
        self, sequence: FrameSequence, start: int, direction: int, limit: int
    ) -> tuple[Sequence[int], str | None]:
        """The frames at consecutive numbers; a hole within the snippet is a missing frame, its end is none."""
        reached: list[int] = []
        number = start + direction
        while len(reached) < limit and number in sequence.frames:
            reached.append(number)
            number += direction
        if len(reached) == limit:
            return reached, None
        end = start + (_NUM_AFTER + 1 if direction > 0 else -_NUM_BEFORE - 1)
        beyond = next((n for n in range(number, end, direction) if n in sequence.frames), None)
        return reached, None if beyond is None else self._missing(sequence.frames[beyond], number)

    def _missing(self, beyond: Entry, number: int) -> str:
        key = f"{beyond.sequence}_{number:06d}"
        path = self._tree.locate(beyond.path).replace(beyond.key, key)
        return f"{path}: this frame is missing, though {beyond.key}, farther out, is there; add it"


def _entry(city: str, path: str, key: str, *, holds_train_ids: bool = False) -> Entry:
    sequence, _, number = key.rpartition("_")
    return Entry(
        key=key,
        group=city,
        sequence=sequence,
        number=int(number),
        path=path,
        holds_train_ids=holds_train_ids,
    )
