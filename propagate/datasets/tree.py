"""The files below a data set's root, seen alike whether they lie in folders or in zip files, unextracted."""

import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from glob import escape
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from jobs.files import open_regular
from propagate.data.clip import ArchiveMember, Resource, size_of
from propagate.errors import DatasetError

_ENCRYPTED = 0x1


def require_folder(root: Path) -> None:
    """Raise DatasetError unless the root is a folder."""
    if not root.is_dir():
        found = "not a folder" if root.exists() else "no such folder"
        raise DatasetError(f"{root}: {found}; the root must be the folder that holds frames and labels")


class Tree:
    """Folders and zip files below one root, as one tree of names with forward slashes; "" is the root.

    A zip file counts where it lies directly in the root and its name fits one of `archives`; its members count
    as if they were extracted there. A name that is in several places is taken from the folder, else from the
    first zip file; a zip file that has it twice is refused. Names that begin with a dot are passed over. Only folders
    that are asked for are listed.

    Raises: DatasetError, here and in every method: no such root, a broken zip file, an unreadable folder.
    """

    def __init__(self, root: Path, archives: Sequence[str] = ("*.zip",)) -> None:
        require_folder(root)
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
        archived = self._archived.files.get(folder, {})
        return sorted(self._list(folder)[1] | archived.keys())

    def resource(self, name: str) -> Resource:
        """The file of that name, one that `files` has listed."""
        folder, _, file = name.rpartition("/")
        if file in self._list(folder)[1]:
            return Resource(str(self.root), name, size_of(self.root / name))
        archive, info = self._archived.files[folder][file]
        return Resource(str(self.root), name, info.file_size, _member(self.root, archive, info))

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


class Archive(Tree):
    """The members of one zip file, wherever it lies, as such a tree, without what lies beside it."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise DatasetError(f"{path}: no such file; name the zip file, or the folder with what it holds")
        self.root = path.absolute().parent
        self._archives = (escape(path.name),)
        if not self.folders("") and not self.files(""):
            raise DatasetError(f"{path}: an empty zip file")

    def _list(self, _: str) -> tuple[set[str], set[str]]:
        return set(), set()


class _Archived:
    """What several zip files hold: the folders in each folder, and the files with their directory entries."""

    def __init__(self, root: Path, archives: Iterable[str]) -> None:
        self.folders: dict[str, set[str]] = {}
        self.files: dict[str, dict[str, tuple[str, ZipInfo]]] = {}
        for archive in archives:
            for info in _directory(root / archive):
                folder, _, file = info.filename.rpartition("/")
                if folder not in self.files:
                    self._add_folder(folder)
                if file and not file.startswith("."):
                    former, _ = self.files[folder].setdefault(file, (archive, info))
                    if former == archive and self.files[folder][file][1] is not info:
                        raise DatasetError(
                            f"{root / archive}: holds {info.filename} twice; extract it here, which keeps the last, "
                            "and move it out of this folder"
                        )

    def _add_folder(self, folder: str) -> None:
        self.files[folder] = {}
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


def _directory(path: Path) -> list[ZipInfo]:
    try:
        with open_regular(path) as file, ZipFile(file) as archive:
            return archive.infolist()
    except (BadZipFile, OSError, NotImplementedError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DatasetError(
            f"{path}: not a whole zip file ({reason}); download it again, or move it out of this folder"
        ) from None


def _member(root: Path, archive: str, info: ZipInfo) -> ArchiveMember:
    encrypted, deflated = info.flag_bits & _ENCRYPTED, info.compress_type == ZIP_DEFLATED
    if encrypted or not (deflated or info.compress_type == ZIP_STORED):
        how = "encrypted" if encrypted else f"compressed by method {info.compress_type}"
        raise DatasetError(
            f"{root / archive}!{info.filename}: {how}; only stored or deflated files are read: extract the archive"
        )
    return ArchiveMember(archive, info.header_offset, info.compress_size, deflated, info.CRC)
