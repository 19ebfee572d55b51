"""Fixtures for what trains and is trained."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from helpers.stores import write_store

from propagate.data.classes import ClassTable
from propagate.data.sample import Sample

SaveStore = Callable[[Sequence[Sequence[Sample]], ClassTable], Path]


@pytest.fixture(scope="session", autouse=True)
def user_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests keep nothing in the cache of the user that runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def save_store(tmp_path: Path) -> SaveStore:
    """A store of samples, a shard for each list of them; its folder."""

    return lambda shards, classes: write_store(tmp_path / "store", shards, classes)
