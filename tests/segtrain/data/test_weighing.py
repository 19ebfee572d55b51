"""What the labels of a stored sample count: by confidence and by offset where they were carried, otherwise 1."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.carried_samples import CLASSES, PLANTED, SIZE, SURE, UNSURE, carried_shards
from helpers.stores import write_store

from propagate.data.sample import CONFIDENCE_LEVELS
from segtrain.data.batches import load_batches
from segtrain.data.dataset import SegmentationDataset, Window
from segtrain.data.sampling import Sampling, build_epoch
from segtrain.data.store_samples import open_store_samples
from segtrain.data.transforms import Augmentation
from segtrain.data.weighing import NO_WEIGHING, Weighing

MOST = CONFIDENCE_LEVELS - 1


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("carried") / "store", carried_shards(), CLASSES)


def weights_by_key(dataset: SegmentationDataset) -> Mapping[str, Any]:
    return {record.key: dataset.read(number).weight for number, record in enumerate(dataset.records)}


def test_by_confidence_carried_samples_count_what_their_levels_say(store: Path) -> None:
    found = weights_by_key(open_store_samples(store, weighing=Weighing(by_confidence=True)))
    assert {key for key, weight in found.items() if weight is None} == {"a+0", "b+3", "c+0"}
    carried = found["a+2"]
    assert carried.shape == SIZE
    assert carried.dtype == np.float32
    assert (carried[PLANTED] == np.float32(UNSURE / MOST)).all()
    assert carried[6, 12] == np.float32(SURE / MOST)


def test_by_offset_propagated_samples_count_what_their_distance_says_and_the_farthest_as_the_last(store: Path) -> None:
    found = weights_by_key(open_store_samples(store, weighing=Weighing(by_offset=(1, 0.5))))
    assert {key for key, weight in found.items() if weight is None} == {"a+0", "a+1", "a-1", "b+3", "c+0", "c+1"}
    for key in ("a+2", "b-2", "a+3"):
        assert (found[key] == 0.5).all()


def test_both_are_multiplied_and_windows_have_their_part(store: Path) -> None:
    dataset = open_store_samples(store, weighing=Weighing(by_confidence=True, by_offset=(0.5,)), min_confidence=0.5)
    number = next(number for number, record in enumerate(dataset.records) if record.key == "b-2")
    whole, window = dataset.read(number), Window(1, 2, 6, 9)
    assert whole.weight is not None
    assert (whole.weight[PLANTED] == np.float32(0.5 * UNSURE / MOST)).all()
    np.testing.assert_array_equal(dataset.read(number, window).weight, whole.weight[window.slices])
    above = open_store_samples(store, weighing=Weighing(by_confidence=True), min_confidence=0.6).read(number)
    assert (above.label[PLANTED] == 255).all()  # beside the threshold
    assert (whole.label[PLANTED] == 1).all()


def test_without_weighing_there_are_no_weights(store: Path) -> None:
    assert all(weight is None for weight in weights_by_key(open_store_samples(store)).values())
    assert Weighing() == NO_WEIGHING


def test_a_batch_has_weights_where_one_of_its_crops_has(store: Path) -> None:
    dataset = open_store_samples(store, weighing=Weighing(by_offset=(0.5,)))
    epoch = build_epoch(dataset.index(16), Sampling(class_uniform=0), seed=0, epoch=0)
    origins = [dataset.records[sample].origin for sample in epoch.sample]
    augmentation = Augmentation(crop=(8, 8), scale=(1, 1))
    annotated = [n for n, origin in enumerate(origins) if origin == "annotated"]
    carried = origins.index("propagated")
    alone, mixed = load_batches(
        dataset, epoch, augmentation, [annotated, [annotated[0], carried]], num_workers=0, pinned=False
    )
    assert alone.weight is None
    assert mixed.weight is not None
    assert mixed.weight.shape == mixed.label.shape
    assert torch.equal(mixed.weight.mean((1, 2)), torch.tensor([1.0, 0.5]))


def test_weights_of_a_batch_are_over_the_usual_one_whatever_else_is_in_it(store: Path) -> None:
    dataset = open_store_samples(store, weighing=Weighing(by_offset=(0.5,)))
    epoch = build_epoch(dataset.index(16), Sampling(class_uniform=0), seed=0, epoch=0)
    origins = [dataset.records[sample].origin for sample in epoch.sample]
    parts = [[origins.index(origin)] for origin in ("annotated", "propagated")]
    augmentation = Augmentation(crop=(8, 8), scale=(1, 1))
    batches = load_batches(dataset, epoch, augmentation, parts, usual_weight=0.8, num_workers=0, pinned=False)
    for batch, weight in zip(batches, (1.25, 0.625), strict=True):
        assert batch.weight is not None
        torch.testing.assert_close(batch.weight, torch.full_like(batch.weight, weight))


def test_the_usual_weight_is_that_of_the_samples_drawn(store: Path) -> None:
    records = {record.key: record for record in open_store_samples(store).records}
    drawn = [records[key] for key in ("a+0", "a+1", "a+1", "b+3")]
    assert Weighing().usual(drawn) == 1
    assert Weighing(by_offset=(0.5,)).usual(drawn) == (1 + 0.5 + 0.5 + 1) / 4
    sure = records["a+1"].score
    found = Weighing(by_offset=(0.5,), by_confidence=True).usual(drawn)
    assert found == pytest.approx((2 + sure) / 4)
