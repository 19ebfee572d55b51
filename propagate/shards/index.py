"""Which samples a store holds, without their pixels."""

from collections.abc import Iterator
from dataclasses import dataclass

from propagate.errors import StoreError
from propagate.shards.reader import Shard, Store


@dataclass(frozen=True, kw_only=True)
class SampleRecord:
    """What identifies a sample, and its mean confidence in [0,1]; fields as in `Sample`."""

    key: str
    source_key: str
    group: str
    offset: int
    pairing: str
    score: float


def sample_records(store: Store) -> Iterator[SampleRecord]:
    """A record for each sample, in the order of `Store.samples`. Raises StoreError."""
    for shard in store.shards():
        yield from shard_records(shard)


def shard_records(shard: Shard) -> Iterator[SampleRecord]:
    """A record for each sample of one shard, in its order. Raises StoreError."""
    names = ("key", "source_key", "group", "offset", "pairing", "score")
    try:
        columns = [shard.array(name)[:].tolist() for name in names]
    except OSError as error:
        raise StoreError(f"{shard.path}: cannot be read ({error}); `propagate verify` says more") from None
    for key, source_key, group, offset, pairing, score in zip(*columns, strict=True):
        yield SampleRecord(
            key=key.decode(),
            source_key=source_key.decode(),
            group=group.decode(),
            offset=offset,
            pairing=pairing.decode(),
            score=score,
        )
