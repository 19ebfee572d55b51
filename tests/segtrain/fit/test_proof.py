"""What a training proves of its stores before it begins, and before it goes on."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.stores import write_store

from propagate.data.classes import ClassTable, load_classes
from propagate.data.sample import Sample
from propagate.errors import StoreError
from propagate.shards.manifest import load_manifest
from segtrain.config import FitConfig
from segtrain.data.identity import identity
from segtrain.data.store_samples import open_store_samples
from segtrain.fit.sources import open_sources, prove_stores

MakeSample = Callable[..., Sample]
CAMVID = load_classes("camvid")


@pytest.fixture
def damaged(
    save_store: Callable[[Sequence[Sequence[Sample]], ClassTable], Path],
    store_config: Callable[[Path], FitConfig],
    make_sample: MakeSample,
) -> FitConfig:
    """A training on a store with a damaged label map, which opening does not read."""
    store = save_store([[make_sample(number) for number in range(2)]], CAMVID)
    shard = store / "shard-00000.h5"
    with h5py.File(shard) as file:
        place = file["label"].id.get_chunk_info(1)
    data = bytearray(shard.read_bytes())
    data[place.byte_offset + place.size // 2] ^= 1
    shard.write_bytes(data)
    return store_config(store)


def test_a_small_store_is_proven_before_a_training_begins(damaged: FitConfig) -> None:
    open_sources(damaged)  # sees nothing
    with pytest.raises(StoreError, match=r"shard-00000\.h5: damaged, .*\(1 faults in all; `propagate verify` lists"):
        prove_stores(damaged)


def test_a_large_store_is_proven_where_that_is_asked_for(damaged: FitConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    (store,) = damaged.shards
    num_bytes = sum(entry.bytes for entry in load_manifest(store).entries())
    monkeypatch.setattr("segtrain.fit.sources.ALWAYS_PROVEN_BYTES", num_bytes - 1)
    prove_stores(damaged)
    with pytest.raises(StoreError, match="damaged"):
        prove_stores(replace(damaged, verify=True))


def test_a_training_that_goes_on_proves_stores_only_where_that_is_asked_for(damaged: FitConfig) -> None:
    damaged.out.mkdir()
    (damaged.out / "checkpoint.pt").write_bytes(b"begun")
    prove_stores(damaged)
    with pytest.raises(StoreError, match="damaged"):
        prove_stores(replace(damaged, verify=True))


def test_a_training_is_recorded_with_what_its_samples_hold(tmp_path: Path, make_sample: MakeSample) -> None:
    """One pixel more or less of a class has the same name, place and score."""
    label = np.zeros((70, 90), np.uint8)
    other = label.copy()
    other[0, 0] = 1
    found = []
    for name, changed in (("a", label), ("b", label), ("c", other)):
        store = write_store(tmp_path / name, [[make_sample(0, label=changed)]], CAMVID)
        found.append(identity(open_store_samples(store)))
    assert found[0] == found[1] != found[2]
