"""The samples of a shard store, for training: of a raw shard, no more is read than the chunks of the window."""

import os
from bisect import bisect_right
from collections import OrderedDict
from itertools import accumulate
from pathlib import Path

import numpy as np

from propagate.classes import IGNORE_TRAIN_ID, ClassTable
from propagate.errors import InputError, StoreError
from propagate.images import decode_frame
from propagate.sample import CONFIDENCE_LEVELS
from propagate.shards.manifest import ShardEntry
from propagate.shards.reader import SampleRecord, Shard, Store, open_store
from segtrain.data.dataset import Pixels, SegmentationDataset, Window, inside
from segtrain.data.index import ClassIndex, index_store
from segtrain.errors import DataError

NUM_OPEN = 8  # shards a process keeps open
_ADVICE = "`propagate verify` says more"


def open_store_samples(
    path: str | Path, *, split: str | None = None, min_confidence: float = 0.0, classes: ClassTable | None = None
) -> SegmentationDataset:
    """The samples of a shard store, in the order of the plan.

    split: the split that the store must be of. min_confidence: pixels below it, in [0,1], become 255; the index knows
    them nevertheless, since the statistics in a store count every pixel. classes: another table than the store's own,
    for another choice of trained classes.

    Raises: StoreError where the store or a shard is missing or damaged; DataError for another split, a store without
    samples, and label ids that the class table doesn't have; ValueError for a confidence outside [0,1].
    """
    if not 0 <= min_confidence <= 1:
        raise ValueError(f"min_confidence must be within 0…1, found {min_confidence}")
    store = open_store(Path(path).absolute())  # a worker may have another working directory
    if split is not None and split != store.manifest.split:
        raise DataError(
            f"{path}: a store of split '{store.manifest.split}', expected '{split}'; name the store of that split, or "
            f"make it with `propagate run --split {split}`"
        )
    return _StoreSamples(store, min_confidence, classes or store.manifest.classes)


class _StoreSamples:
    def __init__(self, store: Store, min_confidence: float, classes: ClassTable) -> None:
        self.classes = classes
        self._store = store
        self._entries = [entry for entry in store.manifest.entries() if entry.name is not None]
        if not self._entries:
            raise DataError(f"{store.path}: a store without any sample; `propagate info` says why")
        # The label ids are checked here, by the counts in the manifest: reading a sample need not look again.
        known = {c.id for c in classes.classes}
        records: list[SampleRecord] = []
        for shard, entry in zip(store.shards(), self._entries, strict=True):
            _require_samples(shard, entry)
            if set(entry.labels) - known:
                raise _unknown_ids(shard, known, classes)
            records += shard.records
        self.records = tuple(records)
        self._starts = list(accumulate((entry.samples for entry in self._entries[:-1]), initial=0))
        self._too_unsure = np.arange(CONFIDENCE_LEVELS) / (CONFIDENCE_LEVELS - 1) < min_confidence
        self._shards = _OpenShards(NUM_OPEN)

    def size(self, number: int) -> tuple[int, int]:
        entry, _ = self._locate(number)
        return entry.size

    def read(self, number: int, window: Window | None = None) -> Pixels:
        entry, row = self._locate(number)
        rows, columns = inside(window, entry.size).slices
        shard = self._shards.get(self._store.path / str(entry.name))
        try:
            label = self.classes.train_id_of[shard.array("label")[row, rows, columns]]
            if self._too_unsure.any():
                label[self._too_unsure[shard.array("confidence")[row, rows, columns]]] = IGNORE_TRAIN_ID
            if shard.images == "raw":
                return Pixels(shard.array("image/pixels")[row, rows, columns], label)
            encoded = bytes(shard.image(row))
        except OSError as error:
            raise StoreError(f"{shard.path}: {self._name(number)} cannot be read ({error}); {_ADVICE}") from None
        return Pixels(self._decoded(encoded, number, shard, entry.size)[rows, columns], label)

    def index(self, tile: int) -> ClassIndex:
        return index_store(self._store, tile, classes=self.classes)

    def _locate(self, number: int) -> tuple[ShardEntry, int]:
        """The shard that holds a sample, and the sample's row in it."""
        place = bisect_right(self._starts, number) - 1
        return self._entries[place], number - self._starts[place]

    def _name(self, number: int) -> str:
        record = self.records[number]
        return f"sample '{record.key}' (from '{record.source_key}', {record.pairing})"

    def _decoded(self, encoded: bytes, number: int, shard: Shard, size: tuple[int, int]) -> np.ndarray:
        try:
            image = decode_frame(encoded, self._name(number))
        except InputError as error:
            raise StoreError(f"{shard.path}: {error}; {_ADVICE}") from None
        if image.shape[:2] != size:
            raise StoreError(
                f"{shard.path}: {self._name(number)} has an image of {image.shape[0]}x{image.shape[1]}, expected "
                f"{size[0]}x{size[1]} as its shard; {_ADVICE}"
            )
        return image


class _OpenShards:
    """The shards that were read last, open; those of another process are left to it.

    After a fork, parent and child would share one position in a file and one state of HDF5: a child opens its own.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._process = os.getpid()
        self._open: OrderedDict[Path, Shard] = OrderedDict()

    def get(self, path: Path) -> Shard:
        """The shard, open. Raises StoreError where it can't be opened."""
        if self._process != os.getpid():
            self._process, self._open = os.getpid(), OrderedDict()
        if path not in self._open:
            self._open[path] = Shard(path)
            if len(self._open) > self._limit:
                _, oldest = self._open.popitem(last=False)
                oldest.close()
        self._open.move_to_end(path)
        return self._open[path]

    def __reduce__(self) -> tuple[type, tuple[int]]:
        return type(self), (self._limit,)


def _require_samples(shard: Shard, entry: ShardEntry) -> None:
    """Raise StoreError where a shard isn't the one that the manifest tells of."""
    if len(shard) != entry.samples:
        raise StoreError(f"{shard.path}: holds {len(shard)} samples, the manifest says {entry.samples}; {_ADVICE}")


def _unknown_ids(shard: Shard, known: set[int], classes: ClassTable) -> DataError:
    """The error of the first sample of a shard whose label ids the class table doesn't have."""
    of_sample = np.repeat(np.arange(len(shard)), shard.array("cells/size")[:])
    label_id = shard.array("cells/label_id")[:]
    unknown = ~np.isin(label_id, list(known))
    first = of_sample[unknown].min()
    ids = np.unique(label_id[unknown & (of_sample == first)]).tolist()
    return DataError(
        f"{shard.path}: sample '{shard.records[first].key}' has label ids {ids}, which are not in the class table "
        f"'{classes.name}'; give the table of these labels"
    )
