"""How much classes weigh, by how often they occur in an image, and how much its pixels do."""

from dataclasses import dataclass

import torch
from torch import Tensor

from segtrain.losses.class_sets import RelaxedTarget, per_set


@dataclass(frozen=True, kw_only=True)
class ClassWeighting:
    """Classes that are rare in an image weigh more: 1 + upper_bound · (1 − share), 1 for those that are absent.

    inverse: 1 + upper_bound / share instead. over_batch: the shares are those of the whole batch.
    Raises: ValueError for a negative upper bound. Reference: Zhu et al., CVPR 2019, its published code.
    """

    upper_bound: float = 1.0
    inverse: bool = False
    over_batch: bool = False

    def __post_init__(self) -> None:
        if self.upper_bound < 0:
            raise ValueError(f"upper_bound must be 0 or more, found {self.upper_bound}")

    def weights(self, pixels: Tensor) -> Tensor:
        """How often classes occur in each image, [B,K] -> their weights [B,K] float32; K may include ignored."""
        counts = pixels.sum(dim=0, keepdim=True).expand_as(pixels) if self.over_batch else pixels
        share = counts.double() / counts.sum(dim=1, keepdim=True).clamp(min=1)
        gain = 1 / share.where(share > 0, 1) if self.inverse else 1 - share
        return (1 + (share > 0) * self.upper_bound * gain).float()


def mean_pixel_weight(weights: Tensor, trained: Tensor) -> Tensor:
    """What pixels of each image weigh in the mean, of those that are trained and weigh anything; 0 without any: [B]."""
    counted = (weights > 0) & trained
    return (weights * counted).sum(dim=(1, 2)) / counted.sum(dim=(1, 2)).clamp(min=1)


def mean_weights(of_class: Tensor, target: RelaxedTarget) -> Tensor:
    """The mean weight of the classes of each pixel's set: weights [B,C+1] -> [B,H,W]."""
    weight = per_pixel(of_class, target.classes)
    of_members = of_class.take(_class_of_image(target, of_class.shape[1]))
    return weight.put_(target.pixel, per_set("mean", of_members, target))


def per_pixel(of_class: Tensor, classes: Tensor) -> Tensor:
    """Each image's values for classes [B,K], at the classes [B,H,W] of its pixels."""
    return of_class.gather(1, classes.flatten(1)).reshape(classes.shape)


def class_pixels(target: RelaxedTarget, num_classes: int) -> Tensor:
    """How often classes, and ignored as the last of them, are in an image's sets: [B,C+1] float64.

    A pixel counts for each class of its set, as often as its emphasis says.
    """
    emphasis = target.emphasis.double().flatten()
    of_sets = emphasis.take(target.pixel)
    pixels = count_classes(target.classes, num_classes, emphasis.index_fill(0, target.pixel, 0))
    of_members = of_sets.take(target.row)
    pixels += torch.bincount(_class_of_image(target, pixels.shape[1]), of_members, pixels.numel()).view_as(pixels)
    pixels[:, num_classes] += torch.bincount(target.image, of_sets * target.near_ignored, len(pixels))
    return pixels


def _class_of_image(target: RelaxedTarget, num_columns: int) -> Tensor:
    """Where the classes of all sets are in values of images and classes [B,K], flattened: [P] int64."""
    return (target.image * num_columns).take(target.row) + target.member


def count_classes(classes: Tensor, num_classes: int, weights: Tensor | None = None) -> Tensor:
    """How many pixels of each image [B,H,W] are 0…C [B,C+1] int64, or the sums of their weights, float64."""
    batch, num_columns = len(classes), num_classes + 1
    pairs = classes + num_columns * torch.arange(batch, device=classes.device)[:, None, None]
    flat_weights = None if weights is None else weights.double().flatten()
    return torch.bincount(pairs.flatten(), flat_weights, batch * num_columns).reshape(batch, num_columns)
