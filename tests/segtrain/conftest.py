"""Fixtures for what trains and is trained."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from propagate.classes import ClassTable
from propagate.sample import Sample
from propagate.shards.manifest import Manifest, ShardEntry, save_manifest
from propagate.shards.writer import ShardWriter

SaveStore = Callable[[Sequence[Sequence[Sample]], ClassTable], Path]


@pytest.fixture(scope="session", autouse=True)
def user_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests keep nothing in the cache of the user that runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def save_store(tmp_path: Path) -> SaveStore:
    """Stores of samples, a shard for each list of them; the folder of the store."""

    def save(shards: Sequence[Sequence[Sample]], classes: ClassTable) -> Path:
        path = tmp_path / "store"
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

    return save
