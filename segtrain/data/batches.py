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
from segtrain.data.dataset import PairMotion, Pixels, SegmentationDataset
from segtrain.data.sampling import ANYWHERE, Epoch
from segtrain.data.surroundings import NO_NEIGHBOURS, Surroundings
from segtrain.data.transforms import Augmentation, apply_view, draw_view
from segtrain.errors import SegtrainError


class Batch(NamedTuple):
    """image [B,3,H,W] uint8 RGB, 0…255; label [B,H,W] uint8 train ids, 255 where ignored.

    neighbours: [B,T-1,3,H,W] uint8 RGB, in the order of the offsets asked for; None where there are none, T = 1. Then
    shown: [B,H,W] bool, the pixels that show an image, not what surrounds it, of samples that have neighbours; the
    neighbours of others are the image itself. flows, seen: [B,T-1,2,H,W] float32 and [B,T-1,H,W] bool, the motion of
    the image to its neighbours, as in `dataset.PairMotion`, where it was known beforehand. weight: [B,H,W] float32, how
    much each pixel's label counts in the loss; None where all are 1.
    """

    image: Tensor
    label: Tensor
    neighbours: Tensor | None = None
    shown: Tensor | None = None
    flows: Tensor | None = None
    seen: Tensor | None = None
    weight: Tensor | None = None

    def to(self, device: torch.device) -> "Batch":
        """The same there; from page-locked memory, without waiting."""
        there = {name: each.to(device, non_blocking=True) for name, each in self._asdict().items() if each is not None}
        return Batch(**there)


def draw_crop(
    dataset: SegmentationDataset,
    epoch: Epoch,
    augmentation: Augmentation,
    surroundings: Surroundings,
    position: int,
) -> Pixels:
    """The crop at a position of an epoch. Raises what the data set raises for a sample that cannot be read."""
    generator = epoch.generator(position)
    sample = int(epoch.sample[position])
    anywhere = epoch.train_id[position] == ANYWHERE
    point = None if anywhere else (int(epoch.x[position]), int(epoch.y[position]))
    view = draw_view(dataset.size(sample), point, augmentation, generator)
    if not surroundings.choices:
        return apply_view(dataset.read(sample, view.window), view, augmentation, generator)
    offsets = surroundings.draw(dataset.offsets_at(sample), epoch.chooser(position))
    pixels = apply_view(dataset.read(sample, view.window, offsets), view, augmentation, generator)
    return pixels if offsets else _alone(pixels, len(surroundings.choices[0]))


def _alone(pixels: Pixels, num_neighbours: int) -> Pixels:
    """A crop of a sample without neighbours, in a form that goes into a batch with others."""
    nowhere = np.zeros(pixels.label.shape, bool)
    still = PairMotion(np.zeros((*nowhere.shape, 2), np.float32), nowhere)
    return pixels._replace(
        neighbours=num_neighbours * (pixels.image,), motions=num_neighbours * (still,), shown=nowhere
    )


def load_batches(
    dataset: SegmentationDataset,
    epoch: Epoch,
    augmentation: Augmentation,
    batches: Sequence[Sequence[int]],
    *,
    surroundings: Surroundings = NO_NEIGHBOURS,
    usual_weight: float = 1.0,
    num_workers: int,
    pinned: bool,
) -> Iterator[Batch]:
    """The batches of these positions of an epoch, in order, read ahead by `num_workers` processes, in this one with 0.

    surroundings: the neighbours that crops come with; without a choice, all that the data set was opened with.
    usual_weight: what the samples' weights are divided by, so that those of a batch are 1 in the mean, whatever batch
    they are drawn into. pinned: copied to page-locked memory, from where a GPU takes them without waiting.
    Raises, in place of the batch, what the data set raises for a sample that cannot be read.
    """
    return loader.load_batches(
        partial(draw_crop, dataset, epoch, augmentation, surroundings),
        batches,
        partial(_collate, usual_weight=usual_weight),
        caught=(SegtrainError, PropagateError),
        num_workers=num_workers,
        pinned=pinned,
    )


def _collate(crops: Sequence[Pixels], usual_weight: float) -> Batch:
    """Crops of one size as a batch."""
    images = [torch.from_numpy(crop.image).permute(2, 0, 1) for crop in crops]
    labels = [torch.from_numpy(crop.label) for crop in crops]
    batch = Batch(torch.stack(images).contiguous(), torch.stack(labels), weight=_weight_of(crops, usual_weight))
    if not crops[0].neighbours:
        return batch
    around = [torch.from_numpy(np.stack(crop.neighbours)).permute(0, 3, 1, 2) for crop in crops]
    everywhere = np.ones(crops[0].label.shape, bool)
    shown = [torch.from_numpy(everywhere if crop.shown is None else crop.shown) for crop in crops]
    batch = batch._replace(neighbours=torch.stack(around).contiguous(), shown=torch.stack(shown))
    if not all(crop.motions for crop in crops):  # of samples without neighbours alone they are always there
        return batch
    flows = [torch.from_numpy(np.stack([each.flow for each in crop.motions])).permute(0, 3, 1, 2) for crop in crops]
    seen = [torch.from_numpy(np.stack([each.is_seen for each in crop.motions])) for crop in crops]
    return batch._replace(flows=torch.stack(flows).contiguous(), seen=torch.stack(seen))


def _weight_of(crops: Sequence[Pixels], usual: float) -> Tensor | None:
    """[B,H,W] float32, over the usual one; None where nothing weighs anything but 1, which is also usual."""
    if usual == 1 and all(crop.weight is None for crop in crops):
        return None
    ones = np.ones(crops[0].label.shape, np.float32)
    return torch.from_numpy(np.stack([ones if crop.weight is None else crop.weight for crop in crops])) / usual
