"""The Cityscapes layout, extracted or in the zip files as they are downloaded.

Reference: Cordts et al., CVPR 2016; names and snippets as the data set's own documentation gives them.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cached_property

from propagate.data.classes import load_classes
from propagate.data.clip import LABEL_IDS, TRAIN_IDS
from propagate.datasets.base import DatasetOptions, refuse_layout_file, refuse_max_gap, refuse_unknown_split
from propagate.datasets.files import FileDataset
from propagate.datasets.sequence import Entry, Recording
from propagate.datasets.tree import Tree
from propagate.errors import DatasetError

# Where <split>/<city>/ may lie; what comes first wins.
_FRAME_FOLDERS = (
    "leftImg8bit_sequence",
    "leftImg8bit_sequence_trainvaltest/leftImg8bit_sequence",
    "leftImg8bit_trainvaltest/leftImg8bit_sequence",
    "leftImg8bit",
    "leftImg8bit_trainvaltest/leftImg8bit",
    "leftImg8bit_trainextra/leftImg8bit",
)
_FRAME_ENDING = "_leftImg8bit.png"
_KEY = re.compile(r".+_\d{6}_\d{6}")  # a city's name may hold underscores itself
_NUM_BEFORE, _NUM_AFTER = 19, 10  # a snippet's frames on either side of the annotated one

_FOLDED = ("train", "val")
_CITIES = (
    *("frankfurt", "lindau", "munster"),  # of val, and then those of train
    *("aachen", "bochum", "bremen", "cologne", "darmstadt", "dusseldorf", "erfurt", "hamburg", "hanover"),
    *("jena", "krefeld", "monchengladbach", "strasbourg", "stuttgart", "tubingen", "ulm", "weimar", "zurich"),
)
_FOLDS = {f"cv{k}": _CITIES[7 * k : 7 * k + 3] for k in range(3)}  # the validation cities of each
Place = tuple[str, str]  # the split and the city of a folder


class Cityscapes(FileDataset):
    """30-frame snippets with the 20th annotated; an offset is a difference of frame numbers.

    Beside the data set's own splits there are three folds of cross-validation over the 21 cities of train and val:
    cv0, cv1 and cv2 to train on, cv0-val, cv1-val and cv2-val to validate on. cv0 is the standard split; cv1 holds out
    darmstadt, dusseldorf and erfurt; cv2 monchengladbach, strasbourg and stuttgart. A fold is there where its
    validation cities are.

    Reference: Zhu et al., CVPR 2019, for the folds: the split in their published code.

    Raises: DatasetError: a root without labels, an unknown split, an option that the layout does not take.
    """

    name = "cityscapes"
    marks: tuple[str, ...] = ("gtFine", "gtFine_trainvaltest/gtFine", "gtFine*.zip")
    _annotations = "gtFine"
    _label_folders: tuple[str, ...] = ("gtFine", "gtFine_trainvaltest/gtFine")
    _label_zip = "gtFine_trainvaltest.zip"

    def __init__(self, options: DatasetOptions) -> None:
        refuse_layout_file(options, self.name)
        refuse_max_gap(options, self.name, "its frame numbers count every frame")
        self.classes = load_classes("cityscapes")
        archives = ("leftImg8bit*.zip", f"{self._annotations}*.zip")
        super().__init__(Tree(options.root, archives), options.split)
        splits = sorted({split for folder in self._label_folders for split in self._tree.folders(folder)})
        if not splits:
            raise DatasetError(
                f"{options.root}: no Cityscapes labels: neither {self._annotations}/<split>/<city>/ nor "
                f"{self._label_zip} is there; add one of them, or name another --dataset"
            )
        self._places = {split: [(split, city) for city in self._cities(split)] for split in splits}
        self._places |= _folds([place for split in _FOLDED for place in self._places.get(split, [])])
        refuse_unknown_split(options, list(self._places))

    @cached_property
    def _labels(self) -> list[Entry]:
        endings = {
            f"_{self._annotations}_labelIds.png": LABEL_IDS,
            f"_{self._annotations}_labelTrainIds.png": TRAIN_IDS,
        }
        found: dict[tuple[str, str], Entry] = {}
        for ending, holds in endings.items():
            for city, path, key in self._files(self._label_folders, ending):
                if _KEY.fullmatch(key) is None:
                    raise DatasetError(
                        f"{self._tree.locate(path)}: expected a name like aachen_000000_000019{ending}; rename or "
                        "remove it"
                    )
                found.setdefault((city, key), _entry(city, path, key, holds=holds))
        if not found:
            raise DatasetError(
                f"{self._tree.root}: frames without labels: split '{self._split}' holds no "
                f"*{' and no *'.join(endings)}; add them"
            )
        return list(found.values())

    def _cities(self, split: str) -> list[str]:
        return sorted({city for top in self._label_folders for city in self._tree.folders(f"{top}/{split}")})

    @cached_property
    def _frames(self) -> list[Entry]:
        found: dict[tuple[str, str], Entry] = {}
        for city, path, key in self._files(_FRAME_FOLDERS, _FRAME_ENDING):
            if _KEY.fullmatch(key) is not None and (city, key) not in found:
                found[city, key] = _entry(city, path, key)
        return list(found.values())

    def _files(self, folders: Sequence[str], ending: str) -> Iterator[tuple[str, str, str]]:
        """City, path and key of each file of the split with that ending."""
        for split, city in self._places[self._split]:
            for top in folders:
                folder = f"{top}/{split}/{city}"
                for name in self._tree.files(folder):
                    if name.endswith(ending):
                        yield city, f"{folder}/{name}", name.removesuffix(ending)

    def _walk(self, recording: Recording, start: int, direction: int, limit: int) -> tuple[Sequence[int], str | None]:
        """The frames at consecutive numbers; a hole within the snippet is a missing frame, its end is none."""
        reached: list[int] = []
        number = start + direction
        while len(reached) < limit and number in recording.frames:
            reached.append(number)
            number += direction
        if len(reached) == limit:
            return reached, None
        end = start + (_NUM_AFTER + 1 if direction > 0 else -_NUM_BEFORE - 1)
        beyond = next((n for n in range(number, end, direction) if n in recording.frames), None)
        return reached, None if beyond is None else self._missing(recording.frames[beyond], number)

    def _missing(self, beyond: Entry, number: int) -> str:
        key = f"{beyond.sequence}_{number:06d}"
        path = self._tree.locate(beyond.path).replace(beyond.key, key)
        return f"{path}: this frame is missing, though {beyond.key}, farther out, is there; add it"


class CityscapesCoarse(Cityscapes):
    """The coarse annotations: of one frame of each snippet of train and val, and of single frames of train_extra.

    Raises: DatasetError as `Cityscapes` does.
    """

    name = "cityscapes-coarse"
    marks = ("gtCoarse", "gtCoarse*.zip")
    _annotations = "gtCoarse"
    _label_folders = ("gtCoarse",)
    _label_zip = "gtCoarse.zip"

    @classmethod
    def fits(cls, options: DatasetOptions) -> bool:
        """Whether there are coarse annotations, and no fine ones, which count more."""
        return super().fits(options) and not Cityscapes.fits(options)


def _folds(places: Sequence[Place]) -> dict[str, list[Place]]:
    """The splits for cross-validation that these places of train and val allow."""
    cities = {city for _, city in places}
    splits: dict[str, list[Place]] = {}
    for fold, held_out in _FOLDS.items():
        if cities.issuperset(held_out):
            splits[fold] = [place for place in places if place[1] not in held_out]
            splits[f"{fold}-val"] = [place for place in places if place[1] in held_out]
    return splits


def _entry(city: str, path: str, key: str, *, holds: str = LABEL_IDS) -> Entry:
    sequence, _, number = key.rpartition("_")
    return Entry(
        key=key,
        group=city,
        sequence=sequence,
        number=int(number),
        path=path,
        holds=holds,
    )
