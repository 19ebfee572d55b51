"""A shard's file, opened and proven: it is the one that the manifest tells of, and holds arrays as `schema` says alone.

HDF5 can lead a reader elsewhere, to other files too: by links, by external storage, by virtual data sets. And what a
file says of its sizes may be anything. So nothing is read of a shard before all of this is known to be as it should be.
"""

import stat
from collections.abc import Collection
from pathlib import Path

import h5py
import numpy as np
from h5py import h5d, h5g, h5l, h5t, h5z

from propagate.errors import StoreError
from propagate.shards.manifest import ShardSummary
from propagate.shards.schema import IMAGE_FORMS, Column, ShardPlace

# What h5py raises for files that are damaged, or made to harm; MemoryError where they claim to be larger than memory.
UNREADABLE = (OSError, RuntimeError, ValueError, KeyError, TypeError, OverflowError, MemoryError)
ADVICE = "`propagate verify` says more"
_MOST_BY_GZIP = 1032  # times smaller than what it packs a file can be


def open_file(path: Path, entry: ShardSummary, place: ShardPlace, version: int) -> tuple[h5py.File, str]:
    """The file, and its form of images: of that schema version, and the one that the manifest's entry tells of.

    Raises: StoreError.
    """
    try:
        _require_size(path, entry)
        file = h5py.File(path, "r", rdcc_nbytes=0)  # chunks that were read would fill memory as long as it is open
    except UNREADABLE as error:
        raise StoreError(f"{path}: cannot be opened ({error}); {ADVICE}") from None
    try:
        attributes = file.attrs  # which takes a while to make
        _require_place(attributes, path, entry, place, version)
        images = _text(attributes, "images")
        if images not in IMAGE_FORMS:
            raise ValueError(f"images are '{images}', expected one of {', '.join(IMAGE_FORMS)}")
    except (StoreError, *UNREADABLE) as error:
        file.close()
        raise error if isinstance(error, StoreError) else _not_a_shard(path, error) from None
    return file, images


def open_array(file: h5py.File, path: Path, entry: ShardSummary, name: str, column: Column) -> h5py.Dataset:
    """An array of a shard, reached by hard links alone, and stored as its column says. Raises: StoreError.

    Nothing of it is read: that is proven by checksums, whenever it is.
    """
    prefix, _, last = name.rpartition("/")
    try:
        group = file.id
        if prefix:
            _require_hard_link(group, prefix)
            group = h5g.open(group, prefix.encode())
        _require_hard_link(group, last)
        array = h5d.open(group, last.encode())
        _require_stored_so(array, column)
        _require_rows(array, column, entry)
    except UNREADABLE as error:
        raise _not_a_shard(path, f"'{name}': {error}") from None
    return h5py.Dataset(array, readonly=True)


def require_nothing_else(file: h5py.File, path: Path, names: Collection[str]) -> None:
    """Raise StoreError where a file holds more than the arrays of these names, which it is known to hold."""
    members = {"": {name.partition("/")[0] for name in names}}
    for name in names:
        prefix, _, last = name.rpartition("/")
        members.setdefault(prefix, set()).add(last)
    for prefix, inside in members.items():
        found = file[f"/{prefix}"].id.get_num_objs()
        if found != len(inside):
            raise _not_a_shard(path, f"'/{prefix}' has {found} members, expected {len(inside)}")


def _not_a_shard(path: Path, fault: object) -> StoreError:
    return StoreError(f"{path}: not a shard as its schema says ({fault}); {ADVICE}")


def _require_size(path: Path, entry: ShardSummary) -> None:
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError("it is no regular file")
    if found.st_size != entry.bytes:
        raise _another(path, f"has {found.st_size} bytes, the manifest says {entry.bytes}")


def _require_place(
    attributes: h5py.AttributeManager, path: Path, entry: ShardSummary, place: ShardPlace, version: int
) -> None:
    """Raise StoreError unless the shard is of this store, belongs here, and holds what the manifest says."""
    found = attributes["schema_version"]
    if found != version:
        raise StoreError(f"{path}: schema version {found}, the manifest says {version}; {ADVICE}")
    if version == 1:  # which did not say where a shard belongs
        return
    if _text(attributes, "store_id") != place.store_id:
        raise _another(path, "is a shard of another store")
    index, number = attributes["shard_index"], attributes["num_shards"]
    if index != place.shard_index:
        raise _another(path, f"is shard {index} of its store, and lies in the place of shard {place.shard_index}")
    if number != place.num_shards:
        raise _another(path, f"is of a store of {number} shards, expected {place.num_shards}")
    if _text(attributes, "content") != entry.content:
        raise _another(path, "holds other samples than the manifest says")
    if _text(attributes, "classes") != place.classes:
        raise _another(path, "was written with another class table than the manifest's")


def _another(path: Path, fault: str) -> StoreError:
    return StoreError(
        f"{path}: cannot be opened as the shard that the manifest tells of: it {fault}; files were exchanged, or the "
        f"store was written anew since it was opened: open it again, and if that does not help, {ADVICE}"
    )


def _text(attributes: h5py.AttributeManager, name: str) -> str:
    value = attributes[name]
    if not isinstance(value, str):
        raise TypeError(f"attribute '{name}' is no text")
    return value


def _require_hard_link(group: h5g.GroupID, name: str) -> None:
    if group.links.get_info(name.encode()).type != h5l.TYPE_HARD:
        raise ValueError("lies behind a link, which may lead elsewhere")


def _require_stored_so(array: h5d.DatasetID, column: Column) -> None:
    stored = array.get_create_plist()
    if stored.get_layout() != h5d.CHUNKED:
        raise ValueError("is not stored in chunks of this file")
    filters = {stored.get_filter(number)[0] for number in range(stored.get_nfilters())}
    if filters != {h5z.FILTER_FLETCHER32, *([h5z.FILTER_DEFLATE] if column.gzip else [])}:
        raise ValueError(f"has other filters than it should: {sorted(filters)}")
    if stored.get_chunk() != column.chunk:
        raise ValueError(f"has chunks of {stored.get_chunk()}, expected {column.chunk}")
    if not array.get_type().equal(h5t.py_create(np.dtype(column.dtype), logical=True)):
        raise ValueError(f"is of type {array.dtype}, expected {column.dtype}")


def _require_rows(array: h5d.DatasetID, column: Column, entry: ShardSummary) -> None:
    """Raise ValueError unless an array has a row per sample, where that is so, and no more than its file can hold."""
    num_rows, *row = array.shape
    if tuple(row) != column.row:
        raise ValueError(f"has rows of {tuple(row)}, expected {column.row}")
    if column.is_per_sample and num_rows != entry.samples:
        raise ValueError(f"has {num_rows} rows, the manifest says {entry.samples} samples")
    if num_rows * column.row_bytes > entry.bytes * (_MOST_BY_GZIP if column.gzip else 1):
        raise ValueError(f"is said to have {num_rows} rows, more than a file of {entry.bytes} bytes can hold")
