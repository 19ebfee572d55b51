"""What tells one set of samples from another, for the records of trainings."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from typing import Any

from segtrain.data.dataset import SegmentationDataset


def identity(dataset: SegmentationDataset) -> Mapping[str, Any]:
    """How many samples, of which class table, and a digest of what they are called and their classes."""
    told = [list(asdict(record).values()) for record in dataset.records]
    text = json.dumps([told, dataset.classes.to_json()])
    return {"samples": len(told), "classes": dataset.classes.name, "sha256": sha256(text.encode()).hexdigest()}


def groups(dataset: SegmentationDataset) -> list[str]:
    """The groups that the samples are of, sorted: the cities of Cityscapes, elsewhere sequences."""
    return sorted({record.group for record in dataset.records})
