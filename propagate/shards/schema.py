"""The arrays of a shard. Plain h5py reads them all, without plugins.

Root attributes: `schema_version`, `images` ("encoded" or "raw"), and those of `ShardPlace`, which say where it belongs.
One row per sample, n samples of one size HxW:

    key, source_key, group   S128 [n]          the frame, the annotated frame, the folder for exports; UTF-8
    offset                   int32 [n]         target index - annotated index
    origin                   enum, uint8 [n]   how its labels came about, by its place in `ORIGINS`
    second_source_key        S128 [n]          the other annotated frame, where labels come from two; else empty
    second_offset            int32 [n]         target index - its index; 0 where there is none
    sample_digest            S64 [n]           as `sample_digest` says
    pairing                  S8 [n]            "label" or "joint"
    score                    float32 [n]       mean confidence
    label                    uint8 [n,H,W]     label ids; tiles of 256x256, gzip 1
    confidence               uint8 [n,H,W]     levels 0…15; tiles of 256x256, gzip 1
    reason                   uint8 [n,H,W]     why a pixel is doubtful, its place in `REASONS`; tiles of 256x256, gzip 1
    image/data               uint8 [bytes]     encoded images, one after the other; sample i is
    image/start, image/size  int64 [n]         data[start[i] : start[i] + size[i]]
    image/pixels             uint8 [n,H,W,3]   instead, with raw images: RGB in tiles of 256x256
    cells/start, cells/size  int64 [n]         the rows of sample i in the statistics:
    cells/cell               uint32 [rows]     64x64 cell, counted along rows of cells
    cells/label_id           uint8 [rows]
    cells/count              uint16 [rows]     pixels of that label id in that cell
    cells/sum_x, cells/sum_y uint32 [rows]     sums of their image coordinates

Every array is chunked and carries Fletcher-32 checksums; HDF5's own records of them carry checksums too. Version 2 had
no `reason`, and version 1 neither this nor `origin`, `second_source_key`, `second_offset`, `sample_digest` and the
checksums of HDF5's own records; both are read, and no longer written.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import h5py
import numpy as np

from propagate.data.sample import ORIGINS, Sample
from propagate.errors import StoreError

SCHEMA_VERSION = 3
READ_VERSIONS = (1, 2, 3)
LIBRARY_VERSIONS = ("v110", "v110")  # of HDF5: the oldest form whose records of arrays all carry checksums
KEY_BYTES = 128
TILE = 256
CELL = 64
IMAGE_FORMS = ("encoded", "raw")
ORIGIN_TYPE = h5py.enum_dtype({name: number for number, name in enumerate(ORIGINS)}, basetype="u1")


@dataclass(frozen=True)
class Column:
    """How one array is stored. `row` is the shape of one row, `chunk` the rows of a chunk, tiles are cut from H, W.

    is_per_sample: it has a row per sample; else samples have different numbers of rows, one after the other.
    """

    dtype: str | np.dtype
    chunk: tuple[int, ...]
    row: tuple[int, ...] = ()
    gzip: bool = False
    is_per_sample: bool = True

    @property
    def row_bytes(self) -> int:
        return np.dtype(self.dtype).itemsize * math.prod(self.row)


@dataclass(frozen=True, kw_only=True)
class ShardPlace:
    """Where a shard belongs, as its root attributes say: its store, its place in the plan, its class table (JSON)."""

    store_id: str
    shard_index: int
    num_shards: int
    classes: str


def columns(size: tuple[int, int], images: str, version: int = SCHEMA_VERSION) -> dict[str, Column]:
    """The arrays of a shard of that frame size (H, W), by name."""
    height, width = size
    tile = (min(height, TILE), min(width, TILE))
    per_sample, per_cell = (1024,), (16384,)
    if images == "raw":
        image = {"image/pixels": Column("u1", (1, *tile, 3), (height, width, 3))}
    else:
        image = {
            "image/data": Column("u1", (256 * 1024,), is_per_sample=False),
            "image/start": Column("<i8", per_sample),
            "image/size": Column("<i8", per_sample),
        }
    later: dict[str, Column] = {}
    if version >= 2:
        later |= {
            "origin": Column(ORIGIN_TYPE, per_sample),
            "second_source_key": Column(f"S{KEY_BYTES}", (64,)),
            "second_offset": Column("<i4", per_sample),
            "sample_digest": Column("S64", (64,)),
        }
    if version >= 3:
        later["reason"] = Column("u1", (1, *tile), (height, width), gzip=True)
    return {
        "key": Column(f"S{KEY_BYTES}", (64,)),
        "source_key": Column(f"S{KEY_BYTES}", (64,)),
        "group": Column(f"S{KEY_BYTES}", (64,)),
        "offset": Column("<i4", per_sample),
        "pairing": Column("S8", per_sample),
        "score": Column("<f4", per_sample),
        "label": Column("u1", (1, *tile), (height, width), gzip=True),
        "confidence": Column("u1", (1, *tile), (height, width), gzip=True),
        **later,
        **image,
        "cells/start": Column("<i8", per_sample),
        "cells/size": Column("<i8", per_sample),
        "cells/cell": Column("<u4", per_cell, gzip=True, is_per_sample=False),
        "cells/label_id": Column("u1", per_cell, gzip=True, is_per_sample=False),
        "cells/count": Column("<u2", per_cell, gzip=True, is_per_sample=False),
        "cells/sum_x": Column("<u4", per_cell, gzip=True, is_per_sample=False),
        "cells/sum_y": Column("<u4", per_cell, gzip=True, is_per_sample=False),
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


def sample_rows(sample: Sample) -> dict[str, np.ndarray]:
    """What a sample is, as the rows of it that the arrays of these names hold; first of all axes is that of rows."""
    one_row = {
        "key": np.array([encode_key(sample.key)], f"S{KEY_BYTES}"),
        "source_key": np.array([encode_key(sample.source_key)], f"S{KEY_BYTES}"),
        "group": np.array([encode_key(sample.group)], f"S{KEY_BYTES}"),
        "offset": np.array([sample.offset], "<i4"),
        "pairing": np.array([sample.pairing.encode()], "S8"),
        "origin": np.array([ORIGINS.index(sample.origin)], "u1"),
        "second_source_key": np.array([encode_key(sample.second_source_key)], f"S{KEY_BYTES}"),
        "second_offset": np.array([sample.second_offset], "<i4"),
        "label": sample.label[None],
        "confidence": sample.confidence[None],
    }
    if sample.reason is not None:
        one_row["reason"] = sample.reason[None]
    if isinstance(sample.image, bytes):
        return {**one_row, "image/data": np.frombuffer(sample.image, np.uint8)}
    return {**one_row, "image/pixels": sample.image[None]}


def sample_digest(sample: Sample) -> str:
    """What tells a sample from any other: the content hash of arrays that hold it alone, those of `sample_rows`.

    Where it lies in a shard, and what follows from its pixels (score, statistics), does not count.
    """
    content = ContentHash()
    for name, rows in sample_rows(sample).items():
        content.update(name, rows)
    return content.hexdigest()


def encode_key(key: str) -> bytes:
    """A key as it is stored. Raises: StoreError where it cannot be."""
    try:
        encoded = key.encode()
    except UnicodeEncodeError:
        raise StoreError(f"key {key!r} is not UTF-8; rename the files") from None
    if b"\0" in encoded:
        raise StoreError(f"key {key!r} holds a NUL character; rename the files")
    if len(encoded) > KEY_BYTES:
        raise StoreError(f"key '{key}' has {len(encoded)} bytes; a shard holds {KEY_BYTES}: shorten the file names")
    return encoded
