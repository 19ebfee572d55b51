"""A store to samples, one at a time."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np

from propagate.data.sample import Sample
from propagate.errors import StoreError
from propagate.shards.manifest import Manifest, load_manifest
from propagate.shards.schema import SCHEMA_VERSION


@dataclass(frozen=True, kw_only=True)
class SampleRecord:
    """What identifies a sample, and its mean confidence in [0,1]; fields as in `Sample`."""

    key: str
    source_key: str
    group: str
    offset: int
    pairing: str
    score: float


class Shard:
    """One open shard. Close it, or use it as a context; every read passes HDF5's checksums. Raises StoreError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = h5py.File(path, "r")
        except OSError as error:
            raise StoreError(f"{path}: cannot be opened ({error}); `propagate verify` says more") from None
        version = self._file.attrs.get("schema_version")
        if version != SCHEMA_VERSION:
            self._file.close()
            raise StoreError(f"{path}: schema version {version}, this program reads {SCHEMA_VERSION}")

    def __enter__(self) -> "Shard":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self.array("key"))

    def array(self, name: str) -> h5py.Dataset:
        """One of the arrays that `schema` describes."""
        try:
            return self._file[name]
        except KeyError:
            raise StoreError(f"{self.path}: has no array '{name}'; `propagate verify` says more") from None

    @property
    def images(self) -> str:
        """How frames are stored: "encoded" or "raw"."""
        return str(self._file.attrs["images"])

    @cached_property
    def records(self) -> tuple[SampleRecord, ...]:
        """What the shard holds, without pixels."""
        names = ("key", "source_key", "group", "offset", "pairing", "score")
        try:
            columns = [self.array(name)[:].tolist() for name in names]
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be read ({error}); `propagate verify` says more") from None
        return tuple(
            SampleRecord(
                key=key.decode(),
                source_key=source_key.decode(),
                group=group.decode(),
                offset=offset,
                pairing=pairing.decode(),
                score=score,
            )
            for key, source_key, group, offset, pairing, score in zip(*columns, strict=True)
        )

    def image(self, index: int) -> bytes | np.ndarray:
        """The frame of a sample: encoded bytes, or [H,W,3] uint8 from a raw shard."""
        if self.images == "raw":
            return self.array("image/pixels")[index]
        start, size = int(self.array("image/start")[index]), int(self.array("image/size")[index])
        return self.array("image/data")[start : start + size].tobytes()

    def sample(self, index: int, *, images: bool = True) -> Sample:
        """One sample; without images its image is b""."""
        identity = asdict(self.records[index])
        del identity["score"]  # a sample derives it
        try:
            return Sample(
                **identity,
                image=self.image(index) if images else b"",
                label=self.array("label")[index],
                confidence=self.array("confidence")[index],
            )
        except OSError as error:
            raise StoreError(f"{self.path}: sample {index} cannot be read ({error})") from None


@dataclass(frozen=True)
class Store:
    """A shard store that is open for reading."""

    path: Path
    manifest: Manifest

    def shards(self) -> Iterator[Shard]:
        """The finished shards, in the order of the plan, each open until the next is asked for."""
        for entry in self.manifest.entries():
            if entry.name is not None:
                with Shard(self.path / entry.name) as shard:
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
