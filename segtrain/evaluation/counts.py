"""What was counted of each image of an evaluation, and the folder that keeps it: so an evaluation can be continued, and
made in parts by several processes or machines.

A small file for each image, written whole, and one that says of which evaluation they are. Whoever writes an image's
file writes the same, so nothing has to be locked.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from jobs.differences import told_differences
from jobs.files import write_new, write_whole
from segtrain.errors import InferenceError

ABOUT = "evaluation.json"


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Of one image, or of many together.

    whole, near: confusion matrices [C,C+1] int64 as in `propagate.scoring.metrics`, of all pixels and of those along
    boundaries. instances: [C,2] as in `count_instances`, None where there are no maps of instances.
    """

    whole: np.ndarray
    near: np.ndarray
    instances: np.ndarray | None

    @classmethod
    def none(cls, num_classes: int, *, with_instances: bool) -> Self:
        """Of no image."""
        shape = num_classes, num_classes + 1
        instances = np.zeros((num_classes, 2)) if with_instances else None
        return cls(whole=np.zeros(shape, np.int64), near=np.zeros(shape, np.int64), instances=instances)

    def plus(self, other: Self) -> Self:
        """Of the images of both, of which both have maps of instances, or none."""
        instances = None
        if self.instances is not None and other.instances is not None:
            instances = self.instances + other.instances
        return type(self)(whole=self.whole + other.whole, near=self.near + other.near, instances=instances)


@dataclass(frozen=True)
class CountsFolder:
    """The counts of the images of one evaluation, by their number and key, as far as they were made.

    inputs: by key, what tells an image and its truth from others of this name, as `segtrain.evaluation.inputs` says.
    """

    path: Path
    num_classes: int
    inputs: Mapping[str, str]

    @classmethod
    def begun(cls, path: Path, described: Mapping[str, Any], num_classes: int, *, inputs: Mapping[str, str]) -> Self:
        """The folder, new or as it was left. described: the evaluation that it is of, as JSON values.

        Raises: InferenceError for a folder of another evaluation, or of other things, or one that cannot be written.
        """
        about = path / ABOUT
        text = json.dumps(described, ensure_ascii=False, sort_keys=True, indent=1) + "\n"
        try:
            path.mkdir(parents=True, exist_ok=True)
            if not about.exists():
                strangers = sorted(each.name for each in path.iterdir() if not each.name.endswith(".partial"))
                if strangers and not about.exists():  # another part may have begun meanwhile
                    raise InferenceError(
                        f"{path}: holds '{strangers[0]}' but no {ABOUT}, so no evaluation was begun here; choose an "
                        "empty folder"
                    )
                with suppress(FileExistsError):  # another one, or of another evaluation: that is compared below
                    write_new(about, text.encode())
            found = about.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise InferenceError(f"{path}: cannot be used ({error.strerror}); choose another --counts") from None
        if found != text:
            raise InferenceError(
                f"{path}: holds the counts of another evaluation ({_differences(found, json.loads(text))}); give what "
                "was given then, or choose another folder"
            )
        return cls(path, num_classes, inputs)

    def get(self, number: int, key: str) -> Counts | None:
        """What was counted of an image; None where nothing was yet.

        Raises: InferenceError for a damaged file, and for counts of another image, or other truth, of this name.
        """
        path = self._file(number)
        try:
            found = json.loads(path.read_bytes())
            if found["image"] != key:
                raise ValueError(f"is of image {found['image']}, expected {key}")
            inputs = found["inputs"]
            whole, near = (self._dense(found[name]) for name in ("whole", "near"))
            instances = None if found["instances"] is None else np.array(found["instances"], np.float64)
            if instances is not None and instances.shape != (self.num_classes, 2):
                raise ValueError(f"has instances of {len(instances)} classes, expected {self.num_classes}")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise InferenceError(f"{path}: damaged ({error}); remove it, and the image is counted again") from None
        if inputs != self.inputs[key]:
            raise InferenceError(
                f"{path}: was counted of other files of image {key}: its frame, label map or map of instances was "
                "another then; choose another --counts for another data set, or remove this file, and the image is "
                "counted again"
            )
        return Counts(whole=whole, near=near, instances=instances)

    def put(self, number: int, key: str, counts: Counts) -> None:
        """Keep what was counted of an image. Raises: InferenceError where it cannot be written."""
        kept = {
            "image": key,
            "inputs": self.inputs[key],
            "whole": _sparse(counts.whole),
            "near": _sparse(counts.near),
            "instances": None if counts.instances is None else counts.instances.tolist(),
        }
        path = self._file(number)
        try:
            write_whole(path, (json.dumps(kept) + "\n").encode(), synced=False)
        except OSError as error:
            raise InferenceError(f"{path}: cannot be written ({error.strerror}); make room, then run again") from None

    def _file(self, number: int) -> Path:
        return self.path / f"image-{number:06d}.json"

    def _dense(self, entries: list[list[int]]) -> np.ndarray:
        matrix = np.zeros((self.num_classes, self.num_classes + 1), np.int64)
        for true, found, num_pixels in entries:
            if min(true, found, num_pixels) < 0:
                raise ValueError("has counts below 0")
            matrix[true, found] = num_pixels
        return matrix


def _sparse(matrix: np.ndarray) -> list[list[int]]:
    """[true, found, number of pixels] of all that is not 0."""
    true, found = np.nonzero(matrix)
    return np.stack([true, found, matrix[true, found]], axis=1).tolist()


def _differences(found: str, described: Mapping[str, Any]) -> str:
    """What two evaluations differ in."""
    try:
        return "; ".join(told_differences(json.loads(found), described, "there"))
    except (ValueError, AttributeError):
        return f"its {ABOUT} is damaged"
