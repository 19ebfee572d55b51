"""The samples of a finished store as clips, so that the job that makes stores can make another one of them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from propagate.data.clip import Clip, Frame, unreadable
from propagate.data.images import decode_frame
from propagate.data.sample import Sample
from propagate.errors import InputError, StoreError
from propagate.shards.manifest import ShardEntry, ShardPlan
from propagate.shards.opening import ADVICE, UNREADABLE
from propagate.shards.reader import SampleRecord, Shard, Store, open_store
from propagate.shards.schema import SCHEMA_VERSION, ShardPlace


@dataclass(frozen=True, kw_only=True)
class ShardFile:
    """A finished shard of a store, and all that proves its file to be the one that belongs there, on any machine."""

    path: Path
    plan: ShardPlan
    entry: ShardEntry
    place: ShardPlace
    sources: frozenset[str]

    @contextmanager
    def opened(self) -> Iterator[Shard]:
        """Raises: InputError for whatever cannot be read of it, UnreachableError where another machine may see it."""
        try:
            self.path.stat()
            with Shard(self.path, self.plan, self.entry, self.place, sources=self.sources) as shard:
                yield shard
        except StoreError as error:
            raise InputError(str(self.path), str(error).removeprefix(f"{self.path}: ")) from None
        except OSError as error:
            raise unreadable(str(self.path), error) from None
        except UNREADABLE as error:
            raise InputError(str(self.path), f"cannot be read ({error}); {ADVICE}") from None


@dataclass(frozen=True, kw_only=True)
class StoredFrame:
    """The `Frame` that a sample of a store shows, and the way to the sample. row: its place in the shard."""

    shard: ShardFile
    row: int
    record: SampleRecord

    @property
    def key(self) -> str:
        return self.record.key

    @property
    def where(self) -> str:
        return f"{self.shard.path}: sample '{self.key}' (from '{self.record.source_key}')"

    @property
    def identity(self) -> tuple[str]:
        """The digest of the sample: of its names, its frame, its labels and its confidence."""
        return (self.record.digest,)

    def size(self) -> tuple[int, int]:
        return self.shard.entry.size

    def pixels(self) -> np.ndarray:
        image = self._image()
        return decode_frame(image, self.where) if isinstance(image, bytes) else image

    def encoded(self) -> bytes | None:
        with self._opened() as shard:
            image = shard.image(self.row) if shard.images == "encoded" else None
        return image if isinstance(image, bytes) else None

    def sample(self) -> Sample:
        """The sample, with b"" as its image. Raises: InputError."""
        with self._opened() as shard:
            return shard.sample(self.row, images=False)

    def _image(self) -> bytes | np.ndarray:
        with self._opened() as shard:
            return shard.image(self.row)

    @contextmanager
    def _opened(self) -> Iterator[Shard]:
        with self.shard.opened() as shard:
            if shard.records[self.row] != self.record:
                raise InputError(self.where, f"another sample lies in its place; {ADVICE}")
            yield shard


@dataclass(frozen=True, kw_only=True)
class StoredClip(Clip):
    """The samples of one source, by offset. The frame at offset 0 is that of the nearest one, where there is none."""

    samples: Mapping[int, StoredFrame]


def open_finished(path: Path) -> Store:
    """The store in a folder. Raises: StoreError where it is unfinished, or of a former version."""
    store = open_store(path.absolute())  # a worker may have another working directory
    manifest = store.manifest
    if not manifest.complete:
        raise StoreError(
            f"{path}: unfinished, {len(manifest.shards)} of {len(manifest.plan)} planned shards are there; finish it "
            f"first: `{manifest.command}` goes on with it"
        )
    if manifest.version != SCHEMA_VERSION:
        raise StoreError(
            f"{path}: written with schema version {manifest.version}, expected {SCHEMA_VERSION}, whose samples say "
            f"why a pixel is doubtful; write it again with `{manifest.command}`"
        )
    return store


def clips_of_store(store: Store) -> list[StoredClip]:
    """A clip for each source of a finished store, in the order of its samples.

    Raises: StoreError, also where two samples have one source and offset.
    """
    sources: dict[str, dict[int, StoredFrame]] = {}
    for index, shard in zip(store.indices, store.shards(), strict=True):
        file = ShardFile(
            path=shard.path,
            plan=store.manifest.plan[index],
            entry=store.manifest.shards[index],
            place=store.manifest.place(index),
            sources=frozenset(record.source_key for record in shard.records),
        )
        for row, record in enumerate(shard.records):
            samples = sources.setdefault(record.source_key, {})
            if record.offset in samples:
                raise StoreError(
                    f"{shard.path}: two samples of source '{record.source_key}' have offset {record.offset}, expected "
                    "one; write the store again, with one --pairing"
                )
            samples[record.offset] = StoredFrame(shard=file, row=row, record=record)
    return [_clip(key, samples, store.manifest.split) for key, samples in sources.items()]


def _clip(key: str, samples: Mapping[int, StoredFrame], split: str) -> StoredClip:
    nearest = samples[min(samples, key=abs)]
    frames: dict[int, Frame] = {0: nearest, **samples}
    return StoredClip(key=key, split=split, group=nearest.record.group, frames=frames, label=None, samples=samples)
