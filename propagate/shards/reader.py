"""A store to samples, one at a time."""

import logging
import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from propagate.data.sample import ANNOTATED, ORIGINS, PAIRINGS, PROPAGATED, Sample
from propagate.errors import StoreError
from propagate.shards.manifest import Manifest, ShardPlan, ShardSummary, load_manifest
from propagate.shards.opening import ADVICE, UNREADABLE, open_array, open_file, require_nothing_else
from propagate.shards.schema import SCHEMA_VERSION, ShardPlace, columns

NUM_OPEN = 8  # shards a process keeps open

logger = logging.getLogger(__name__)


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
    """One open shard, the one that belongs there. Close it, or use it as a context; every read passes HDF5's checksums.

    sources: the annotated frames that its labels may come from; those of its clips in the plan, where none are given.
    Each array is proven to be of the form that the schema says before it is used for the first time.
    Raises: StoreError.
    """

    def __init__(
        self,
        path: Path,
        plan: ShardPlan,
        entry: ShardSummary,
        place: ShardPlace,
        version: int = SCHEMA_VERSION,
        sources: frozenset[str] = frozenset(),
    ) -> None:
        self.path = path
        self._sources = sources or frozenset(clip.key for clip in plan.clips)
        self._entry = entry
        self._file, self.images = open_file(path, entry, place, version)
        self.columns = columns(entry.size, self.images, version)
        self._arrays: dict[str, h5py.Dataset] = {}

    def __enter__(self) -> "Shard":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def __len__(self) -> int:
        return self._entry.samples

    def require_form(self) -> None:
        """Raise StoreError unless the shard holds what its schema says, and nothing else."""
        for name in self.columns:
            self.array(name)
        require_nothing_else(self._file, self.path, self.columns)

    def array(self, name: str) -> h5py.Dataset:
        """One of the arrays that `schema` describes. What reading it can raise is `opening.UNREADABLE`."""
        if name not in self._arrays:
            self._arrays[name] = open_array(self._file, self.path, self._entry, name, self.columns[name])
        return self._arrays[name]

    def column(self, name: str) -> np.ndarray:
        """The whole of one of the arrays with a number or a text per row."""
        try:
            return self.array(name)[:]
        except UNREADABLE as error:
            raise StoreError(f"{self.path}: cannot be read ('{name}': {error}); {ADVICE}") from None

    @cached_property
    def cell_runs(self) -> tuple[np.ndarray, np.ndarray]:
        """Which rows of `cells/cell` and those beside it are of each sample: their starts and sizes, [n] int64."""
        return self._runs("cells", ("cell", "label_id", "count", "sum_x", "sum_y"))

    @cached_property
    def _image_runs(self) -> tuple[np.ndarray, np.ndarray]:
        return self._runs("image", ("data",))

    def _runs(self, group: str, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Starts and sizes of runs that follow one another, and are all of the rows that each of the arrays has."""
        start, size = self.column(f"{group}/start"), self.column(f"{group}/size")
        num_rows, *others = (len(self.array(f"{group}/{name}")) for name in names)
        ends = np.cumsum(size)
        is_within = ((size >= 0) & (size <= num_rows)).all() and (start == ends - size).all() and ends[-1] == num_rows
        if not is_within or set(others) - {num_rows}:
            raise StoreError(
                f"{self.path}: '{group}/start' and '{group}/size' are not of its {num_rows} rows; {ADVICE}"
            )
        return start, size

    @cached_property
    def records(self) -> tuple[SampleRecord, ...]:
        """What the shard holds, without pixels."""
        values = {name: self.column(name).tolist() for name in ("offset", "score")}
        for name in ("key", "source_key", "group", "pairing"):
            values[name] = self._texts(name)
        if "origin" not in self.columns:  # version 1
            values["origin"] = [PROPAGATED if offset else ANNOTATED for offset in values["offset"]]
        else:
            values["origin"] = [self._one_of(ORIGINS, number) for number in self.column("origin").tolist()]
            values["second_source_key"] = self._texts("second_source_key")
            values["second_offset"] = self.column("second_offset").tolist()
            values["digest"] = self._texts("sample_digest")
        if not all(0 <= score <= 1 for score in values["score"]) or not set(values["pairing"]) <= set(PAIRINGS):
            raise StoreError(f"{self.path}: holds a score that is not within 0…1, or an unknown pairing; {ADVICE}")
        strangers = set(values["source_key"]) - self._sources
        if strangers:
            raise StoreError(f"{self.path}: holds samples of '{min(strangers)}', which is not in the plan; {ADVICE}")
        return tuple(SampleRecord(**dict(zip(values, row, strict=True))) for row in zip(*values.values(), strict=True))

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
                reason=self.array("reason")[index] if "reason" in self.columns else None,
            )
        except UNREADABLE as error:
            raise StoreError(f"{self.path}: sample {index} cannot be read ({error})") from None


_IDENTITY = {each.name for each in fields(SampleRecord)} & {each.name for each in fields(Sample)}


class OpenShards:
    """The shards of a store that were read last, open; those of another process are left to it.

    After a fork, parent and child would share one position in a file and one state of HDF5: a child opens its own.
    """

    def __init__(self, store: "Store", limit: int = NUM_OPEN) -> None:
        self._store = store
        self._limit = limit
        self._process = os.getpid()
        self._open: OrderedDict[int, Shard] = OrderedDict()

    def get(self, index: int) -> Shard:
        """The shard of that index in the plan, open. Raises: StoreError where it can't be opened, or is another one."""
        if self._process != os.getpid():
            self._process, self._open = os.getpid(), OrderedDict()
        if index not in self._open:
            self._open[index] = self._store.open(index)
            if len(self._open) > self._limit:
                _, oldest = self._open.popitem(last=False)
                oldest.close()
        self._open.move_to_end(index)
        return self._open[index]

    def __reduce__(self) -> tuple[type, tuple["Store", int]]:
        return type(self), (self._store, self._limit)


@dataclass(frozen=True)
class Store:
    """A shard store that is open for reading: a map-style data set, `store[number]`, in the order of the plan."""

    path: Path
    manifest: Manifest

    def __len__(self) -> int:
        """How many samples there are."""
        return self._starts[-1]

    def __getitem__(self, number: int) -> Sample:
        """Raises: IndexError; StoreError, as `Shard` does."""
        return self.sample(number)

    def sample(self, number: int, *, images: bool = True) -> Sample:
        """The sample of that number, from the end where it is negative; without images its image is b"".

        Raises: IndexError; StoreError, as `Shard` does.
        """
        place = number + len(self) if number < 0 else number
        if not 0 <= place < len(self):
            raise IndexError(f"{self.path}: has {len(self)} samples, no number {number}")
        shard = bisect_right(self._starts, place) - 1
        return self._open_shards.get(self.indices[shard]).sample(place - self._starts[shard], images=images)

    def open(self, index: int) -> Shard:
        """The shard of that index in the plan. Raises: StoreError where its file is not the one that belongs there."""
        entry = self.manifest.shards[index]
        plan, place = self.manifest.plan[index], self.manifest.place(index)
        return Shard(self.path / str(entry.name), plan, entry, place, self.manifest.version, self._sources)

    @property
    def indices(self) -> tuple[int, ...]:
        """Those in the plan of the shards that have a file, in its order."""
        return tuple(index for index, entry in sorted(self.manifest.shards.items()) if entry.name is not None)

    @cached_property
    def _sources(self) -> frozenset[str]:
        """All annotated frames of the plan: a clip's labels may come from the next one, which is another shard's.

        Shards of version 1 have no other proof of where they belong than their own clips: none.
        """
        return frozenset(self.manifest.inputs if self.manifest.version > 1 else ())

    @cached_property
    def _starts(self) -> list[int]:
        """The number of the first sample of each shard that has a file, and, last, how many samples there are."""
        return list(accumulate((self.manifest.shards[index].samples for index in self.indices), initial=0))

    @cached_property
    def _open_shards(self) -> OpenShards:
        return OpenShards(self)

    def __reduce__(self) -> tuple[type, tuple[Path, Manifest]]:
        return type(self), (self.path, self.manifest)

    def shards(self) -> Iterator[Shard]:
        """The finished shards, in the order of the plan, each open until the next is asked for."""
        for index in self.indices:
            with self.open(index) as shard:
                shard.require_form()
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
    """The store in a directory; an unfinished one is said to be. Raises: StoreError."""
    manifest = load_manifest(Path(path))
    if not manifest.complete:
        counts = f"{len(manifest.shards)} of {len(manifest.plan)}"
        logger.warning("%s: unfinished, %s planned shards; `%s` goes on with it", path, counts, manifest.command)
    return Store(Path(path), manifest)
