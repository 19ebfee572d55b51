"""Batches of an epoch: the same from any number of processes, in order, with errors as they are."""

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from jobs.errors import FitError
from propagate.data.classes import ClassTable, load_classes
from propagate.datasets.base import DatasetOptions
from propagate.errors import InputError
from propagate.shards.reader import SampleRecord
from segtrain.data.batches import Batch, load_batches
from segtrain.data.dataset import Pixels, SegmentationDataset, Window
from segtrain.data.index import ClassIndex
from segtrain.data.labelled_frames import open_labelled_frames
from segtrain.data.sampling import ANYWHERE, Epoch, Sampling, build_epoch
from segtrain.data.transforms import Augmentation
from segtrain.errors import DataError, SegtrainError

AUGMENTATION = Augmentation(crop=(48, 64), rotation=5)


@pytest.fixture(scope="module")
def frames(street: Path) -> SegmentationDataset:
    return open_labelled_frames("cityscapes", DatasetOptions(root=street))


@pytest.fixture(scope="module")
def epoch(frames: SegmentationDataset) -> Epoch:
    return build_epoch(frames.index(64), Sampling(class_uniform=0.7, length=30), seed=3, epoch=2)


class Numbered:
    """Samples in memory, whose pixels say their number; some cannot be read, and some break the program."""

    def __init__(self, *, unreadable: Sequence[int] = (), broken: Sequence[int] = ()) -> None:
        self.unreadable, self.broken = unreadable, broken

    @property
    def classes(self) -> ClassTable:
        return load_classes("cityscapes")

    @property
    def records(self) -> Sequence[SampleRecord]:
        raise NotImplementedError

    def size(self, number: int) -> tuple[int, int]:
        return (20 + number, 30)

    def read(self, number: int, window: Window | None = None) -> Pixels:
        if number in self.unreadable:
            raise InputError(f"sample {number}", "cannot be read")
        if number in self.broken:
            raise DataError(f"sample {number} is broken, {cv2.getNumThreads()} threads")
        assert window is not None
        label = np.full(window[2:], number, np.uint8)
        return Pixels(np.stack((label, label + 100, label + 200), -1), label)

    def index(self, tile: int) -> ClassIndex:
        raise NotImplementedError


def in_order(num_items: int) -> Epoch:
    """Samples 0, 1, 2, … cropped anywhere."""
    anywhere = np.full(num_items, ANYWHERE)
    return Epoch(1, 0, np.arange(num_items), anywhere, anywhere, anywhere, num_items, ())


def plain_batches(dataset: Numbered, batches: Sequence[Sequence[int]], num_workers: int) -> Iterator[Batch]:
    augmentation = Augmentation(crop=(4, 6), colour=0, blur=False)
    return load_batches(dataset, in_order(20), augmentation, batches, num_workers=num_workers, pinned=False)


def test_processes_and_ranks_change_nothing(frames: SegmentationDataset, epoch: Epoch) -> None:
    def load(batches: Sequence[Sequence[int]], num_workers: int) -> list[Batch]:
        return list(load_batches(frames, epoch, AUGMENTATION, batches, num_workers=num_workers, pinned=False))

    alone = load([range(0, 14), range(14, 28), [28, 29]], 0)
    beside = load([range(0, 14), range(14, 28), [28, 29]], 2)
    assert [len(batch.label) for batch in alone] == [14, 14, 2]
    for one, other in zip(alone, beside, strict=True):
        assert torch.equal(one.image, other.image)
        assert torch.equal(one.label, other.label)
    images = torch.cat([batch.image for batch in alone])
    for rank in range(2):
        (share,) = load([range(rank, len(epoch), 2)], 0)
        assert torch.equal(share.image, images[rank::2])
    (later,) = load([[28, 29]], 0)  # as after a restart
    assert torch.equal(later.image, alone[-1].image)


def test_batches_are_bytes_in_rows_of_channels(frames: SegmentationDataset, epoch: Epoch) -> None:
    (batch,) = load_batches(frames, epoch, AUGMENTATION, [[0, 1, 2]], num_workers=0, pinned=False)
    assert batch.image.shape == (3, 3, 48, 64)
    assert batch.label.shape == (3, 48, 64)
    assert batch.image.dtype == batch.label.dtype == torch.uint8
    assert batch.image.is_contiguous()
    assert len(torch.unique(batch.image)) > 100
    assert set(batch.label.unique().tolist()) <= {*range(19), 255}


def test_crops_around_centroids_hold_them(frames: SegmentationDataset, epoch: Epoch) -> None:
    """However small they are."""
    augmentation = Augmentation(crop=(3, 3), scale=(1, 1), colour=0, blur=False)
    positions = np.flatnonzero(epoch.train_id != ANYWHERE)
    assert len(positions) >= 15
    batches = [[int(position)] for position in positions]
    loaded = load_batches(frames, epoch, augmentation, batches, num_workers=0, pinned=False)
    for position, batch in zip(positions, loaded, strict=True):
        label = frames.read(int(epoch.sample[position])).label
        assert label[epoch.y[position], epoch.x[position]] in batch.label


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_come_in_the_order_given(num_workers: int) -> None:
    given = [[5, 1], [2], [7, 0, 3], [4], [6]]
    batches = list(plain_batches(Numbered(), given, num_workers))
    assert [batch.label[:, 0, 0].tolist() for batch in batches] == given
    assert batches[0].image[:, :, 0, 0].tolist() == [[5, 105, 205], [1, 101, 201]]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_error_is_raised_as_it_is_in_place_of_its_batch(num_workers: int) -> None:
    batches = plain_batches(Numbered(unreadable=[5, 9], broken=[2]), [[0], [1], [4, 5, 2], [9]], num_workers)
    assert [int(next(batches).label[0, 0, 0]) for _ in range(2)] == [0, 1]
    with pytest.raises(InputError, match="sample 5: cannot be read") as raised:
        next(batches)
    assert raised.value.path == "sample 5"


def test_loader_processes_use_one_thread_of_opencv() -> None:
    with pytest.raises(SegtrainError, match=r"sample 0 is broken, [01] threads"):
        next(plain_batches(Numbered(broken=[0]), [[0]], 1))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_the_global_generators_are_left_alone(num_workers: int) -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    assert len(list(plain_batches(Numbered(), [[0], [1]], num_workers))) == 2
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


class Killed(Numbered):
    """Its reader is killed, as by a system whose memory runs out."""

    def read(self, number: int, window: Window | None = None) -> Pixels:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError(number, window)


def test_a_reader_that_is_killed_is_one_sentence() -> None:
    with pytest.raises(
        FitError, match=r"a process that reads samples ended \(DataLoader worker .*fewer --loader-workers"
    ):
        next(plain_batches(Killed(), [[0]], 1))
