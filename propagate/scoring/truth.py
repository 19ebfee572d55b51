"""Where evaluation finds the true label map of a frame: the data set, or a directory searched by key."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from propagate.data.clip import LABEL_IDS, TRAIN_IDS, Label, Resource
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
        if not root.is_dir():
            reason = "not a directory" if root.exists() else "no such directory"
            raise DatasetError(f"{root}: {reason}; --truth takes the directory that holds the true label maps")
        self._root = root
        self._paths_of_name: dict[str, list[Path]] = {}
        for path in sorted(root.rglob("*.png")):
            self._paths_of_name.setdefault(path.name, []).append(path)

    def labels(self, keys: Iterable[str]) -> dict[str, Label]:
        """The label maps of these keys, of those that have one. Raises: DatasetError where a key has two."""
        found = {key: self._find(key) for key in keys}
        return {key: label for key, label in found.items() if label is not None}

    def _find(self, key: str) -> Label | None:
        for ending, holds in _ENDINGS:
            paths = self._paths_of(key + ending)
            if len(paths) > 1:
                raise DatasetError(
                    f"{self._root}: two truths for {key}: {paths[0]} and {paths[1]}; "
                    "give --truth a directory below which each frame has one"
                )
            if paths:
                name = paths[0].relative_to(self._root).as_posix()
                return Label(Resource(str(self._root), name, paths[0].lstat().st_size), holds)
        return None

    def _paths_of(self, name: str) -> list[Path]:
        """The listed paths that end in this name, which may hold folders (as the keys of some layouts do)."""
        parts = Path(name).parts
        return [p for p in self._paths_of_name.get(parts[-1], []) if p.parts[-len(parts) :] == parts]
