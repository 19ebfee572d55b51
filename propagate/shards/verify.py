"""Does a store still hold what was written? Digests first: a damaged file is named before anything opens it."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import h5py

from propagate.data.images import check_encoded
from propagate.errors import InputError, StoreError
from propagate.shards.manifest import ShardEntry, load_manifest
from propagate.shards.reader import Shard
from propagate.shards.schema import columns, row_blocks


@dataclass(frozen=True)
class Verification:
    """What was checked, and every fault that was found, a sentence each."""

    shards: int
    samples: int
    bytes: int
    faults: tuple[str, ...]


def verify_store(path: Path, *, on_progress: Callable[[int], None] = lambda _bytes: None) -> Verification:
    """Every checksum, every sample, and all counts against the manifest; `report` hears of the bytes done.

    Faults are collected, not raised; StoreError is raised only where the manifest itself cannot be read.
    """
    manifest = load_manifest(path)
    entries = [entry for entry in manifest.entries() if entry.name is not None]
    faults: list[str] = []
    with ThreadPoolExecutor(max_workers=2) as pool:  # digests leave the interpreter free to read the shard before
        digests = pool.map(lambda entry: _file_fault(path / str(entry.name), entry), entries)
        for entry, fault in zip(entries, digests, strict=True):
            faults += [fault] if fault else _content_faults(path / str(entry.name), entry)
            on_progress(entry.bytes)
    return Verification(
        shards=len(entries),
        samples=sum(entry.samples for entry in entries),
        bytes=sum(entry.bytes for entry in entries),
        faults=tuple(faults),
    )


_ADVICE = "delete it and run `propagate run` again: it writes the missing shards only"


def _file_fault(path: Path, entry: ShardEntry) -> str | None:
    """The fault of a shard as a file, found without opening it as HDF5."""
    try:
        size = path.stat().st_size
        if size != entry.bytes:
            return f"{path}: has {size} bytes, the manifest says {entry.bytes}: {_ADVICE}"
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return (
            f"{path}: cannot be read ({error.strerror}): run `propagate run` again: it writes the missing shards only"
        )
    if digest != entry.sha256:
        return f"{path}: damaged, its SHA-256 is not the manifest's: {_ADVICE}"
    return None


def _content_faults(path: Path, entry: ShardEntry) -> list[str]:
    """The faults of a shard whose bytes are those that were written."""
    try:
        with Shard(path) as shard:
            return [f"{path}: {fault}: {_ADVICE}" for fault in _shard_faults(shard, entry)]
    except (StoreError, OSError) as error:
        return [f"{path}: cannot be read as a shard ({error}): {_ADVICE}"]


def _shard_faults(shard: Shard, entry: ShardEntry) -> Iterator[str]:
    for name in columns(entry.size, shard.images):
        _read_through(shard.array(name))
    if len(shard) != entry.samples:
        yield f"holds {len(shard)} samples, the manifest says {entry.samples}"
    offsets = Counter(int(offset) for offset in shard.array("offset")[:])
    if offsets != entry.offsets:
        yield f"holds offsets {dict(sorted(offsets.items()))}, the manifest says {entry.offsets}"
    if shard.images == "encoded":
        for index in range(len(shard)):
            try:
                check_encoded(bytes(shard.image(index)), f"image of sample {index}")
            except InputError as error:
                yield str(error)


def _read_through(array: h5py.Dataset) -> None:
    for _ in row_blocks(array):
        pass
