"""What segmentation networks are trained on: cross entropy, weighted, on hard pixels, and with relaxed boundaries.

All take logits [B,C,H,W] of any float and labels [B,H,W], train ids of any integer type with 255 for ignored, on one
device; they compute in float32 at least, and return a scalar that is finite whatever is ignored: 0 where nothing is
left to train on.

Defects of the published losses that these don't have:

- The relaxed loss of a batch applies the weights 1/n of *all* its images to each: two images whose losses add up to
  19.984 cost 40.667.
- It takes the logarithm of a softmax, which is NaN once the right class lies some hundred below another.
- Weights by inverse share are infinite times 0 for absent classes: always NaN when relaxed.
- Cross entropy, image-weighted too, is NaN where every pixel is ignored.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.autograd.function import once_differentiable

from segtrain.class_sets import RelaxedTarget, own_classes, relaxed_target

BAND_LOGITS = 1 << 19  # worked on at a time on a CPU: what a band needs stays in the cache, a quarter of the time


@dataclass(frozen=True, kw_only=True)
class ClassWeighting:
    """Classes that are rare in an image weigh more: 1 + upper_bound · (1 − share), 1 for those that are absent.

    inverse: 1 + upper_bound / share instead. over_batch: the shares are those of the whole batch.
    Raises ValueError for a negative upper bound. Reference: Zhu et al., CVPR 2019, its published code.
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


@dataclass(frozen=True, kw_only=True)
class RelaxedLoss:
    """Boundary label relaxation over the epochs: −log Σ P(c) over the classes c around a pixel.

    border: windows are (2·border+1)² pixels. strict_classes: train ids whose pixels are never relaxed. relax_until:
    the last epoch with relaxation; then windows have half the border, and boundary pixels count twice. weighting: of
    classes, none weighs all alike. mean_over_images: the published loss adds them up.

    Reference: Zhu et al., CVPR 2019, section 3.3, equation 5.
    """

    border: int = 1
    strict_classes: tuple[int, ...] = ()
    relax_until: int | None = None
    weighting: ClassWeighting | None = None
    mean_over_images: bool = False

    def target(self, labels: Tensor, num_classes: int, epoch: int = 0) -> RelaxedTarget:
        """What pixels are trained towards in that epoch; see `relaxed_target`."""
        relaxed = self.relax_until is None or epoch <= self.relax_until
        return relaxed_target(
            labels, num_classes, border=self.border, strict_classes=self.strict_classes, relaxed=relaxed
        )

    def __call__(self, logits: Tensor, labels: Tensor, epoch: int = 0) -> Tensor:
        """The loss of a batch. Raises ValueError where logits and labels don't belong together."""
        _require_pair(logits, labels)
        return relaxed_cross_entropy(
            logits,
            self.target(labels, logits.shape[1], epoch),
            weighting=self.weighting,
            mean_over_images=self.mean_over_images,
        )


def relaxed_cross_entropy(
    logits: Tensor, target: RelaxedTarget, *, weighting: ClassWeighting | None = None, mean_over_images: bool = False
) -> Tensor:
    """Per image Σ −(w/n)·log P(N) / (trained pixels + 1), added up over the images or their mean; a scalar.

    A pixel with the set N of n classes weighs w/n, w the sum of its classes' weights, times the target's emphasis.
    The shares behind the weights count a pixel once for each class of its set, with its emphasis, and ignored ones.
    The 1 in the divisor is a quirk kept for parity; it makes an image without trained pixels cost 0.
    """
    weight = target.emphasis * (target.classes != logits.shape[1])
    if weighting is not None:
        weight *= _mean_weights(weighting.weights(class_pixels(target, logits.shape[1])), target)
    losses = weight * set_negative_log_likelihood(logits, target)
    per_image = losses.sum(dim=(1, 2)) / ((target.classes != logits.shape[1]).sum(dim=(1, 2)) + 1)
    return per_image.mean() if mean_over_images else per_image.sum()


def _mean_weights(of_class: Tensor, target: RelaxedTarget) -> Tensor:
    """The mean weight of the classes of each pixel's set: weights [B,C+1] -> [B,H,W]."""
    weight = _per_pixel(of_class, target.classes)
    of_members = of_class[target.image[target.row], target.member]
    weight[target.image, target.y, target.x] = _per_set("mean", of_members, target)
    return weight


def _per_set(reduce: str, of_members: Tensor, target: RelaxedTarget) -> Tensor:
    """The sum, mean or max over each set: [P] -> [M]."""
    return torch.segment_reduce(of_members, reduce, lengths=target.num_members, unsafe=True)  # lengths do add up


def class_pixels(target: RelaxedTarget, num_classes: int) -> Tensor:
    """How often classes, and ignored as the last of them, are in an image's sets: [B,C+1] float64.

    A pixel counts for each class of its set, as often as its emphasis says.
    """
    emphasis = target.emphasis.double()
    of_rows = emphasis[target.image, target.y, target.x]
    emphasis[target.image, target.y, target.x] = 0
    pixels = _count_of_images(target.classes, num_classes, emphasis)
    pixels += _count(target.image[target.row], target.member, tuple(pixels.shape), of_rows[target.row])
    pixels[:, num_classes] += torch.bincount(target.image, of_rows * target.near_ignored, minlength=len(pixels))
    return pixels


def _count_of_images(classes: Tensor, num_classes: int, weights: Tensor | None = None) -> Tensor:
    """How many pixels of each image [B,H,W] are 0…C, or the sums of their weights: [B,C+1]."""
    images = torch.arange(len(classes), device=classes.device)[:, None, None].expand_as(classes)
    return _count(images, classes, (len(classes), num_classes + 1), weights)


def _count(first: Tensor, second: Tensor, size: tuple[int, ...], weights: Tensor | None = None) -> Tensor:
    """How often each pair of values occurs, or the sums of its weights: [*size]."""
    pairs = (first * size[1] + second).flatten()
    flat_weights = None if weights is None else weights.flatten()
    return torch.bincount(pairs, weights=flat_weights, minlength=size[0] * size[1]).reshape(size)


def set_negative_log_likelihood(logits: Tensor, target: RelaxedTarget) -> Tensor:
    """−log Σ P(c) over the classes of each pixel's set -> [B,H,W] float32 or float64; 0 where it has none.

    logsumexp over all less logsumexp over the set, in float32 at least: right at any gap of logits. Nothing of their
    size is kept beside them; backward makes their gradient.
    """
    result: Tensor = _SetNegativeLogLikelihood.apply(logits, target)
    return result


class _SetNegativeLogLikelihood(torch.autograd.Function):
    """Plain cross entropy everywhere; then, for the few pixels that have a set, the class gives way to the set.

    The gradient by logit c is P(c) − P(c | N), with P(c | N) = 0 outside the set N.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: RelaxedTarget) -> Tensor:
        classes = target.classes
        nll = torch.empty(classes.shape, dtype=_precise(logits.dtype), device=logits.device)
        for band in _bands(logits):
            precise = logits[..., band, :].to(nll.dtype)
            nll[:, band] = F.cross_entropy(precise, classes[:, band], ignore_index=logits.shape[1], reduction="none")
        image, y, x = target.image, target.y, target.x
        of_members = _of_members(logits, target).to(nll.dtype)
        most = _per_set("max", of_members, target)
        among = of_members.sub_(most[target.row]).exp_()
        total = _per_set("sum", among, target)
        nll[image, y, x] += logits[image, classes[image, y, x], y, x].to(nll.dtype) - most - total.log()
        ctx.save_for_backward(logits, among / total[target.row], *target)
        return nll

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_nll: Tensor) -> tuple[Tensor, None]:
        logits, among, *fields = ctx.saved_tensors
        target = RelaxedTarget(*fields)
        ignored = target.classes == logits.shape[1]
        index = target.classes.masked_fill(ignored, 0)[:, None]
        to_all = grad_nll.masked_fill(ignored, 0)[:, None]
        to_class = to_all.clone()
        to_class[target.image, 0, target.y, target.x] = 0
        grad = torch.empty_like(logits)
        for band in _bands(logits):
            part = logits[..., band, :].softmax(dim=1, dtype=grad_nll.dtype).mul_(to_all[..., band, :])
            grad[..., band, :] = part.scatter_add_(1, index[..., band, :], -to_class[..., band, :])
        image, y, x = (position[target.row] for position in (target.image, target.y, target.x))
        grad[image, target.member, y, x] -= (among * grad_nll[image, y, x]).to(grad.dtype)
        return grad, None


def _of_members(logits: Tensor, target: RelaxedTarget) -> Tensor:
    """The logits of each set's classes: [B,C,H,W] -> [P]."""
    row = target.row
    return logits[target.image[row], target.member, target.y[row], target.x[row]]


def _precise(dtype: torch.dtype) -> torch.dtype:
    """float32 in place of what is narrower."""
    return torch.promote_types(dtype, torch.float32)


def _bands(logits: Tensor) -> list[slice]:
    """Bands of rows, of all images together; on a GPU one of all rows."""
    height = logits.shape[2]
    rows = max(1, BAND_LOGITS * height // logits.numel()) if logits.is_cpu else height
    return [slice(top, top + rows) for top in range(0, height, rows)]


def _per_pixel(of_class: Tensor, classes: Tensor) -> Tensor:
    """Each image's values for classes [B,K], at the classes [B,H,W] of its pixels."""
    return of_class.gather(1, classes.flatten(1)).reshape(classes.shape)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean of −log P(label) over all pixels of the batch that aren't ignored; a scalar."""
    nll, classes = _pixel_cross_entropy(logits, labels)
    return nll.sum() / (classes != logits.shape[1]).sum().clamp(min=1)


def image_weighted_cross_entropy(
    logits: Tensor, labels: Tensor, *, weighting: ClassWeighting, mean_over_images: bool = False
) -> Tensor:
    """Per image the weighted mean of −log P(label), added up over the images, as published, or their mean; a scalar.

    The shares behind the weights are those among the pixels that aren't ignored.
    """
    nll, classes = _pixel_cross_entropy(logits, labels)
    num_classes = logits.shape[1]
    of_class = weighting.weights(_count_of_images(classes, num_classes)[:, :num_classes])
    weight = _per_pixel(F.pad(of_class, (0, 1)), classes)
    total = weight.sum(dim=(1, 2))
    per_image = (weight * nll).sum(dim=(1, 2)) / total.where(total > 0, 1)
    return per_image.mean() if mean_over_images else per_image.sum()


def ohem_cross_entropy(logits: Tensor, labels: Tensor, *, threshold: float = 0.7, min_kept: int = 100_000) -> Tensor:
    """The mean of −log P(label) over the hard pixels of the batch: those with P(label) below the threshold.

    Where these are fewer than `min_kept`, the hardest so many are taken (all, where there are no more).

    Raises ValueError for a threshold that is no probability above 0, and for `min_kept` below 1.

    Reference: Shrivastava et al., "Training Region-based Object Detectors with Online Hard Example Mining", CVPR 2016,
    for pixels in place of regions.
    """
    if not 0 < threshold <= 1 or min_kept < 1:
        raise ValueError(
            f"threshold must be above 0 and at most 1, min_kept at least 1, found {threshold} and {min_kept}"
        )
    nll, classes = _pixel_cross_entropy(logits, labels)
    pixels = nll[classes != logits.shape[1]]
    if len(pixels) == 0:
        return pixels.sum()
    num_hard = int((pixels.detach() > -math.log(threshold)).sum())
    return pixels.topk(min(max(num_hard, min_kept), len(pixels)), sorted=False).values.mean()


def _pixel_cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """−log P(label) and the class of each pixel [B,H,W]; 0 and C where it is ignored."""
    _require_pair(logits, labels)
    num_classes = logits.shape[1]
    classes = own_classes(labels, num_classes)
    precise = logits.to(_precise(logits.dtype))
    return F.cross_entropy(precise, classes, ignore_index=num_classes, reduction="none"), classes


def _require_pair(logits: Tensor, labels: Tensor) -> None:
    if logits.ndim != 4 or labels.shape != (len(logits), *logits.shape[2:]):
        raise ValueError(
            f"expected logits [B,C,H,W] and labels [B,H,W] of one size, found {list(logits.shape)} and "
            f"{list(labels.shape)}"
        )
