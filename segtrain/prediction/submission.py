"""The zip file that the Cityscapes benchmark takes: one PNG of label ids for each image, without folders."""

import re
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from types import TracebackType
from zipfile import ZIP_STORED, ZipFile

from jobs.files import whole_file
from propagate.data.classes import ClassTable
from segtrain.errors import DataError, InferenceError
from segtrain.prediction.writing import require_new

_NAME = re.compile(r"[^_]+_\d{6}_\d{6}(_.*)?")  # <city>_<sequence>_<frame>


class Submission:
    """A zip file being written: use as a context; it is there, whole, when that is left without an error.

    names: those of all images that are to come, which may lie in folders.
    Raises: DataError, where names or classes are not those of Cityscapes; InferenceError, where it is there already, or
    can't be written.
    """

    def __init__(self, path: Path, names: Iterable[str], classes: ClassTable) -> None:
        require_new(path, "--submission")
        self.path = path
        self._members = _members(names, classes)

    def __enter__(self) -> "Submission":
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with ExitStack() as opened:
                file = opened.enter_context(whole_file(self.path))
                self._zip = opened.enter_context(ZipFile(file, "w", ZIP_STORED))  # a PNG is compressed already
                self._opened = opened.pop_all()
        except OSError as error:
            raise self._cannot_write(error) from None
        return self

    def add(self, name: str, label_ids: bytes) -> None:
        """The label ids of one image, as a PNG."""
        try:
            self._zip.writestr(self._members[name], label_ids)
        except OSError as error:
            raise self._cannot_write(error) from None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._opened.__exit__(kind, error, trace)
        except OSError as failed:
            raise self._cannot_write(failed) from None

    def _cannot_write(self, error: OSError) -> InferenceError:
        return InferenceError(f"{self.path}: cannot be written ({error.strerror}); make room, or choose another place")


def _members(names: Iterable[str], classes: ClassTable) -> dict[str, str]:
    """Each image's file in the zip."""
    if classes.name != "cityscapes":
        raise DataError(f"a submission holds the label ids of class table 'cityscapes', found '{classes.name}'")
    members: dict[str, str] = {}
    for name in names:
        member = PurePosixPath(name).name
        if _NAME.fullmatch(member) is None:
            raise DataError(
                f"{name}: not the name of a Cityscapes image, such as berlin_000000_000019_leftImg8bit, by which the "
                "benchmark finds its label map; name the folder of those images"
            )
        members[name] = f"{member}.png"
    if len(set(members.values())) < len(members):
        raise DataError("several images have the same name, in different folders; name the folder of one split alone")
    return members
