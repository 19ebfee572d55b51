"""What is found in images, written to files: a folder of each kind, a file for each image."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jobs.files import write_whole
from propagate.data.classes import ClassTable
from propagate.data.images import encode_png
from segtrain.errors import InferenceError
from segtrain.prediction.views import KINDS, view


class ViewFiles:
    """The files <out>/<kind>/<name>.png of one prediction; `num_files` says how many were written.

    Raises: ValueError for a kind that is none of KINDS; InferenceError, where <out>/<kind> holds files already.
    """

    def __init__(self, out: Path, kinds: Sequence[str], classes: ClassTable) -> None:
        if unknown := set(kinds) - set(KINDS):
            raise ValueError(f"kinds must be of {', '.join(KINDS)}, found {', '.join(sorted(unknown))}")
        for kind in kinds:
            _require_empty(out / kind)
        self._out, self._kinds, self._classes = out, kinds, classes
        self.num_files = 0

    def write(
        self, name: str, pixels: np.ndarray, found: np.ndarray, truth: np.ndarray | None = None, *, also: str = ""
    ) -> dict[str, bytes]:
        """Write what was found in an image: of each kind a PNG, but for those that need a truth that is not known.

        pixels: [H,W,3] uint8 RGB. found, truth: [H,W] uint8 train ids. also: a kind that is wanted, but not written.
        Returns the PNG files by kind. Raises: InferenceError, where one cannot be written.
        """
        kinds = dict.fromkeys((*self._kinds, also) if also else self._kinds)
        views = {kind: view(kind, pixels, found, truth, self._classes) for kind in kinds}
        files = {kind: encode_png(picture) for kind, picture in views.items() if picture is not None}
        for kind in self._kinds:
            if kind in files:
                _write(self._out / kind / f"{name}.png", files[kind])
                self.num_files += 1
        return files


def require_new(path: Path, option: str) -> None:
    """Raises: InferenceError where the file of an option is there already."""
    if path.exists():
        raise InferenceError(f"{path}: is there already; remove it, or give {option} another name")


def _require_empty(folder: Path) -> None:
    """Results of two predictions are not mixed."""
    if folder.is_dir() and any(folder.iterdir()):
        raise InferenceError(f"{folder}: already holds files; remove it, or give another --out")


def _write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, but for power cuts: there are many, and they can be made again."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data, synced=False)
    except OSError as error:
        raise InferenceError(
            f"{path}: cannot be written ({error.strerror}); make room, remove what was written, and begin again, or "
            "choose another --out"
        ) from None
