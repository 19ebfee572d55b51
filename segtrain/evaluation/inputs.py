"""What tells the images that are scored, and their truth, from others of the same names."""

import json
from collections.abc import Mapping
from hashlib import sha256

from propagate.data.clip import Label, Resource
from segtrain.data.dataset import SegmentationDataset


def inputs_by_key(
    samples: SegmentationDataset, labels: Mapping[str, Label], instance_maps: Mapping[str, Resource] | None
) -> dict[str, str]:
    """For each sample, by its key, a digest of what its frame, its label map and its map of instances are.

    Nothing is read: a file is known by its name, its size and, in an archive, its CRC-32, but not by its root. labels:
    of every sample, by key. instance_maps: as `find_instance_maps` gives them.
    """
    inputs = {}
    for number, record in enumerate(samples.records):
        label = labels[record.key]
        told = [samples.identities(number)[0], *label.resource.identity, label.holds]
        if instance_maps is not None:
            told += instance_maps[record.key].identity
        inputs[record.key] = sha256(json.dumps(told).encode()).hexdigest()
    return inputs
