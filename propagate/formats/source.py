"""Where annotations lie: a folder, a zip file that is not unpacked, or a file in a folder; and what is in there."""

import json
import posixpath
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from propagate.data.clip import Resource
from propagate.datasets.tree import Archive, Tree
from propagate.errors import DatasetError, InputError

MOST_BYTES = 1 << 29  # of one file of annotations, which takes some ten times as much in memory
MOST_FILES, MOST_LEVELS = 1_000_000, 24
ENDINGS = (".png", ".jpg", ".jpeg")
_TOLD = 3


class Source:
    """All files of a source, by paths with forward slashes. Names that begin with a dot are passed over.

    path: a folder, a zip file, or a file of annotations; its folder, or the one above `annotations/`, is then read.

    Raises: DatasetError, here and in every method: no such folder, a broken zip file, too many files.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.named: str | None = None  # the file of annotations, where the path names one
        if path.suffix.lower() == ".zip" and not path.is_dir():
            self.tree: Tree = Archive(path)
        elif path.is_file():
            root = path.parent.parent if path.absolute().parent.name == "annotations" else path.parent
            self.tree = Tree(root, archives=())
            self.named = path.absolute().relative_to(root.absolute()).as_posix()
        else:
            self.tree = Tree(path, archives=())

    @cached_property
    def files(self) -> list[str]:
        """The paths of all files, sorted."""
        found: list[str] = []
        waiting = [("", 0)]
        while waiting:
            folder, level = waiting.pop()
            inside = f"{folder}/" if folder else ""
            found += [inside + name for name in self.tree.files(folder)]
            waiting += [(inside + name, level + 1) for name in self.tree.folders(folder)]
            if len(found) + len(waiting) > MOST_FILES or level > MOST_LEVELS:
                raise DatasetError(
                    f"{self.path}: more than {MOST_FILES} files, or folders more than {MOST_LEVELS} deep; name the "
                    "folder that holds the annotations and their frames"
                )
        return sorted(found)

    @cached_property
    def images(self) -> dict[str, list[str]]:
        """The paths of all images by their names without folder and ending."""
        found: dict[str, list[str]] = {}
        for path in self.files:
            if path.lower().endswith(ENDINGS):
                found.setdefault(PurePosixPath(path).stem, []).append(path)
        return found

    def annotation_file(self, ending: str, preferred: str, expected: str) -> str:
        """The one file of annotations: the path names it, or its name alone begins as preferred, or it is the only one.

        expected: what it is, for messages.
        """
        if self.named is not None:
            return self.named
        found = [path for path in self.files if path.lower().endswith(ending)]
        best = [path for path in found if PurePosixPath(path).name.startswith(preferred)] or found
        if not best:
            raise DatasetError(f"{self.path}: no {expected} here; name the folder, or the file, that holds it")
        if len(best) > 1:
            raise DatasetError(f"{self.path}: several could be {expected}: {_told(best)}; name one of them as SRC")
        return best[0]

    def resource(self, path: str) -> Resource:
        return self.tree.resource(path)

    def read(self, path: str) -> bytes:
        """A file of annotations. Raises: InputError where it has too many bytes, or cannot be read."""
        resource = self.resource(path)
        data = resource.read() if resource.size <= MOST_BYTES else b""
        if max(len(data), resource.size) > MOST_BYTES:
            raise InputError(str(resource), f"{resource.size} bytes, expected at most {MOST_BYTES}; split it up")
        return data

    def read_json(self, path: str) -> Any:
        """What a JSON file holds. Raises: InputError."""
        try:
            return json.loads(self.read(path))
        except (ValueError, RecursionError) as error:
            reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
            raise InputError(self.tree.locate(path), f"not a JSON file ({reason}); export it again") from None

    def image(self, name: str, folders: Sequence[str], beside: Collection[str], where: str) -> str | None:
        """The path of an image of that name: in one of the folders, else the only one whose path ends in that name.

        name: without an ending, any will do. beside: files that it cannot be. None where there is none.

        Raises: InputError for a name that leads out of the source, or could be several files.
        """
        plain = name.replace("\\", "/")
        paths = [posixpath.normpath(posixpath.join(folder, plain)) for folder in folders]
        if not name.isprintable() or any(path.startswith(("/", "../")) for path in paths):
            raise InputError(where, f"names the image {name!r:.200}, which leads out of {self.path}; correct the name")
        named = PurePosixPath(plain)
        alike = self.images.get(named.stem if named.suffix.lower() in ENDINGS else named.name, [])
        alike = [path for path in alike if path not in beside and _is_like(path, named)]
        for path in paths:
            exact = [each for each in alike if _is_same(each, path)]
            if len(exact) == 1:
                return exact[0]
        if len(alike) > 1:
            raise InputError(where, f"names the image {name}, which could be {_told(alike)}; keep one of them")
        return alike[0] if alike else None


def _is_same(path: str, other: str) -> bool:
    """Whether they are one, but for an ending that the other does not have."""
    return path == other or posixpath.splitext(path)[0] == other


def _is_like(path: str, name: PurePosixPath) -> bool:
    """Whether a path ends in all parts of a name that are no '..'."""
    parts = [part for part in name.parts if part != ".."]
    there = PurePosixPath(path).parts[-len(parts) :]
    return _is_same("/".join(there), "/".join(parts))


def _told(paths: Iterable[str]) -> str:
    listed = list(paths)
    more = f" and {len(listed) - _TOLD} more" if len(listed) > _TOLD else ""
    return ", ".join(listed[:_TOLD]) + more
