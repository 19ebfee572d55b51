"""The files below a data set's root, seen alike whether they lie in folders or in zip files, unextracted."""

import os
from array import array
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar
from zipfile import ZIP_DEFLATED, ZIP_STORED

from propagate.data.clip import ArchiveMember, Resource
from propagate.datasets.zip_directory import ZipDirectory, ZipMember, decoded
from propagate.errors import DatasetError

_ENCRYPTED = 0x1
Read = TypeVar("Read")


class Tree:
    """Folders and zip files below one root, as one tree of names with forward slashes; "" is the root.

    A zip file counts where it lies directly in the root and its name fits one of `archives`; its members count
    as if they were extracted there. A name that is in several places is taken from the folder, else from the
    first zip file; a zip file that has it twice is refused. Names that begin with a dot are passed over. Only folders
    that are asked for are listed.

    Raises: DatasetError, here and in every method: no such root, a broken zip file, an unreadable folder.
    """

    def __init__(self, root: Path, archives: Sequence[str] = ("*.zip",)) -> None:
        if not root.is_dir():
            found = "not a folder" if root.exists() else "no such folder"
            raise DatasetError(f"{root}: {found}; the root must be the folder that holds frames and labels")
        self.root = root.absolute()  # a worker may have another working directory
        self._archives = archives
        self._listed: dict[str, tuple[set[str], set[str]]] = {}
        if not any(self._list("")):
            raise DatasetError(f"{root}: an empty folder; the root must hold frames and labels")

    def folders(self, folder: str) -> list[str]:
        """The names of the folders in a folder, sorted; none where there is no such folder."""
        archived = self._archived.folders.get(folder, set())
        return sorted(self._list(folder)[0] | archived)

    def files(self, folder: str) -> list[str]:
        """The names of the files in a folder, sorted; none where there is no such folder."""
        return sorted(self._list(folder)[1] | self._archived.files(folder).keys())

    def resource(self, name: str) -> Resource:
        """The file of that name, one that `files` has listed."""
        folder, _, file = name.rpartition("/")
        if file in self._list(folder)[1]:
            return Resource(str(self.root), name, _size(self.root / name))
        archive, position = self._archived.files(folder)[file]
        member = self._archived.member(archive, position)
        return Resource(str(self.root), name, member.size, _member(self.root, archive, member))

    def locate(self, name: str) -> str:
        """Where the file lies, for messages."""
        return str(self.resource(name))

    def _list(self, folder: str) -> tuple[set[str], set[str]]:
        """The names of the plain folders and files in a folder."""
        if folder not in self._listed:
            self._listed[folder] = _scan(self.root / folder)
        return self._listed[folder]

    @cached_property
    def _archived(self) -> "_Archived":
        names = {path.name for pattern in self._archives for path in self.root.glob(pattern)}
        return _Archived(self.root, sorted(name for name in names if not name.startswith(".")))


class _Archived:
    """What several zip files hold: the folders in each folder, and where the records of the files in each lie."""

    def __init__(self, root: Path, archives: Iterable[str]) -> None:
        self.folders: dict[str, set[str]] = {}
        self._root = root
        self._directories = {archive: _directory(root / archive) for archive in archives}
        self._positions: dict[str, list[tuple[str, array[int]]]] = {}
        self._listed: dict[str, dict[str, tuple[str, int]]] = {}
        for archive, directory in self._directories.items():
            positions: dict[tuple[bytes, bool], array[int]] = {}
            for position in directory.positions:
                positions.setdefault(directory.place(position), array("L")).append(position)
            for place, inside in positions.items():
                folder = _read(root / archive, partial(decoded, *place))
                self._add_folder(folder)
                self._positions.setdefault(folder, []).append((archive, inside))

    def files(self, folder: str) -> dict[str, tuple[str, int]]:
        """The zip file, and the position in its directory, of each file in a folder."""
        if folder not in self._listed:
            found = self._listed[folder] = {}
            for archive, positions in self._positions.get(folder, ()):
                for position in positions:
                    name = self.member(archive, position).name
                    file = name.rpartition("/")[2]
                    if file and not file.startswith("."):
                        former, first = found.setdefault(file, (archive, position))
                        if former == archive and first != position:
                            raise DatasetError(
                                f"{self._root / archive}: holds {name} twice; extract it here, which keeps the last, "
                                "and move it out of this folder"
                            )
        return self._listed[folder]

    def member(self, archive: str, position: int) -> ZipMember:
        return _read(self._root / archive, partial(self._directories[archive].member, position))

    def _add_folder(self, folder: str) -> None:
        while folder:
            parent, _, name = folder.rpartition("/")
            if not name.startswith("."):
                self.folders.setdefault(parent, set()).add(name)
            folder = parent


def _scan(folder: Path) -> tuple[set[str], set[str]]:
    folders, files = set[str](), set[str]()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    (folders if entry.is_dir() else files).add(entry.name)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise DatasetError(f"{folder}: cannot be listed ({error.strerror}); make it readable") from None
    return folders, files


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # such as a dangling link: reading it fails, and tells why, when its clip's turn comes


def _directory(path: Path) -> ZipDirectory:
    return _read(path, partial(ZipDirectory, path))


def _read(path: Path, read: Callable[[], Read]) -> Read:
    """What is read of a zip file's directory."""
    try:
        return read()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DatasetError(
            f"{path}: not a whole zip file ({reason}); download it again, or move it out of this folder"
        ) from None


def _member(root: Path, archive: str, member: ZipMember) -> ArchiveMember:
    encrypted, deflated = member.flags & _ENCRYPTED, member.method == ZIP_DEFLATED
    if encrypted or not (deflated or member.method == ZIP_STORED):
        how = "encrypted" if encrypted else f"compressed by method {member.method}"
        raise DatasetError(
            f"{root / archive}!{member.name}: {how}; only stored or deflated files are read: extract the archive"
        )
    return ArchiveMember(archive, member.offset, member.packed_size, deflated, member.crc)
