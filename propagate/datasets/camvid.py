"""The CamVid layout as SegNet and its successors lay it out: frames in one folder, labels in another beside it.

Reference: Brostow et al., Pattern Recognition Letters 2009; Badrinarayanan et al., PAMI 2017.
"""

import re
from functools import cached_property

from propagate.data.classes import load_classes
from propagate.datasets.base import DatasetOptions, refuse_layout_file, refuse_unknown_split
from propagate.datasets.files import FileDataset
from propagate.datasets.sequence import Entry
from propagate.datasets.tree import Tree
from propagate.errors import DatasetError

_LABELS = "annot"
_JOINED = {"trainval": ("train", "val")}  # a split, and the folders that it is of where it has none of its own
_ENDING = ".png"
# 0016E5_07959, 0001TP_006690, Seq05VD_f00000: a sequence, then perhaps a letter, then the frame's number.
_NAME = re.compile(r"(?P<sequence>.*?)(_[A-Za-z]?)?(?P<frame>\d+)")


class CamVid(FileDataset):
    """<split>/NAME.png and <split>annot/NAME.png; frames without annotation are neighbours.

    `trainval` is train and val together. Offsets count the frames of a sequence. Raises: DatasetError: a root without
    labels, an unknown split, an option that the layout does not take.
    """

    marks = (f"?*{_LABELS}",)

    def __init__(self, options: DatasetOptions) -> None:
        refuse_layout_file(options, "camvid")
        self.classes = load_classes("camvid")
        super().__init__(Tree(options.root), options.split, max_gap=options.max_gap)
        splits = [f.removesuffix(_LABELS) for f in self._tree.folders("") if f.endswith(_LABELS) and f != _LABELS]
        if not splits:
            raise DatasetError(
                f"{options.root}: no CamVid labels: expected folders <split>/ and <split>{_LABELS}/; add them, or "
                "name another --dataset"
            )
        joined = {split: parts for split, parts in _JOINED.items() if split not in splits and {*parts} <= {*splits}}
        refuse_unknown_split(options, [*splits, *joined])
        self._folders = joined.get(options.split, (options.split,))

    @cached_property
    def _frames(self) -> list[Entry]:
        found = dict[str, Entry]()
        for folder in self._folders:
            for name in self._images(folder):
                if (entry := self._entry(folder, folder, name)) is not None:
                    found.setdefault(entry.key, entry)  # a frame without annotation may lie in both
        return list(found.values())

    @cached_property
    def _labels(self) -> list[Entry]:
        found: list[Entry] = []
        for split in self._folders:
            folder = split + _LABELS
            names = self._images(folder)
            for name in names:
                entry = self._entry(split, folder, name)
                if entry is None:
                    raise DatasetError(
                        f"{self._tree.locate(f'{folder}/{name}')}: the name must end in the frame's number, as in "
                        f"0016E5_07959{_ENDING}; rename or remove it"
                    )
                found.append(entry)
            if not names:
                raise DatasetError(
                    f"{self._tree.root / folder}: frames without labels: no *{_ENDING} here; add label maps"
                )
        return found

    def _images(self, folder: str) -> list[str]:
        return [name for name in self._tree.files(folder) if name.endswith(_ENDING)]

    def _entry(self, split: str, folder: str, name: str) -> Entry | None:
        """The file's place in its sequence; None where its name does not end in a number."""
        key = name.removesuffix(_ENDING)
        match = _NAME.fullmatch(key)
        if match is None:
            return None
        sequence = match["sequence"] or split
        return Entry(key=key, group=sequence, sequence=sequence, number=int(match["frame"]), path=f"{folder}/{name}")
