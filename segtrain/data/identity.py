"""What tells one set of samples from another, for the records of trainings."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from propagate.shards.reader import SampleRecord
from segtrain.data.dataset import SegmentationDataset


def identity(dataset: SegmentationDataset) -> Mapping[str, Any]:
    """How many samples, of which class table, and a digest of what they are called, of their classes, and of what
    they hold, where that is recorded with them.
    """
    told = [_told(record) for record in dataset.records]
    text = json.dumps([told, dataset.classes.to_json()])
    return {"samples": len(told), "classes": dataset.classes.name, "sha256": sha256(text.encode()).hexdigest()}


def _told(record: SampleRecord) -> list[Any]:
    """As trainings on samples without digests recorded them before there were any."""
    told = [record.key, record.source_key, record.group, record.offset, record.pairing, record.score]
    return [*told, record.digest] if record.digest else told


def groups(dataset: SegmentationDataset) -> list[str]:
    """The groups that the samples are of, sorted: the cities of Cityscapes, elsewhere sequences."""
    return sorted({record.group for record in dataset.records})
