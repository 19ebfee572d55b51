"""Stores of samples, written without a run, and damage to them."""

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import h5py
import numpy as np

from propagate.data.classes import ClassTable
from propagate.data.sample import Sample
from propagate.shards.manifest import Manifest, PlannedClip, ShardEntry, ShardPlan, save_manifest
from propagate.shards.writer import ShardWriter


def write_store(
    path: Path,
    shards: Sequence[Sequence[Sample]],
    classes: ClassTable,
    *,
    dataset: str = "camvid",
    split: str = "train",
) -> Path:
    """A shard for each list of samples, in a new folder, which is returned."""
    path.mkdir()
    plan = tuple(
        ShardPlan(
            index=index,
            size=samples[0].size,
            clips=tuple(
                PlannedClip(key=key, inputs="", before=0, after=0) for key in sorted({s.source_key for s in samples})
            ),
        )
        for index, samples in enumerate(shards)
    )
    about = {"dataset": dataset, "split": split, "settings": {}, "versions": {}}
    manifest = Manifest(**about, classes=classes, plan=plan)
    for each, samples in zip(plan, shards, strict=True):
        images = "raw" if isinstance(samples[0].image, np.ndarray) else "encoded"
        with ShardWriter(path / each.name, samples[0].size, images, manifest.place(each.index)) as writer:
            for sample in samples:
                writer.add(sample)
            manifest.shards[each.index] = ShardEntry(name=each.name, **asdict(writer.finish()), failures=())
    save_manifest(path, manifest)
    return path


def damage_chunk(path: Path, name: str, *, column: int) -> None:
    """Change a byte in the middle of the first chunk of an array that begins at row 0 and this column."""
    with h5py.File(path) as file:
        chunk = next(
            chunk
            for chunk in (file[name].id.get_chunk_info(n) for n in range(file[name].id.get_num_chunks()))
            if chunk.chunk_offset[:3] == (0, 0, column)
        )
    with path.open("r+b") as file:
        file.seek(chunk.byte_offset + chunk.size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 0xFF]))
