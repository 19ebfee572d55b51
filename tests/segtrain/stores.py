"""Stores of samples, written without a run."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from propagate.classes import ClassTable
from propagate.sample import Sample
from propagate.shards.manifest import Manifest, ShardEntry, save_manifest
from propagate.shards.writer import ShardWriter


def write_store(path: Path, shards: Sequence[Sequence[Sample]], classes: ClassTable) -> Path:
    """A shard for each list of samples, in a new folder, which is returned."""
    path.mkdir()
    entries: dict[int, ShardEntry] = {}
    for index, samples in enumerate(shards):
        name = f"shard-{index:05d}.h5"
        images = "raw" if isinstance(samples[0].image, np.ndarray) else "encoded"
        with ShardWriter(path / name, samples[0].size, images) as writer:
            for sample in samples:
                writer.add(sample)
            entries[index] = ShardEntry(name=name, **asdict(writer.finish()), failures=())
    about = {"dataset": "camvid", "split": "train", "settings": {}, "versions": {}}
    save_manifest(path, Manifest(**about, classes=classes, plan=(), shards=entries))
    return path
