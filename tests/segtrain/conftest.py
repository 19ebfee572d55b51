"""Fixtures for what trains and is trained."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch
from helpers.stores import write_store

from propagate.data.classes import ClassTable, load_classes
from propagate.data.sample import Sample
from segtrain.checkpoints import save_network
from segtrain.models.registry import build_network

SaveStore = Callable[[Sequence[Sequence[Sample]], ClassTable], Path]


@pytest.fixture(scope="session", autouse=True)
def user_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests keep nothing in the cache of the user that runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that has learnt nothing, of the Cityscapes classes."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "network.safetensors"
    save_network(path, build_network("mobilenetv2"), classes=load_classes("cityscapes"), about={})
    return path


@pytest.fixture(scope="module")
def roads(street: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic streets: two snippets to train on, one to validate on; three annotated frames."""
    root = tmp_path_factory.mktemp("roads")
    for kind in ("gtFine", "leftImg8bit_sequence"):
        for path in (street / kind).rglob("*.png"):
            split = "val" if "_000002_" in path.name else "train"
            link = root / kind / split / path.parent.name / path.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
    return root


@pytest.fixture
def save_store(tmp_path: Path) -> SaveStore:
    """A store of samples, a shard for each list of them; its folder."""

    return lambda shards, classes: write_store(tmp_path / "store", shards, classes)
