"""The batches of an epoch: which parts of which samples, read and transformed, by processes beside the training.

A crop follows from the epoch and its position in it alone: never from the number of loader processes or ranks, from
what was read before, or from a restart.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from propagate.errors import PropagateError
from segtrain.data.dataset import Pixels, SegmentationDataset
from segtrain.data.sampling import ANYWHERE, Epoch
from segtrain.data.transforms import Augmentation, apply_view, draw_view
from segtrain.errors import SegtrainError

Failure = SegtrainError | PropagateError  # a sample that cannot be read


class Batch(NamedTuple):
    """image [B,3,H,W] uint8 RGB, 0…255; label [B,H,W] uint8 train ids, 255 where ignored.

    neighbours: [B,T-1,3,H,W] uint8 RGB, in the order of the offsets asked for; None where there are none, T = 1.
    """

    image: Tensor
    label: Tensor
    neighbours: Tensor | None = None


class Crops(TorchDataset[Pixels | Failure]):
    """The crops of an epoch by position, or why there is none: an error that another process raises loses its type."""

    def __init__(self, dataset: SegmentationDataset, epoch: Epoch, augmentation: Augmentation) -> None:
        self._dataset, self._epoch, self._augmentation = dataset, epoch, augmentation

    def __getitem__(self, position: int) -> Pixels | Failure:
        try:
            return draw_crop(self._dataset, self._epoch, self._augmentation, position)
        except (SegtrainError, PropagateError) as error:
            return error


def draw_crop(dataset: SegmentationDataset, epoch: Epoch, augmentation: Augmentation, position: int) -> Pixels:
    """The crop at a position of an epoch. Raises what the data set raises for a sample that cannot be read."""
    generator = epoch.generator(position)
    sample = int(epoch.sample[position])
    anywhere = epoch.train_id[position] == ANYWHERE
    point = None if anywhere else (int(epoch.x[position]), int(epoch.y[position]))
    view = draw_view(dataset.size(sample), point, augmentation, generator)
    return apply_view(dataset.read(sample, view.window), view, augmentation, generator)


def load_batches(
    dataset: SegmentationDataset,
    epoch: Epoch,
    augmentation: Augmentation,
    batches: Sequence[Sequence[int]],
    *,
    num_workers: int,
    pinned: bool,
) -> Iterator[Batch]:
    """The batches of these positions of an epoch, in order, read ahead by `num_workers` processes, in this one with 0.

    pinned: copied to page-locked memory, from where a GPU takes them without waiting.
    Raises, in place of the batch, what the data set raises for a sample that cannot be read.
    """
    loader = DataLoader(
        Crops(dataset, epoch, augmentation),
        batch_sampler=[list(positions) for positions in batches],
        num_workers=num_workers,
        collate_fn=_collate,
        pin_memory=pinned,
        worker_init_fn=_use_one_thread,
        generator=torch.Generator(),  # its own, so that it draws nothing from the global one
    )
    for batch in loader:
        if isinstance(batch, Failure):
            raise batch
        yield batch


def _use_one_thread(_: int) -> None:
    """The processes are what works side by side: threads of OpenCV in each would only get in each other's way."""
    cv2.setNumThreads(0)


def _collate(crops: Sequence[Pixels | Failure]) -> Batch | Failure:
    """Crops of one size as a batch; the first error instead, if there is any."""
    images, labels, neighbours = [], [], []
    for crop in crops:
        if isinstance(crop, Failure):
            return crop
        images.append(torch.from_numpy(crop.image).permute(2, 0, 1))
        labels.append(torch.from_numpy(crop.label))
        if crop.neighbours:
            neighbours.append(torch.from_numpy(np.stack(crop.neighbours)).permute(0, 3, 1, 2))
    around = torch.stack(neighbours).contiguous() if neighbours else None
    return Batch(torch.stack(images).contiguous(), torch.stack(labels), around)
