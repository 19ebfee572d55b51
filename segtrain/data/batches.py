"""The batches of an epoch: which parts of which samples, read and transformed, by processes beside the training.

A crop follows from the epoch and its position in it alone: never from the number of loader processes or ranks, from
what was read before, or from a restart.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from jobs.training import loader
from propagate.errors import PropagateError
from segtrain.data.dataset import Pixels, SegmentationDataset
from segtrain.data.sampling import ANYWHERE, Epoch
from segtrain.data.transforms import Augmentation, apply_view, draw_view
from segtrain.errors import SegtrainError


class Batch(NamedTuple):
    """image [B,3,H,W] uint8 RGB, 0…255; label [B,H,W] uint8 train ids, 255 where ignored.

    neighbours: [B,T-1,3,H,W] uint8 RGB, in the order of the offsets asked for; None where there are none, T = 1.
    """

    image: Tensor
    label: Tensor
    neighbours: Tensor | None = None

    def to(self, device: torch.device) -> "Batch":
        """The same there; from page-locked memory, without waiting."""
        image, label = (each.to(device, non_blocking=True) for each in (self.image, self.label))
        neighbours = None if self.neighbours is None else self.neighbours.to(device, non_blocking=True)
        return Batch(image, label, neighbours)


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
    return loader.load_batches(
        partial(draw_crop, dataset, epoch, augmentation),
        batches,
        _collate,
        caught=(SegtrainError, PropagateError),
        num_workers=num_workers,
        pinned=pinned,
    )


def _collate(crops: Sequence[Pixels]) -> Batch:
    """Crops of one size as a batch."""
    images = [torch.from_numpy(crop.image).permute(2, 0, 1) for crop in crops]
    labels = [torch.from_numpy(crop.label) for crop in crops]
    neighbours = [torch.from_numpy(np.stack(crop.neighbours)).permute(0, 3, 1, 2) for crop in crops if crop.neighbours]
    around = torch.stack(neighbours).contiguous() if neighbours else None
    return Batch(torch.stack(images).contiguous(), torch.stack(labels), around)
