"""Samples to a shard: streamed into the file, synced, read back and compared before anybody hears of it."""

import hashlib
import io
import os
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from jobs.signals import uninterrupted
from propagate.data.sample import Sample
from propagate.errors import StoreError
from propagate.shards.cells import cell_statistics, pixels_per_label
from propagate.shards.manifest import ShardSummary, write_error
from propagate.shards.schema import (
    LIBRARY_VERSIONS,
    SCHEMA_VERSION,
    Column,
    ContentHash,
    ShardPlace,
    columns,
    content_hash,
    sample_digest,
    sample_rows,
)


class _FaultKeepingFile(io.RawIOBase):
    """A file that remembers its first failed write and swallows the later ones.

    HDF5 cannot close a file that it cannot write to, and takes the interpreter down with it: so it is told that all is
    well, and the writer looks at `fault`. For the same reason no signal may raise an exception in here.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("x+b", buffering=0)
        self.fault: OSError | None = None

    def write(self, data: memoryview) -> int:  # type: ignore[override]
        view = memoryview(data)
        written = 0
        while written < len(view) and self.fault is None:
            try:
                written += self._file.write(view[written:]) or 0
            except OSError as error:
                self.fault = error
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        size = self.tell() if size is None else size
        if self.fault is None:
            try:
                self._file.truncate(size)
            except OSError as error:
                self.fault = error
        return size

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        return self._file.readinto(buffer) or 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def sync(self) -> None:
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            self.fault = self.fault or error

    def close(self) -> None:
        super().close()
        self._file.close()


@dataclass
class ShardWriter:
    """Writes one shard under `path`, which must not exist. Use as a context: leaving it by an error removes the file.

    Raises: StoreError as soon as a write fails: nothing is retried.
    """

    path: Path
    size: tuple[int, int]
    images: str
    place: ShardPlace
    _offsets: Counter[int] = field(default_factory=Counter)
    _origins: Counter[str] = field(default_factory=Counter)
    _labels: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))

    def __enter__(self) -> "ShardWriter":
        try:
            self._file = _FaultKeepingFile(self.path)
        except OSError as error:
            raise write_error(self.path, error) from None
        self._hdf5: Any = None
        try:
            self._begin()
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    @uninterrupted()
    def _begin(self) -> None:
        self._hdf5 = h5py.File(self._file, "w", libver=LIBRARY_VERSIONS)
        self._arrays: dict[str, h5py.Dataset] = {}
        self._content = ContentHash()
        self._hdf5.attrs["schema_version"] = SCHEMA_VERSION
        self._hdf5.attrs["images"] = self.images
        for attribute, value in asdict(self.place).items():
            self._hdf5.attrs[attribute] = value
        for name, column in columns(self.size, self.images).items():
            self._arrays[name] = _create(self._hdf5, name, column)
            self._content.update(name, np.empty((0, *column.row), column.dtype))

    @uninterrupted()
    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self._file.closed:
            if self._hdf5 is not None:
                self._hdf5.close()
            self._file.close()
        if error is not None:
            with suppress(OSError):  # which would hide the error; a sweep follows
                self.path.unlink()

    @uninterrupted()
    def add(self, sample: Sample) -> None:
        """Append one sample. Raises: StoreError (the disk), ValueError (a sample of another size or form)."""
        if sample.size != self.size:
            raise ValueError(f"a sample of {sample.size} in a shard of {self.size}")
        if sample.reason is None:
            raise ValueError("a sample without `reason`, which a shard holds; give zeros where nothing is doubtful")
        statistics = cell_statistics(sample.label)
        rows = sample_rows(sample)
        encoded = rows.pop("image/data", None)
        for name, row in rows.items():
            self._append(name, row)
        if encoded is not None:
            self._append_run("image", {"data": encoded})
        self._append_run("cells", vars(statistics))
        self._append_one("score", np.array(sample.score))
        self._append_one("sample_digest", np.array(sample_digest(sample).encode()))
        self._offsets[sample.offset] += 1
        self._origins[sample.origin] += 1
        self._labels += pixels_per_label(statistics)

    def finish(self) -> ShardSummary:
        """Close, sync, reopen, and compare what the file holds with what was added. Raises: StoreError."""
        expected = self._content.hexdigest()
        with uninterrupted():
            self._hdf5.attrs["content"] = expected
            self._hdf5.close()
        self._file.sync()
        self._check()
        self._file.close()
        try:
            num_bytes = self.path.stat().st_size
            with h5py.File(self.path, "r") as written:
                content = content_hash(written, list(columns(self.size, self.images)))
            with self.path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise StoreError(
                f"{self.path}: cannot be read back ({reason}); check the disk, then run again: finished shards are kept"
            ) from None
        if content != expected:
            raise StoreError(f"{self.path}: what was read back is not what was written: check disk and memory")
        return ShardSummary(
            sha256=digest,
            content=content,
            bytes=num_bytes,
            samples=self._offsets.total(),
            size=self.size,
            offsets=dict(sorted(self._offsets.items())),
            origins=dict(sorted(self._origins.items())),
            labels={int(i): int(self._labels[i]) for i in np.flatnonzero(self._labels)},
        )

    def _append_one(self, name: str, row: np.ndarray) -> None:
        self._append(name, row[None])

    def _append_run(self, group: str, arrays: dict[str, np.ndarray]) -> None:
        """Append to columns whose samples have different numbers of rows, and note where this sample's lie."""
        first, *_ = arrays
        self._append_one(f"{group}/start", np.array(len(self._arrays[f"{group}/{first}"])))
        self._append_one(f"{group}/size", np.array(len(arrays[first])))
        for name, rows in arrays.items():
            self._append(f"{group}/{name}", rows)

    def _append(self, name: str, rows: np.ndarray) -> None:
        array = self._arrays[name]
        rows = rows.astype(array.dtype, copy=False)
        start = len(array)
        try:
            array.resize(start + len(rows), axis=0)
            array[start:] = rows
        except (OSError, RuntimeError):
            self._check()
            raise
        self._check()
        self._content.update(name, rows)

    def _check(self) -> None:
        if self._file.fault is not None:
            raise write_error(self.path, self._file.fault)


def _create(file: h5py.File, name: str, column: Column) -> h5py.Dataset:
    compression = {"compression": "gzip", "compression_opts": 1} if column.gzip else {}
    return file.create_dataset(
        name,
        shape=(0, *column.row),
        maxshape=(None, *column.row),
        dtype=column.dtype,
        chunks=column.chunk,
        fletcher32=True,
        shuffle=False,
        **compression,
    )
