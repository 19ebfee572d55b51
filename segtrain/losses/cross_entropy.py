"""Cross entropy: plain, weighted by class or by the classes of each image, and on hard pixels."""

import math
from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from segtrain.losses.class_sets import own_classes
from segtrain.losses.logits import at_least_float32, require_pair
from segtrain.losses.objective import LabelObjective, any_epoch, mean_over_pairs
from segtrain.losses.settings import LossSettings
from segtrain.losses.weighting import ClassWeighting, count_classes, mean_pixel_weight, per_pixel


def cross_entropy(
    logits: Tensor, labels: Tensor, *, class_weights: Sequence[float] = (), weights: Tensor | None = None
) -> Tensor:
    """The mean of −log P(label) over all pixels of the batch that aren't ignored; a scalar.

    class_weights: how much a pixel of each train id weighs in that mean; empty: all alike. weights: [B,H,W] float, how
    much each pixel counts beside that; None: all alike. Those of 0 are ignored; the others' weights are not divided by.

    Raises: ValueError unless there are as many weights as classes, and as pixels.
    """
    nll, classes = pixel_cross_entropy(logits, labels, weights)
    if class_weights or weights is not None:
        return _weighted_mean(nll, classes, logits.shape[1], class_weights, weights)
    return nll.sum() / (classes != logits.shape[1]).sum().clamp(min=1)


def image_weighted_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    weighting: ClassWeighting,
    mean_over_images: bool = False,
    weights: Tensor | None = None,
) -> Tensor:
    """Per image the weighted mean of −log P(label), added up over the images, as published, or their mean; a scalar.

    The shares behind the weights are those among the pixels that aren't ignored. weights: [B,H,W] float, how much each
    pixel weighs beside that, in these shares too: an image counts as much as its pixels, without those of 0, in the
    mean.
    Raises: ValueError unless there are as many weights as pixels.
    """
    nll, classes = pixel_cross_entropy(logits, labels, weights)
    num_classes = logits.shape[1]
    of_class = weighting.weights(count_classes(classes, num_classes, weights)[:, :num_classes])
    weight = per_pixel(F.pad(of_class, (0, 1)), classes)
    if weights is not None:
        weight = weight * weights
    total = weight.sum(dim=(1, 2))
    per_image = (weight * nll).sum(dim=(1, 2)) / total.where(total > 0, 1)
    if weights is not None:
        per_image = per_image * mean_pixel_weight(weights, classes != num_classes)
    return per_image.mean() if mean_over_images else per_image.sum()


def ohem_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    threshold: float = 0.7,
    min_kept: int = 100_000,
    class_weights: Sequence[float] = (),
    weights: Tensor | None = None,
) -> Tensor:
    """The mean of −log P(label) over the hard pixels of the batch: those with P(label) below the threshold.

    Where these are fewer than `min_kept`, the hardest so many are taken (all, where there are no more). class_weights,
    weights: as in `cross_entropy`; they say what pixels weigh, not which are hard.

    Raises: ValueError for a threshold that is no probability above 0, for `min_kept` below 1, and unless there are as
    many weights as classes, and as pixels.

    Reference: Shrivastava et al., "Training Region-based Object Detectors with Online Hard Example Mining", CVPR 2016,
    for pixels in place of regions. As in the released code of Liu et al., ECCV 2020, which takes pixels at the
    threshold too, and all that are as hard as the last of `min_kept`.
    """
    if not 0 < threshold <= 1 or min_kept < 1:
        raise ValueError(
            f"threshold must be above 0 and at most 1, min_kept at least 1, found {threshold} and {min_kept}"
        )
    nll, classes = pixel_cross_entropy(logits, labels, weights)
    counted = classes != logits.shape[1]
    if weights is not None:
        counted = counted & (weights > 0)
    pixels = nll[counted]
    if len(pixels) == 0:
        return pixels.sum()
    num_hard = int((pixels.detach() > -math.log(threshold)).sum())
    hardest = pixels.topk(min(max(num_hard, min_kept), len(pixels)), sorted=False)
    if class_weights or weights is not None:
        of_hardest = None if weights is None else weights[counted][hardest.indices]
        hard_classes = classes[counted][hardest.indices]
        return _weighted_mean(hardest.values, hard_classes, logits.shape[1], class_weights, of_hardest)
    return hardest.values.mean()


def pixel_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """−log P(label) and the class of each pixel [B,H,W]; 0 and C where it is ignored.

    weights: what pixels weigh elsewhere, if they do. Raises: ValueError unless all are of one size.
    """
    require_pair(logits, labels, weights)
    num_classes = logits.shape[1]
    classes = own_classes(labels, num_classes)
    precise = logits.to(at_least_float32(logits.dtype))
    return F.cross_entropy(precise, classes, ignore_index=num_classes, reduction="none"), classes


def _weighted_mean(
    nll: Tensor, classes: Tensor, num_classes: int, class_weights: Sequence[float], weights: Tensor | None
) -> Tensor:
    """The mean of values by the weights of their classes, if these have some, of values times their own, if they have.

    It is 0 where nothing weighs. classes: int64, C where ignored. weights: of the shape of `nll`; 0 is ignored too.
    """
    of_class = class_weights or num_classes * (1.0,)
    if len(of_class) != num_classes:
        raise ValueError(f"expected a weight of each of the {num_classes} classes, found {len(class_weights)}")
    weight = torch.tensor([*of_class, 0.0], dtype=nll.dtype, device=nll.device)[classes]
    if weights is not None:
        nll, weight = weights * nll, weight * (weights > 0)
    total = weight.sum()
    return (weight * nll).sum() / total.where(total > 0, 1)


def plain(settings: LossSettings) -> LabelObjective:
    """Cross entropy, a mean over the pixels of the batch."""
    loss = partial(cross_entropy, class_weights=settings.class_weights)
    return LabelObjective(loss=any_epoch(loss), auxiliary=settings.auxiliary)


def ohem(settings: LossSettings) -> LabelObjective:
    """Cross entropy on hard pixels, a mean over those of the batch."""
    loss = partial(ohem_cross_entropy, class_weights=settings.class_weights)
    return LabelObjective(loss=any_epoch(loss), auxiliary=settings.auxiliary)


def image_weighted(settings: LossSettings) -> LabelObjective:
    """Image-weighted cross entropy, a mean over the images of the batch; or as published."""
    weighting = ClassWeighting(upper_bound=settings.class_weight) if settings.class_weight else ClassWeighting()
    loss = any_epoch(
        partial(image_weighted_cross_entropy, weighting=weighting, mean_over_images=not settings.as_published)
    )
    return LabelObjective(loss=mean_over_pairs(loss) if settings.as_published else loss, auxiliary=settings.auxiliary)
