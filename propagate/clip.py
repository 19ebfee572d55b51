"""What a data set yields: clips of one annotated frame and its neighbours, as references to files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from propagate.errors import InputError


@lru_cache(maxsize=8)
def _open_zip(path: str) -> ZipFile:
    return ZipFile(path)


@dataclass(frozen=True)
class Resource:
    """One file of a data set: plain, or a member of a zip archive. Small, and picklable across machines.

    `name` is relative to the root (``gtFine/train/…``), or to the archive; together with `size` and, in an archive,
    `crc` it identifies the content without reading it.
    """

    root: str
    name: str
    size: int
    archive: str | None = None
    crc: int | None = None

    def read(self) -> bytes:
        """The whole file. Raises InputError."""
        try:
            if self.archive is None:
                return (Path(self.root) / self.name).read_bytes()
            return _open_zip(str(Path(self.root) / self.archive)).read(self.name)
        except (OSError, BadZipFile, KeyError, EOFError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise InputError(str(self), f"cannot be read ({reason})") from None

    @property
    def identity(self) -> tuple[str, int, int | None]:
        return (self.name, self.size, self.crc)

    def __str__(self) -> str:
        path = Path(self.root) / (self.archive or self.name)
        return f"{path}!{self.name}" if self.archive else str(path)


@dataclass(frozen=True)
class Label:
    """A label map's file, and whether it holds train ids (which are mapped back on reading)."""

    resource: Resource
    holds_train_ids: bool = False


@dataclass(frozen=True)
class Frame:
    """One frame of a sequence; its key is unique in the data set."""

    key: str
    image: Resource


@dataclass(frozen=True)
class Clip:
    """One annotated frame and its neighbours within ±N: the unit of work, of failures and of shard planning.

    `frames` maps offsets to frames, without holes from 0 outwards; it holds 0. `missing` names, per direction at
    most one, the offset at which a frame should be but is not, and why that is known. Where a sequence merely ends,
    nothing is missing: the clip is shorter.
    """

    split: str
    group: str  # the city of Cityscapes, elsewhere the sequence: the folder under which a frame is exported
    frames: Mapping[int, Frame]
    label: Label
    missing: Mapping[int, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return self.frames[0].key
