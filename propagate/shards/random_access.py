"""Any sample of a store, by its number or by what identifies it."""

import os
from bisect import bisect_right
from collections import OrderedDict
from itertools import accumulate

from propagate.data.sample import Sample
from propagate.shards.reader import SampleRecord, Shard, Store

# source_key, offset and pairing: what identifies a sample in its store.
Identity = tuple[str, int, str]

NUM_OPEN = 8  # shards a process keeps open


def identity_of(record: SampleRecord | Sample) -> Identity:
    return record.source_key, record.offset, record.pairing


class OpenShards:
    """The shards that were read last, open; those of another process are left to it.

    After a fork, parent and child would share one position in a file and one state of HDF5: a child opens its own.
    """

    def __init__(self, store: Store, limit: int = NUM_OPEN) -> None:
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

    def __reduce__(self) -> tuple[type, tuple[Store, int]]:
        return type(self), (self._store, self._limit)


class SampleReader:
    """The samples of a store by their number, in the order of `Store.samples`."""

    def __init__(self, store: Store) -> None:
        self._indices = store.indices
        self._starts = list(accumulate((store.manifest.shards[index].samples for index in self._indices), initial=0))
        self._shards = OpenShards(store)

    def read(self, number: int, *, images: bool = True) -> Sample:
        """Without images its image is b"". Raises: StoreError."""
        shard = bisect_right(self._starts, number) - 1
        return self._shards.get(self._indices[shard]).sample(number - self._starts[shard], images=images)


def numbers_by_identity(store: Store) -> dict[Identity, int]:
    """The number of each sample, by what identifies it. Raises: StoreError."""
    return {identity_of(record): number for number, record in enumerate(store.records())}
