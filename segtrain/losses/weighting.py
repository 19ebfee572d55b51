"""How much classes weigh, by how often they occur in an image."""

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


def mean_weights(of_class: Tensor, target: RelaxedTarget) -> Tensor:
    """The mean weight of the classes of each pixel's set: weights [B,C+1] -> [B,H,W]."""
    weight = per_pixel(of_class, target.classes)
    of_members = of_class[target.image[target.row], target.member]
    weight[target.image, target.y, target.x] = per_set("mean", of_members, target)
    return weight


def per_pixel(of_class: Tensor, classes: Tensor) -> Tensor:
    """Each image's values for classes [B,K], at the classes [B,H,W] of its pixels."""
    return of_class.gather(1, classes.flatten(1)).reshape(classes.shape)


def class_pixels(target: RelaxedTarget, num_classes: int) -> Tensor:
    """How often classes, and ignored as the last of them, are in an image's sets: [B,C+1] float64.

    A pixel counts for each class of its set, as often as its emphasis says.
    """
    emphasis = target.emphasis.double()
    of_rows = emphasis[target.image, target.y, target.x]
    emphasis[target.image, target.y, target.x] = 0
    pixels = count_classes(target.classes, num_classes, emphasis)
    pixels += _count(target.image[target.row], target.member, tuple(pixels.shape), of_rows[target.row])
    pixels[:, num_classes] += torch.bincount(target.image, of_rows * target.near_ignored, minlength=len(pixels))
    return pixels


def count_classes(classes: Tensor, num_classes: int, weights: Tensor | None = None) -> Tensor:
    """How many pixels of each image [B,H,W] are 0…C, or the sums of their weights: [B,C+1]."""
    images = torch.arange(len(classes), device=classes.device)[:, None, None].expand_as(classes)
    return _count(images, classes, (len(classes), num_classes + 1), weights)


def _count(first: Tensor, second: Tensor, size: tuple[int, ...], weights: Tensor | None = None) -> Tensor:
    """How often each pair of values occurs, or the sums of its weights: [*size]."""
    pairs = (first * size[1] + second).flatten()
    flat_weights = None if weights is None else weights.flatten()
    return torch.bincount(pairs, weights=flat_weights, minlength=size[0] * size[1]).reshape(size)
