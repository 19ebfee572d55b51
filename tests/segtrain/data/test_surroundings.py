"""Which neighbours crops come with: drawn from those that a sample has, whatever else is drawn for it."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from propagate.datasets.base import DatasetOptions
from segtrain.data.batches import load_batches
from segtrain.data.dataset import SegmentationDataset
from segtrain.data.labelled_frames import open_labelled_frames
from segtrain.data.sampling import Sampling, build_epoch
from segtrain.data.surroundings import NO_NEIGHBOURS, Surroundings, around
from segtrain.data.transforms import Augmentation


def test_pairs_are_of_every_distance_on_either_side() -> None:
    pairs = around(3, 2)
    assert pairs.offsets == (-1, 1, -2, 2, -3, 3)
    generator = np.random.default_rng(0)
    drawn = Counter(pairs.draw(pairs.offsets, generator) for _ in range(6000))
    assert set(drawn) == {(-3,), (-2,), (-1,), (1,), (2,), (3,)}
    assert all(900 < count < 1100 for count in drawn.values())


def test_triplets_have_both_sides_at_one_distance() -> None:
    triplets = around(2, 3)
    assert triplets.choices == ((-1, 1), (-2, 2))
    assert triplets.offsets == (-1, 1, -2, 2)
    assert triplets.draw((-2, -1, 1), np.random.default_rng(0)) == (-1, 1)


@pytest.mark.parametrize("there", [(), (-3,), (4, 5)])
def test_a_sample_without_a_choice_comes_alone(there: tuple[int, ...]) -> None:
    assert around(2, 2).draw(there, np.random.default_rng(0)) == ()
    assert NO_NEIGHBOURS.draw(there, np.random.default_rng(0)) == ()


def crops(dataset: SegmentationDataset, surroundings: Surroundings) -> list[dict[str, torch.Tensor | None]]:
    epoch = build_epoch(dataset.index(64), Sampling(length=6), seed=3, epoch=1)
    augmentation = Augmentation(crop=(48, 64))
    batches = load_batches(
        dataset, epoch, augmentation, [range(6)], surroundings=surroundings, num_workers=0, pinned=False
    )
    return [batch._asdict() for batch in batches]


def open_street(street: Path, surroundings: Surroundings) -> SegmentationDataset:
    options = DatasetOptions(root=street)
    return open_labelled_frames("cityscapes", options, offsets=surroundings.offsets, all_needed=surroundings.all_needed)


def test_what_is_drawn_of_neighbours_changes_nothing_else(street: Path) -> None:
    surroundings = around(2, 2)
    [alone] = crops(open_street(street, NO_NEIGHBOURS), NO_NEIGHBOURS)
    [paired] = crops(open_street(street, surroundings), surroundings)
    for name in ("image", "label"):
        assert torch.equal(alone[name], paired[name])  # type: ignore[arg-type]
    assert alone["neighbours"] is None
    assert paired["neighbours"] is not None
    assert paired["neighbours"].shape == (6, 1, 3, 48, 64)
    assert paired["shown"] is not None
    assert paired["shown"].any()
    assert paired["flows"] is None


def test_samples_without_neighbours_are_kept_and_say_so(street: Path, caplog: pytest.LogCaptureFixture) -> None:
    surroundings = Surroundings(((-90,), (90,)), all_needed=False)
    dataset = open_street(street, surroundings)
    assert {dataset.offsets_at(number) for number in range(len(dataset.records))} == {()}
    count = len(dataset.records)
    assert f"{count} of {count} samples have no neighbour at -90, +90: the first, '" in caplog.text
    [batch] = crops(dataset, surroundings)
    assert torch.equal(batch["neighbours"][:, 0], batch["image"])  # type: ignore[index,arg-type]
    assert not batch["shown"].any()  # type: ignore[union-attr]


def test_frames_have_identities_that_tell_them_apart(street: Path) -> None:
    dataset = open_street(street, around(1, 2))
    told = [dataset.identities(number) for number in range(len(dataset.records))]
    assert all(set(each) == {-1, 0, 1} for each in told)
    assert len({text for each in told for text in each.values()}) == 3 * len(told)
