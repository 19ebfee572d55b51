"""What identifies a sample in its store."""

from propagate.data.sample import Sample
from propagate.shards.reader import SampleRecord, Store

# source_key, offset and pairing.
Identity = tuple[str, int, str]


def identity_of(record: SampleRecord | Sample) -> Identity:
    return record.source_key, record.offset, record.pairing


def numbers_by_identity(store: Store) -> dict[Identity, int]:
    """The number of each sample, by what identifies it. Raises: StoreError."""
    return {identity_of(record): number for number, record in enumerate(store.records())}
