"""What a data set yields: clips of one annotated frame and its neighbours, as references to where they lie."""

import errno
import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from jobs.files import open_regular
from propagate.errors import InputError, UnreachableError

if TYPE_CHECKING:
    from sdcnet.motion.vectors import CellFlow

HOLDS = ("label_ids", "train_ids", "colors")
LABEL_IDS, TRAIN_IDS, COLORS = HOLDS
_ELSEWHERE = (errno.ENOENT, errno.ESTALE, errno.EIO, errno.EACCES)  # what another machine may do without
_LOCAL_HEADER = struct.Struct("<4s2xH18xHH")  # signature, flags, the lengths of the name and of the extra field
_UTF8 = 0x800  # a flag: else names are in code page 437


@dataclass(frozen=True, slots=True)
class ArchiveMember:
    """Where a file lies inside a zip archive: enough to read it without the archive's directory.

    A directory of 150,000 members takes a second to read and 100 MB to keep, in every process; this reads the
    one member, shares no open file, and so works across forks, threads and machines.
    """

    archive: str  # relative to the root
    offset: int  # of the local header, in bytes
    packed_size: int
    deflated: bool  # or stored
    crc: int

    def read(self, root: Path, name: str, size: int, limit: int | None = None) -> bytes:
        """The `size` bytes of the file of that name, or at most its first `limit`.

        Raises: OSError, ValueError, zlib.error.
        """
        with open_regular(root / self.archive) as archive:
            archive.seek(self.offset)
            header = archive.read(_LOCAL_HEADER.size)
            if len(header) < _LOCAL_HEADER.size or not header.startswith(b"PK\3\4"):
                raise ValueError("the archive has changed or is damaged: no member begins here")
            _, flags, name_length, extra_length = _LOCAL_HEADER.unpack(header)
            if archive.read(name_length).decode("utf-8" if flags & _UTF8 else "cp437") != name:
                raise ValueError("the archive has changed or is damaged: a member of another name is here")
            start = archive.seek(extra_length, os.SEEK_CUR)
            if start + self.packed_size > os.fstat(archive.fileno()).st_size:
                raise ValueError("the archive has changed or is damaged: it ends before this member does")
            # twice the limit unpacks to at least the limit: deflate never doubles what it packs
            packed = archive.read(min(self.packed_size, self.packed_size if limit is None else 2 * limit + 64))
        data = (
            zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, limit or size + 1)
            if self.deflated
            else packed[:limit]
        )
        if limit is None and (len(data) != size or zlib.crc32(data) != self.crc):
            raise ValueError("damaged in its archive: the CRC-32 differs; copy or download the archive again")
        return data


@dataclass(frozen=True, slots=True)
class Resource:
    """One file of a data set: plain, or a member of a zip archive. Small, and picklable across machines.

    `name` is relative to the root (``gtFine/train/…``), or to the archive; together with `size` and, in an
    archive, the member's CRC-32 it identifies the content without reading it.
    """

    root: str
    name: str
    size: int
    member: ArchiveMember | None = None

    def read(self, limit: int | None = None) -> bytes:
        """The whole file, or at most its first `limit` bytes.

        Raises: InputError, UnreachableError among them where another machine may be able to read it.
        """
        try:
            if self.member is not None:
                return self.member.read(Path(self.root), self.name, self.size, limit)
            with open_regular(Path(self.root) / self.name) as file:
                return file.read(-1 if limit is None else limit)
        except (OSError, ValueError, zlib.error) as error:
            raise unreadable(str(self), error) from None

    @property
    def identity(self) -> tuple[str, int, int | None]:
        return (self.name, self.size, self.member.crc if self.member else None)

    def __str__(self) -> str:
        path = Path(self.root) / (self.member.archive if self.member else self.name)
        return f"{path}!{self.name}" if self.member else str(path)


def size_of(path: Path) -> int:
    """The size in bytes of a file, or of the one that a link leads to."""
    try:
        return path.stat().st_size
    except OSError:
        return 0  # such as a dangling link: reading it fails, and tells why, when its clip's turn comes


@dataclass(frozen=True)
class Label:
    """A label map's file, and which of HOLDS it holds; reading it gives label ids, whichever."""

    resource: Resource
    holds: str = LABEL_IDS


def unreadable(where: str, error: Exception) -> InputError:
    """What to raise where a file cannot be read: an UnreachableError where another machine may be able to."""
    reason = getattr(error, "strerror", None) or str(error)
    kind = UnreachableError if getattr(error, "errno", None) in _ELSEWHERE else InputError
    return kind(where, f"cannot be read ({reason})")


class Frame(Protocol):
    """One frame of a recording, wherever its pixels come from. Small, and picklable across machines: it says how to get
    at the pixels, and does not hold them. Frames may be asked for theirs in several threads.

    `key` is unique in the data set. `where` names the frame in messages, such as by its path. `identity` tells frames
    of different content apart without reading them, as plain JSON values that do not depend on the root.
    """

    @property
    def key(self) -> str: ...

    @property
    def where(self) -> str: ...

    @property
    def identity(self) -> tuple[str | int | None, ...]: ...

    def size(self) -> tuple[int, int]:
        """(H, W), without reading more than it takes. Raises: InputError."""
        ...

    def pixels(self) -> np.ndarray:
        """[H,W,3] uint8 RGB. Raises: InputError."""
        ...

    def encoded(self) -> bytes | None:
        """The PNG or JPEG file, as it lies, whose pixels these are; None where there is none. Raises: InputError."""
        ...


@runtime_checkable
class CodedFrame(Frame, Protocol):
    """A frame of a video, whose codec may have stored motion with it."""

    def to_previous(self) -> "CellFlow | None":
        """The flow to the frame before; None where the codec has none that surely leads there. Raises: InputError."""
        ...


@dataclass(frozen=True, kw_only=True)
class Beyond:
    """The next annotated frame after a clip's own: at which offset, of which key, and its label map.

    reach: how many frames the labels of either are carried by themselves.
    """

    offset: int
    key: str
    label: Label
    reach: int

    @property
    def between(self) -> range:
        """The offsets, from the clip's own annotated frame, that the labels of both are carried to."""
        return range(1, self.offset)


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One annotated frame and its neighbours within ±N: the unit of work, of failures and of shard planning.

    `key` is the annotated frame's. `frames` maps offsets to frames, without holes from 0 outwards. `missing`
    names, per direction at most one, the offset at which a frame should be but is not, and why that is known.
    Where a sequence merely ends, nothing is missing: the clip is shorter. A clip without its annotated frame
    has 0 in `missing` and no frames: it fails as a whole. `label` is None where labels come from elsewhere: then any
    frame may be at offset 0, and offsets may be multiples of a step.
    `beyond` is the next annotated frame, where the frames between are worked on from both sides: `frames` reach up to
    it then, and those of the clip after it begin where this one has no more samples.
    `masks` are files of masks that something else made of the neighbours, by offset.
    """

    key: str
    split: str
    group: str  # the city of Cityscapes, elsewhere the sequence: the folder under which a frame is exported
    frames: Mapping[int, Frame]
    label: Label | None
    missing: Mapping[int, str] = field(default_factory=dict)
    beyond: Beyond | None = None
    masks: Mapping[int, Resource] = field(default_factory=dict)


def within(clip: Clip, reach: range) -> Clip:
    """A clip of the frames at these offsets alone, 0 among them."""
    return replace(
        clip,
        frames={offset: frame for offset, frame in clip.frames.items() if offset in reach},
        missing={offset: reason for offset, reason in clip.missing.items() if offset in reach},
    )
