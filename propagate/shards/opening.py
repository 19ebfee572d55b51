"""A shard's file, opened and proven: it is the one that the manifest tells of, and holds arrays as `schema` says alone.

HDF5 can lead a reader elsewhere, to other files too: by links, by external storage, by virtual data sets. And what a
file says of its sizes may be anything. So nothing is read of a shard before all of this is known to be as it should be.
"""

import stat
from pathlib import Path

import h5py
import numpy as np
from h5py import h5d, h5g, h5l, h5t, h5z

from propagate.errors import StoreError
from propagate.shards.manifest import ShardSummary
from propagate.shards.schema import IMAGE_FORMS, Column, ShardPlace, columns

# What h5py raises for files that are damaged, or made to harm; MemoryError where they claim to be larger than memory.
UNREADABLE = (OSError, RuntimeError, ValueError, KeyError, TypeError, OverflowError, MemoryError)
ADVICE = "`propagate verify` says more"
_MOST_BY_GZIP = 1032  # times smaller than what it packs a file can be


def open_shard(
    path: Path, entry: ShardSummary, place: ShardPlace, version: int
) -> tuple[h5py.File, dict[str, h5py.Dataset]]:
    """The file and its arrays by name, proven to be of that schema version, and what the manifest's entry tells of.

    Raises StoreError. No array's content is read: that is proven by checksums, whenever it is.
    """
    try:
        _require_file(path, entry)
        file = h5py.File(path, "r")
    except UNREADABLE as error:
        raise StoreError(f"{path}: cannot be opened ({error}); {ADVICE}") from None
    try:
        _require_place(file, path, entry, place, version)
        images = _text(file, "images")
        if images not in IMAGE_FORMS:
            raise ValueError(f"images are '{images}', expected one of {', '.join(IMAGE_FORMS)}")
        return file, _arrays(file, entry, columns(entry.size, images, version))
    except UNREADABLE as error:
        file.close()
        raise StoreError(f"{path}: not a shard as its schema says ({error}); {ADVICE}") from None
    except StoreError:
        file.close()
        raise


def _require_file(path: Path, entry: ShardSummary) -> None:
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError("it is no regular file")
    if found.st_size != entry.bytes:
        raise _another(path, f"has {found.st_size} bytes, the manifest says {entry.bytes}")


def _require_place(file: h5py.File, path: Path, entry: ShardSummary, place: ShardPlace, version: int) -> None:
    """Raise StoreError unless the shard is of this store, belongs here, and holds what the manifest says."""
    found = file.attrs["schema_version"]
    if found != version:
        raise StoreError(f"{path}: schema version {found}, the manifest says {version}; {ADVICE}")
    if version == 1:  # which did not say where a shard belongs
        return
    if _text(file, "store_id") != place.store_id:
        raise _another(path, "is a shard of another store")
    index, number = int(file.attrs["shard_index"]), int(file.attrs["num_shards"])
    if (index, number) != (place.shard_index, place.num_shards):
        expected = f"{place.shard_index} of {place.num_shards}"
        raise _another(path, f"is shard {index} of {number} of its store, but lies in the place of {expected}")
    if _text(file, "content") != entry.content:
        raise _another(path, "holds other samples than the manifest says")
    if _text(file, "classes") != place.classes:
        raise _another(path, "was written with another class table than the manifest's")


def _another(path: Path, fault: str) -> StoreError:
    return StoreError(
        f"{path}: {fault}: files were exchanged, or the store was written anew since it was opened; open it again, and "
        f"if that does not help, {ADVICE}"
    )


def _text(file: h5py.File, name: str) -> str:
    value = file.attrs[name]
    if not isinstance(value, str):
        raise TypeError(f"attribute '{name}' is no text")
    return value


def _arrays(file: h5py.File, entry: ShardSummary, expected: dict[str, Column]) -> dict[str, h5py.Dataset]:
    """The arrays, all of them and nothing else, each reached by hard links and stored as its column says."""
    groups = {"": file.id}
    for name in sorted({name.partition("/")[0] for name in expected if "/" in name}):
        _require_hard_link(file.id, name)
        groups[name] = h5g.open(file.id, name.encode())
    for prefix, group in groups.items():
        inside = {name for name in expected if name.rpartition("/")[0] == prefix}
        num_expected = len(inside) + (len(groups) - 1 if prefix == "" else 0)
        if group.get_num_objs() != num_expected:
            raise ValueError(f"group '/{prefix}' has {group.get_num_objs()} members, expected {num_expected}")
    arrays = {}
    for name, column in expected.items():
        prefix, _, last = name.rpartition("/")
        _require_hard_link(groups[prefix], last)
        array = h5d.open(groups[prefix], last.encode())
        _require_stored_so(name, array, column)
        _require_rows(name, array, column, entry)
        arrays[name] = h5py.Dataset(array, readonly=True)
    return arrays


def _require_hard_link(group: h5g.GroupID, name: str) -> None:
    if group.links.get_info(name.encode()).type != h5l.TYPE_HARD:
        raise ValueError(f"'{name}' is a link to elsewhere")


def _require_stored_so(name: str, array: h5d.DatasetID, column: Column) -> None:
    stored = array.get_create_plist()
    if stored.get_layout() != h5d.CHUNKED:
        raise ValueError(f"'{name}' is not stored in chunks of this file")
    filters = {stored.get_filter(number)[0] for number in range(stored.get_nfilters())}
    if filters != {h5z.FILTER_FLETCHER32, *([h5z.FILTER_DEFLATE] if column.gzip else [])}:
        raise ValueError(f"'{name}' has other filters than it should: {sorted(filters)}")
    if stored.get_chunk() != column.chunk:
        raise ValueError(f"'{name}' has chunks of {stored.get_chunk()}, expected {column.chunk}")
    if not array.get_type().equal(h5t.py_create(np.dtype(column.dtype), logical=True)):
        raise ValueError(f"'{name}' is of type {array.dtype}, expected {column.dtype}")


def _require_rows(name: str, array: h5d.DatasetID, column: Column, entry: ShardSummary) -> None:
    """Raise ValueError unless an array has a row per sample, where that is so, and no more than its file can hold."""
    num_rows, *row = array.shape
    if tuple(row) != column.row:
        raise ValueError(f"'{name}' has rows of {tuple(row)}, expected {column.row}")
    if column.is_per_sample and num_rows != entry.samples:
        raise ValueError(f"'{name}' has {num_rows} rows, the manifest says {entry.samples} samples")
    if num_rows * column.row_bytes > entry.bytes * (_MOST_BY_GZIP if column.gzip else 1):
        raise ValueError(f"'{name}' is said to have {num_rows} rows, more than a file of {entry.bytes} bytes can hold")
