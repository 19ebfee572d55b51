"""The semantic benchmark of KITTI, extracted or in the zip file as it is downloaded.

Reference: Alhaija et al., IJCV 2018; Menze and Geiger, CVPR 2015, whose frames these are.
"""

import re
from functools import cached_property

from propagate.data.classes import load_classes
from propagate.datasets.base import DatasetOptions, refuse_layout_file, refuse_max_gap, refuse_unknown_split
from propagate.datasets.files import FileDataset
from propagate.datasets.sequence import Entry
from propagate.datasets.tree import Tree
from propagate.errors import DatasetError

_FRAMES, _LABELS = "training/image_2", "training/semantic"
_ENDING = ".png"
_KEY = re.compile(r"(?P<scene>\d{6})_(?P<frame>\d{2})")
_SPLITS = ("train", "val")
_BLOCK, _CYCLE = 10, 50


class Kitti(FileDataset):
    """training/image_2/SCENE_10.png and training/semantic/SCENE_10.png, with the label ids of Cityscapes.

    The benchmark has 200 annotated scenes and no split of its own. Here, of every 50 scenes the last 10 are val (40…49,
    90…99, 140…149, 190…199) and the other 160 train: blocks, since scenes that follow one another may be of one drive.

    The benchmark's scenes have one frame each, and so no neighbours; frames of the multi-view extension (SCENE_00 to
    SCENE_20), put beside them, are neighbours.

    Raises: DatasetError: a root without labels, an unknown split, an option that the layout does not take.
    """

    marks = (_LABELS, "data_semantics.zip")

    def __init__(self, options: DatasetOptions) -> None:
        refuse_layout_file(options, "kitti")
        refuse_max_gap(options, "kitti", "its frame numbers count every frame")
        self.classes = load_classes("cityscapes")
        super().__init__(Tree(options.root, archives=("data_*.zip",)), options.split, max_gap=1)
        if not self._tree.files(_LABELS):
            raise DatasetError(
                f"{options.root}: no KITTI labels: neither {_LABELS}/ nor data_semantics.zip is there; add one of "
                "them, or name another --dataset"
            )
        refuse_unknown_split(options, _SPLITS)

    @cached_property
    def _frames(self) -> list[Entry]:
        return self._entries(_FRAMES)

    @cached_property
    def _labels(self) -> list[Entry]:
        found = self._entries(_LABELS)
        if not found:
            raise DatasetError(
                f"{self._tree.root}: frames without labels: {_LABELS} holds no label map of split '{self._split}' with "
                f"a name like 000000_10{_ENDING}; add them"
            )
        return found

    def _entries(self, folder: str) -> list[Entry]:
        """The files of the split in a folder."""
        names = (name for name in self._tree.files(folder) if name.endswith(_ENDING))
        entries = (_entry(folder, name) for name in names)
        return [entry for entry in entries if entry is not None and _split_of(int(entry.sequence)) == self._split]


def _split_of(scene: int) -> str:
    return "val" if scene % _CYCLE >= _CYCLE - _BLOCK else "train"


def _entry(folder: str, name: str) -> Entry | None:
    """The file's place; None where its name isn't one of KITTI's."""
    key = name.removesuffix(_ENDING)
    match = _KEY.fullmatch(key)
    if match is None:
        return None
    return Entry(key=key, group="kitti", sequence=match["scene"], number=int(match["frame"]), path=f"{folder}/{name}")
