"""Files that lie anywhere below a directory, and are found by what their paths end in, such as the key of a frame."""

from collections.abc import Sequence
from pathlib import Path

from propagate.data.clip import Resource, size_of
from propagate.errors import DatasetError


class KeyedFiles:
    """The files of some endings below a directory, listed once.

    Raises: DatasetError: no such directory; advice says what to give instead.
    """

    def __init__(self, root: Path, endings: Sequence[str], advice: str) -> None:
        if not root.is_dir():
            reason = "not a directory" if root.exists() else "no such directory"
            raise DatasetError(f"{root}: {reason}; {advice}")
        self.root = root.absolute()  # a worker may have another working directory
        self._paths_of_name: dict[str, list[Path]] = {}
        for path in sorted(path for ending in endings for path in self.root.rglob(f"*{ending}")):
            self._paths_of_name.setdefault(path.name, []).append(path)

    def paths_of(self, name: str) -> list[Path]:
        """The listed paths that end in this name, which may hold folders (as the keys of some layouts do)."""
        parts = Path(name).parts
        return [path for path in self._paths_of_name.get(parts[-1], []) if path.parts[-len(parts) :] == parts]

    def resource(self, path: Path) -> Resource:
        """A listed path as what is read."""
        return Resource(str(self.root), path.relative_to(self.root).as_posix(), size_of(path))
