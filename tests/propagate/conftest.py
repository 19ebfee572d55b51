"""Fixtures for what reads whole stores."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from helpers.stores import write_store

from propagate.data.classes import load_classes
from propagate.data.sample import Sample
from propagate.shards.reader import Store, open_store

MakeStore = Callable[..., Store]


@pytest.fixture
def make_store(tmp_path: Path) -> MakeStore:
    """Stores of the given samples, one shard for each run of samples of one size."""

    def make(samples: Sequence[Sample], dataset: str = "camvid", split: str = "val") -> Store:
        classes = load_classes("cityscapes" if dataset == "cityscapes" else "camvid")
        path = write_store(tmp_path / "store", _runs_of_one_size(samples), classes, dataset=dataset, split=split)
        return open_store(path)

    return make


def _runs_of_one_size(samples: Sequence[Sample]) -> list[list[Sample]]:
    runs: list[list[Sample]] = []
    for sample in samples:
        if not runs or runs[-1][0].size != sample.size:
            runs.append([])
        runs[-1].append(sample)
    return runs
