"""Where evaluation finds the true label map of a frame: the data set, or a directory searched by key."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from propagate.data.clip import LABEL_IDS, TRAIN_IDS, Label
from propagate.data.keyed_files import KeyedFiles
from propagate.errors import DatasetError

# Keys -> the label maps that there are for them; `Dataset.labels` is one.
TruthLookup = Callable[[Iterable[str]], Mapping[str, Label]]

# In this order; a key takes the first that exists.
_ENDINGS = (("_gtFine_labelIds.png", LABEL_IDS), ("_gtFine_labelTrainIds.png", TRAIN_IDS), (".png", LABEL_IDS))


def truth_directory(root: Path) -> TruthLookup:
    """The lookup that `TruthDirectory` makes of a directory. Raises: DatasetError."""
    return TruthDirectory(root).labels


class TruthDirectory:
    """Label maps anywhere below a directory, listed once and found by their frame's key.

    A key's map is named ``<key>_gtFine_labelIds.png``, else ``<key>_gtFine_labelTrainIds.png``, else
    ``<key>.png``.

    Raises: DatasetError: no such directory.
    """

    def __init__(self, root: Path) -> None:
        self._files = KeyedFiles(root, (".png",), "--truth takes the directory that holds the true label maps")

    def labels(self, keys: Iterable[str]) -> dict[str, Label]:
        """The label maps of these keys, of those that have one. Raises: DatasetError where a key has two."""
        found = {key: self._find(key) for key in keys}
        return {key: label for key, label in found.items() if label is not None}

    def _find(self, key: str) -> Label | None:
        for ending, holds in _ENDINGS:
            paths = self._files.paths_of(key + ending)
            if len(paths) > 1:
                raise DatasetError(
                    f"{self._files.root}: two truths for {key}: {paths[0]} and {paths[1]}; "
                    "give --truth a directory below which each frame has one"
                )
            if paths:
                return Label(self._files.resource(paths[0]), holds)
        return None
