"""The arrays of a shard. Plain h5py reads them all, without plugins.

Root attributes: `schema_version`, `images` ("encoded" or "raw"). One row per sample, n samples of one size HxW:

    key, source_key, group   S128 [n]          the frame, the annotated frame, the folder for exports; UTF-8
    offset                   int32 [n]         target index - annotated index
    pairing                  S8 [n]            "label" or "joint"
    score                    float32 [n]       mean confidence
    label                    uint8 [n,H,W]     label ids; tiles of 256x256, gzip 1
    confidence               uint8 [n,H,W]     levels 0…15; tiles of 256x256, gzip 1
    image/data               uint8 [bytes]     encoded images, one after the other; sample i is
    image/start, image/size  int64 [n]         data[start[i] : start[i] + size[i]]
    image/pixels             uint8 [n,H,W,3]   instead, with raw images: RGB in tiles of 256x256
    cells/start, cells/size  int64 [n]         the rows of sample i in the statistics:
    cells/cell               uint32 [rows]     64x64 cell, counted along rows of cells
    cells/label_id           uint8 [rows]
    cells/count              uint16 [rows]     pixels of that label id in that cell
    cells/sum_x, cells/sum_y uint32 [rows]     sums of their image coordinates

Every array is chunked and carries Fletcher-32 checksums.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import h5py
import numpy as np

from propagate.errors import StoreError

SCHEMA_VERSION = 1
KEY_BYTES = 128
TILE = 256
CELL = 64
IMAGE_FORMS = ("encoded", "raw")


@dataclass(frozen=True)
class Column:
    """How one array is stored. `row` is the shape of one row, `chunk` the rows of a chunk, tiles are cut from H, W."""

    dtype: str
    chunk: tuple[int, ...]
    row: tuple[int, ...] = ()
    gzip: bool = False


def columns(size: tuple[int, int], images: str) -> dict[str, Column]:
    """The arrays of a shard of that frame size (H, W), by name."""
    height, width = size
    tile = (min(height, TILE), min(width, TILE))
    per_sample, per_cell = (1024,), (16384,)
    if images == "raw":
        image = {"image/pixels": Column("u1", (1, *tile, 3), (height, width, 3))}
    else:
        image = {
            "image/data": Column("u1", (256 * 1024,)),
            "image/start": Column("<i8", per_sample),
            "image/size": Column("<i8", per_sample),
        }
    return {
        "key": Column(f"S{KEY_BYTES}", (64,)),
        "source_key": Column(f"S{KEY_BYTES}", (64,)),
        "group": Column(f"S{KEY_BYTES}", (64,)),
        "offset": Column("<i4", per_sample),
        "pairing": Column("S8", per_sample),
        "score": Column("<f4", per_sample),
        "label": Column("u1", (1, *tile), (height, width), gzip=True),
        "confidence": Column("u1", (1, *tile), (height, width), gzip=True),
        **image,
        "cells/start": Column("<i8", per_sample),
        "cells/size": Column("<i8", per_sample),
        "cells/cell": Column("<u4", per_cell, gzip=True),
        "cells/label_id": Column("u1", per_cell, gzip=True),
        "cells/count": Column("<u2", per_cell, gzip=True),
        "cells/sum_x": Column("<u4", per_cell, gzip=True),
        "cells/sum_y": Column("<u4", per_cell, gzip=True),
    }


class ContentHash:
    """SHA-256 over arrays in canonical order, fed row by row: independent of chunks, compression and libraries."""

    def __init__(self) -> None:
        self._arrays: dict[str, tuple[h5py.h5.ObjectID, int, str]] = {}

    def update(self, name: str, rows: np.ndarray) -> None:
        """Add rows at the end of an array; their first axis counts rows."""
        digest, count, _ = self._arrays.get(name) or (hashlib.sha256(), 0, "")
        digest.update(np.ascontiguousarray(rows).data)
        self._arrays[name] = (digest, count + len(rows), f"{rows.dtype.str}{list(rows.shape[1:])}")

    def hexdigest(self) -> str:
        total = hashlib.sha256()
        for name, (digest, count, form) in sorted(self._arrays.items()):
            total.update(f"{name} {form} {count} {digest.hexdigest()}\n".encode())
        return total.hexdigest()


def row_blocks(array: h5py.Dataset) -> Iterator[np.ndarray]:
    """An array in blocks of whole rows, as large as a chunk and at least one: every byte passes its checksum."""
    step = array.chunks[0]
    for start in range(0, len(array), step):
        yield array[start : start + step]


def content_hash(file: Mapping[str, h5py.Dataset], names: Iterator[str] | list[str]) -> str:
    """The content hash of the named arrays of an open shard."""
    content = ContentHash()
    for name in names:
        empty = file[name][:0]
        content.update(name, empty)
        for rows in row_blocks(file[name]):
            content.update(name, rows)
    return content.hexdigest()


def encode_key(key: str) -> bytes:
    """A key as it is stored. Raises StoreError where it does not fit."""
    encoded = key.encode()
    if len(encoded) > KEY_BYTES:
        raise StoreError(f"key '{key}' has {len(encoded)} bytes; a shard holds {KEY_BYTES}: shorten the file names")
    return encoded
