"""Mapillary Vistas with the classes of version 1.2, extracted or in the zip file as it is downloaded.

Reference: Neuhold et al., ICCV 2017.
"""

import json
from functools import cached_property

from propagate.data.classes import IGNORE_TRAIN_ID, ClassTable
from propagate.data.clip import Resource
from propagate.datasets.base import DatasetOptions, refuse_layout_file, refuse_max_gap, refuse_unknown_split
from propagate.datasets.files import FileDataset
from propagate.datasets.sequence import Entry
from propagate.datasets.tree import Tree
from propagate.errors import DatasetError

_FOLDERS = {"train": "training", "val": "validation"}
_LABEL_FOLDERS = ("labels", "v1.2/labels")  # the second where the download holds version 2.0 too
_CONFIGS = ("config.json", "config_v1.2.json")
_FRAME_ENDING, _LABEL_ENDING = ".jpg", ".png"
_UNLABELED = "void--unlabeled"


class Mapillary(FileDataset):
    """{training,validation}/images/KEY.jpg and .../labels/KEY.png, whose palette indices are the label ids.

    The splits are train and val. Single pictures: there are no neighbours. The classes come from the data set's own
    config.json, in its order: all are trained, but for the one that stands for unlabeled pixels.

    Raises: DatasetError: a root without labels or config.json, an unknown split, an option that the layout does not
    take.
    """

    marks = tuple(f"{folder}/{labels}" for folder in _FOLDERS.values() for labels in _LABEL_FOLDERS)

    def __init__(self, options: DatasetOptions) -> None:
        refuse_layout_file(options, "mapillary")
        refuse_max_gap(options, "mapillary", "its pictures have no neighbours")
        super().__init__(Tree(options.root), options.split)
        splits = [split for split in _FOLDERS if any(map(self._tree.files, _label_folders(split)))]
        if not splits:
            raise DatasetError(
                f"{options.root}: no Mapillary labels: neither training/labels/ nor validation/labels/ is there, nor a "
                "zip file that holds them; add them, or name another --dataset"
            )
        refuse_unknown_split(options, splits)
        self.classes = read_classes(self._config())

    @cached_property
    def _frames(self) -> list[Entry]:
        return self._entries(f"{_FOLDERS[self._split]}/images", _FRAME_ENDING)

    @cached_property
    def _labels(self) -> list[Entry]:
        for folder in _label_folders(self._split):
            found = self._entries(folder, _LABEL_ENDING)
            if found:
                return found
        raise DatasetError(
            f"{self._tree.root}: frames without labels: split '{self._split}' holds no *{_LABEL_ENDING}; add them"
        )

    def _entries(self, folder: str, ending: str) -> list[Entry]:
        names = (name for name in self._tree.files(folder) if name.endswith(ending))
        return [_entry(self._split, f"{folder}/{name}", name.removesuffix(ending)) for name in names]

    def _config(self) -> Resource:
        there = self._tree.files("")
        for name in _CONFIGS:
            if name in there:
                return self._tree.resource(name)
        raise DatasetError(
            f"{self._tree.root}: no {' and no '.join(_CONFIGS)}, which names the classes; it comes with the data set, "
            "beside the folder training: add it"
        )


def read_classes(config: Resource) -> ClassTable:
    """The class table from the data set's config.json: label ids count its labels. Raises: DatasetError."""
    try:
        labels = json.loads(config.read())["labels"]
        unlabeled = [label["name"] for label in labels].index(_UNLABELED)
        classes = [
            {
                "id": number,
                "name": label["readable"],
                "train_id": IGNORE_TRAIN_ID if number == unlabeled else number - (number > unlabeled),
                "color": label["color"],
            }
            for number, label in enumerate(labels)
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{config}: {type(error).__name__}: {error}; expected the config.json of Mapillary Vistas 1.2, with labels "
            f"of which one is named {_UNLABELED}: copy it from the download again"
        ) from None
    return ClassTable.from_json({"name": "mapillary", "ignore_id": unlabeled, "classes": classes}, where=str(config))


def _label_folders(split: str) -> list[str]:
    return [f"{_FOLDERS[split]}/{folder}" for folder in _LABEL_FOLDERS]


def _entry(split: str, path: str, key: str) -> Entry:
    return Entry(key=key, group=split, sequence=key, number=0, path=path)
