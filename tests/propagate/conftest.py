"""Fixtures for what reads whole stores."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from propagate.data.classes import load_classes
from propagate.data.sample import Sample
from propagate.shards.manifest import Manifest, ShardEntry
from propagate.shards.reader import Store
from propagate.shards.writer import ShardWriter

MakeStore = Callable[..., Store]


@pytest.fixture
def make_store(tmp_path: Path) -> MakeStore:
    """Stores of the given samples, one shard for each run of samples of one size."""

    def make(samples: Sequence[Sample], dataset: str = "camvid", split: str = "val") -> Store:
        path = tmp_path / "store"
        path.mkdir()
        shards: dict[int, ShardEntry] = {}
        for index, run in enumerate(_runs_of_one_size(samples)):
            name = f"shard-{index:05d}.h5"
            images = "raw" if isinstance(run[0].image, np.ndarray) else "encoded"
            with ShardWriter(path / name, run[0].size, images) as writer:
                for sample in run:
                    writer.add(sample)
                shards[index] = ShardEntry(name=name, **asdict(writer.finish()), failures=())
        classes = load_classes("cityscapes" if dataset == "cityscapes" else "camvid")
        manifest = Manifest(
            dataset=dataset, split=split, settings={}, versions={}, classes=classes, plan=(), shards=shards
        )
        return Store(path, manifest)

    return make


def _runs_of_one_size(samples: Sequence[Sample]) -> list[list[Sample]]:
    runs: list[list[Sample]] = []
    for sample in samples:
        if not runs or runs[-1][0].size != sample.size:
            runs.append([])
        runs[-1].append(sample)
    return runs
