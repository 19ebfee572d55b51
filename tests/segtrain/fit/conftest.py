"""Small trainings."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from segtrain.config import FitConfig

TINY: dict[str, Any] = {
    "network": "mobilenetv2",
    "output_stride": 16,
    "class_uniform_tile": 64,
    "crop": (64, 64),
    "batch_size": 2,
    "epochs": 2,
    "epoch_length": 6,
    "learning_rate": 0.01,
    "loader_workers": 0,
    "device": "cpu",
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads of so small a network wait more than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def config(roads: Path, tmp_path: Path) -> FitConfig:
    """A training of two epochs of three steps."""
    return FitConfig(root=roads, out=tmp_path / "run", **TINY)


@pytest.fixture
def store_config(tmp_path: Path) -> Callable[[Path], FitConfig]:
    """A training on a store, without validation."""
    return lambda store: FitConfig(shards=(store,), out=tmp_path / "run", **TINY)
