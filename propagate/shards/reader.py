"""A store to samples, one at a time."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from propagate.data.sample import ANNOTATED, ORIGINS, PAIRINGS, PROPAGATED, Sample
from propagate.errors import StoreError
from propagate.shards.manifest import Manifest, ShardSummary, load_manifest
from propagate.shards.opening import ADVICE, UNREADABLE, open_shard
from propagate.shards.schema import SCHEMA_VERSION, ShardPlace


@dataclass(frozen=True, kw_only=True)
class SampleRecord:
    """What identifies a sample, and its mean confidence in [0,1]; fields as in `Sample`.

    digest: as `propagate.shards.schema.sample_digest` makes it; empty where there is none, in stores of version 1.
    """

    key: str
    source_key: str
    group: str
    offset: int
    pairing: str
    score: float
    origin: str
    second_source_key: str = ""
    second_offset: int = 0
    digest: str = ""


class Shard:
    """One open shard. Close it, or use it as a context; every read passes HDF5's checksums.

    Raises StoreError where it is not the shard that belongs there, of the form that its schema says.
    """

    def __init__(self, path: Path, entry: ShardSummary, place: ShardPlace, version: int = SCHEMA_VERSION) -> None:
        self.path = path
        self.version = version
        self._file, self._arrays = open_shard(path, entry, place, version)

    def __enter__(self) -> "Shard":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._arrays["key"])

    def array(self, name: str) -> h5py.Dataset:
        """One of the arrays that `schema` describes. What reading it can raise is `opening.UNREADABLE`."""
        return self._arrays[name]

    @property
    def images(self) -> str:
        """How frames are stored: "encoded" or "raw"."""
        return "raw" if "image/pixels" in self._arrays else "encoded"

    def column(self, name: str) -> np.ndarray:
        """The whole of one of the arrays with a number or a text per row."""
        try:
            return self._arrays[name][:]
        except UNREADABLE as error:
            raise StoreError(f"{self.path}: '{name}' cannot be read ({error}); {ADVICE}") from None

    @cached_property
    def cell_runs(self) -> tuple[np.ndarray, np.ndarray]:
        """Which rows of `cells/cell` and those beside it are of each sample: their starts and sizes, [n] int64."""
        return self._runs("cells", "cell")

    @cached_property
    def _image_runs(self) -> tuple[np.ndarray, np.ndarray]:
        return self._runs("image", "data")

    def _runs(self, group: str, rows: str) -> tuple[np.ndarray, np.ndarray]:
        """Starts and sizes of runs that follow one another, and are all of the rows."""
        start, size = self.column(f"{group}/start"), self.column(f"{group}/size")
        num_rows = len(self._arrays[f"{group}/{rows}"])
        ends = np.cumsum(size)
        if not ((size >= 0) & (size <= num_rows)).all() or (start != ends - size).any() or ends[-1:] != num_rows:
            raise StoreError(
                f"{self.path}: '{group}/start' and '{group}/size' are not of its {num_rows} rows; {ADVICE}"
            )
        return start, size

    @cached_property
    def records(self) -> tuple[SampleRecord, ...]:
        """What the shard holds, without pixels."""
        columns = {name: self.column(name).tolist() for name in ("offset", "score")}
        for name in ("key", "source_key", "group", "pairing"):
            columns[name] = self._texts(name)
        if self.version == 1:
            columns["origin"] = [PROPAGATED if offset else ANNOTATED for offset in columns["offset"]]
        else:
            columns["origin"] = [self._one_of(ORIGINS, number) for number in self.column("origin").tolist()]
            columns["second_source_key"] = self._texts("second_source_key")
            columns["second_offset"] = self.column("second_offset").tolist()
            columns["digest"] = self._texts("sample_digest")
        if not all(0 <= score <= 1 for score in columns["score"]) or not set(columns["pairing"]) <= set(PAIRINGS):
            raise StoreError(f"{self.path}: holds a score that is not within 0…1, or an unknown pairing; {ADVICE}")
        return tuple(
            SampleRecord(**dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)
        )

    def _texts(self, name: str) -> list[str]:
        try:
            texts = [text.decode() for text in self.column(name).tolist()]
        except UnicodeDecodeError as error:
            raise StoreError(f"{self.path}: '{name}' holds a text that is not UTF-8 ({error}); {ADVICE}") from None
        if any("\0" in text for text in texts):
            raise StoreError(f"{self.path}: '{name}' holds a text with a NUL character; {ADVICE}")
        return texts

    def _one_of(self, names: tuple[str, ...], number: int) -> str:
        if number >= len(names):
            raise StoreError(f"{self.path}: 'origin' holds {number}, expected 0…{len(names) - 1}; {ADVICE}")
        return names[number]

    def image(self, index: int) -> bytes | np.ndarray:
        """The frame of a sample: encoded bytes, or [H,W,3] uint8 from a raw shard."""
        if self.images == "raw":
            return self.array("image/pixels")[index]
        start, size = (int(column[index]) for column in self._image_runs)
        return self.array("image/data")[start : start + size].tobytes()

    def sample(self, index: int, *, images: bool = True) -> Sample:
        """One sample; without images its image is b""."""
        record = self.records[index]
        identity: dict[str, Any] = {name: getattr(record, name) for name in _IDENTITY}
        try:
            return Sample(
                **identity,
                image=self.image(index) if images else b"",
                label=self.array("label")[index],
                confidence=self.array("confidence")[index],
            )
        except UNREADABLE as error:
            raise StoreError(f"{self.path}: sample {index} cannot be read ({error})") from None


_IDENTITY = {each.name for each in fields(SampleRecord)} & {each.name for each in fields(Sample)}


@dataclass(frozen=True)
class Store:
    """A shard store that is open for reading."""

    path: Path
    manifest: Manifest

    def open(self, index: int) -> Shard:
        """The shard of that index in the plan. Raises StoreError where its file is not the one that belongs there."""
        entry = self.manifest.shards[index]
        return Shard(self.path / str(entry.name), entry, self.manifest.place(index), self.manifest.version)

    @property
    def indices(self) -> tuple[int, ...]:
        """Those in the plan of the shards that have a file, in its order."""
        return tuple(index for index, entry in sorted(self.manifest.shards.items()) if entry.name is not None)

    def shards(self) -> Iterator[Shard]:
        """The finished shards, in the order of the plan, each open until the next is asked for."""
        for index in self.indices:
            with self.open(index) as shard:
                yield shard

    def records(self) -> Iterator[SampleRecord]:
        """What every sample is, without its pixels, in the order of `samples`."""
        for shard in self.shards():
            yield from shard.records

    def samples(self, *, images: bool = True) -> Iterator[Sample]:
        """Every sample, shard by shard, one in memory at a time; without images their image is b""."""
        for shard in self.shards():
            for index in range(len(shard)):
                yield shard.sample(index, images=images)


def open_store(path: str | Path) -> Store:
    """The store in a directory. Raises StoreError."""
    return Store(Path(path), load_manifest(Path(path)))
