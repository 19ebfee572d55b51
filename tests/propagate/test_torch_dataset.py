"""A store as a map-style data set, and as one of PyTorch's."""

import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from propagate.data.images import decode_frame
from propagate.data.sample import Sample
from propagate.shards.reader import Store, open_store
from propagate.torch_dataset import StoreDataset

MakeStore = Callable[..., Store]
MakeSample = Callable[..., Sample]


@pytest.fixture
def store(make_store: MakeStore, make_sample: MakeSample) -> Store:
    return make_store([make_sample(number, offset=number) for number in range(5)])


def test_any_sample_by_its_number(store: Store) -> None:
    assert len(store) == 5
    expected = list(store.samples())
    for number in (3, 0, 4, -1, -5):
        np.testing.assert_array_equal(store[number].label, expected[number].label)
        assert store[number].offset == expected[number].offset
    assert store.sample(2, images=False).image == b""
    for number in (5, -6):
        with pytest.raises(IndexError, match=f"has 5 samples, no number {number}"):
            store[number]
    assert [sample.offset for sample in store] == [sample.offset for sample in expected]  # type: ignore[attr-defined]
    again = pickle.loads(pickle.dumps(store))
    assert again == store
    assert again[1].offset == expected[1].offset


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_loader_gives_what_is_stored(store: Store, num_workers: int) -> None:
    dataset = StoreDataset(store.path, min_confidence=0.5)
    dataset[0]  # a shard is open when the processes start
    images, train_ids, confidence = (
        torch.cat(parts) for parts in zip(*DataLoader(dataset, batch_size=2, num_workers=num_workers), strict=True)
    )
    assert (len(dataset), images.dtype, train_ids.dtype, confidence.dtype) == (
        5,
        torch.uint8,
        torch.int64,
        torch.float32,
    )
    for number, sample in enumerate(store.samples()):
        expected = dataset.classes.train_id_of[sample.label].astype(int)
        expected[sample.confidence < 7.5] = 255
        np.testing.assert_array_equal(train_ids[number], expected)
        np.testing.assert_allclose(confidence[number], sample.confidence / 15, atol=1e-6)
        frame = decode_frame(bytes(sample.image), sample.key)
        np.testing.assert_array_equal(images[number], frame.transpose(2, 0, 1))


def test_a_store_that_is_open_may_be_given(store: Store) -> None:
    assert len(StoreDataset(store)) == len(StoreDataset(open_store(store.path))) == 5
