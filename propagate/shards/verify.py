"""Does a store still hold what was written? Digests first: a damaged file is named before anything opens it."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from propagate.data.images import check_encoded
from propagate.errors import InputError, StoreError
from propagate.shards.manifest import ShardEntry
from propagate.shards.opening import UNREADABLE
from propagate.shards.reader import Shard, Store, open_store
from propagate.shards.schema import row_blocks, sample_digest


@dataclass(frozen=True)
class Verification:
    """What was checked, and every fault that was found, a sentence each."""

    shards: int
    samples: int
    bytes: int
    faults: tuple[str, ...]


def verify_store(path: Path, *, on_progress: Callable[[int], None] = lambda _bytes: None) -> Verification:
    """Every checksum, every sample, and all counts against the manifest; `on_progress` hears of the bytes done.

    Faults are collected, not raised; StoreError is raised only where the manifest itself cannot be read.
    """
    store = open_store(path)
    entries = [store.manifest.shards[index] for index in store.indices]
    faults: list[str] = []
    with ThreadPoolExecutor(max_workers=2) as pool:  # digests leave the interpreter free to read the shard before
        digests = pool.map(lambda entry: _file_fault(path / str(entry.name), entry, _again(store)), entries)
        try:
            for index, entry, fault in zip(store.indices, entries, digests, strict=True):
                faults += [fault] if fault else _content_faults(store, index)
                on_progress(entry.bytes)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return Verification(
        shards=len(entries),
        samples=sum(entry.samples for entry in entries),
        bytes=sum(entry.bytes for entry in entries),
        faults=tuple(faults),
    )


def _again(store: Store) -> str:
    return f"run `{store.manifest.command}` again: it writes the missing shards only"


def _file_fault(path: Path, entry: ShardEntry, again: str) -> str | None:
    """The fault of a shard as a file, found without opening it as HDF5."""
    try:
        size = path.stat().st_size
        if size != entry.bytes:
            return f"{path}: has {size} bytes, the manifest says {entry.bytes}: delete it and {again}"
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"{path}: cannot be read ({error.strerror}): {again}"
    if digest != entry.sha256:
        return f"{path}: damaged, its SHA-256 is not the manifest's: delete it and {again}"
    return None


def _content_faults(store: Store, index: int) -> list[str]:
    """The faults of a shard whose bytes are those that were written."""
    entry = store.manifest.shards[index]
    path = store.path / str(entry.name)
    try:
        with store.open(index) as shard:
            return [f"{path}: {fault}: delete it and {_again(store)}" for fault in _shard_faults(shard, entry)]
    except (StoreError, *UNREADABLE) as error:
        return [f"{path}: cannot be read as a shard ({error}): delete it and {_again(store)}"]


def _shard_faults(shard: Shard, entry: ShardEntry) -> Iterator[str]:
    shard.require_form()
    for name in shard.columns:
        if name not in _OF_PIXELS:
            _read_through(shard.array(name))
    records = shard.records
    for what, counted, expected in (
        ("offsets", Counter(record.offset for record in records), entry.offsets),
        ("origins", Counter(record.origin for record in records), entry.origins),
    ):
        if counted != expected:
            yield f"holds {what} {dict(sorted(counted.items()))}, the manifest says {expected}"
    cells = np.bincount(shard.column("cells/label_id"), weights=shard.column("cells/count"), minlength=256)
    labels = {label: int(count) for label, count in enumerate(cells) if count}
    if labels != entry.labels:
        yield f"holds pixels by label id {labels}, the manifest says {entry.labels}"
    for index, record in enumerate(records):
        sample = shard.sample(index)
        if record.digest and sample_digest(sample) != record.digest:
            yield f"sample {index} is not what its digest says"
        if isinstance(sample.image, bytes):
            try:
                check_encoded(sample.image, f"image of sample {index}")
            except InputError as error:
                yield str(error)


_OF_PIXELS = ("label", "confidence", "reason", "image/data", "image/pixels")  # which samples are read of, each once


def _read_through(array: h5py.Dataset) -> None:
    for _ in row_blocks(array):
        pass
