"""Boundary label relaxation: a pixel near a boundary may be of any class around it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from segtrain.losses.class_sets import RelaxedTarget, relaxed_target
from segtrain.losses.logits import require_pair
from segtrain.losses.objective import LabelObjective, mean_over_pairs
from segtrain.losses.set_likelihood import set_negative_log_likelihood
from segtrain.losses.settings import LossSettings
from segtrain.losses.weighting import ClassWeighting, class_pixels, mean_weights


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
    as_published: bool = False

    def target(self, labels: Tensor, num_classes: int, epoch: int = 0) -> RelaxedTarget:
        """What pixels are trained towards in that epoch; see `relaxed_target`."""
        relaxed = self.relax_until is None or epoch <= self.relax_until
        return relaxed_target(
            labels, num_classes, border=self.border, strict_classes=self.strict_classes, relaxed=relaxed
        )

    def __call__(self, logits: Tensor, labels: Tensor, epoch: int = 0, weights: Tensor | None = None) -> Tensor:
        """The loss of a batch. Raises: ValueError where logits, labels and weights don't belong together."""
        require_pair(logits, labels, weights)
        return relaxed_cross_entropy(
            logits,
            self.target(labels, logits.shape[1], epoch),
            weighting=self.weighting,
            mean_over_images=self.mean_over_images,
            as_published=self.as_published,
            weights=weights,
        )


def relaxed_cross_entropy(
    logits: Tensor,
    target: RelaxedTarget,
    *,
    weighting: ClassWeighting | None = None,
    mean_over_images: bool = False,
    as_published: bool = False,
    weights: Tensor | None = None,
) -> Tensor:
    """Per image Σ −(w/n)·log P(N) / (trained pixels + 1), added up over the images or their mean; a scalar.

    A pixel with the set N of n classes weighs w/n, w the sum of its classes' weights, times the target's emphasis.
    The shares behind the weights count a pixel once for each class of its set, with its emphasis, and ignored ones.
    The 1 in the divisor is a quirk kept for parity; it makes an image without trained pixels cost 0.

    as_published: a defect kept for parity: emphasis/n is added up over all images of the batch, at the same place.

    weights: [B,H,W] float, how much each pixel weighs beside that, in the shares too. Those of 0 are no trained pixels.
    """
    trained = target.classes != logits.shape[1]
    weight = _emphasis_of_all(target, trained) if as_published else target.emphasis
    if weights is not None:
        weight, target = weight * weights, target._replace(emphasis=target.emphasis * weights)
    if weighting is not None:
        weight = weight * mean_weights(weighting.weights(class_pixels(target, logits.shape[1])), target)
    losses = weight * set_negative_log_likelihood(logits, target)  # 0 where a pixel is ignored
    if weights is not None:
        trained = trained & (weights > 0)
    per_image = losses.sum(dim=(1, 2)) / (trained.count_nonzero(dim=(1, 2)) + 1)
    return per_image.mean() if mean_over_images else per_image.sum()


def _emphasis_of_all(target: RelaxedTarget, trained: Tensor) -> Tensor:
    """The emphasis by which each pixel counts as published, n · Σ emphasis/n over the images: [B,H,W] float32.

    Where an image is ignored it adds 1.
    """
    num_members = torch.ones_like(target.emphasis)
    num_members.put_(target.pixel, target.num_members.to(num_members.dtype))
    return num_members * (target.emphasis.where(trained, 1) / num_members).sum(dim=0)


def relaxed(settings: LossSettings) -> LabelObjective:
    """The loss of a batch, a mean over its images, so that its halves together cost what it does; or as published."""
    weighting = ClassWeighting(upper_bound=settings.class_weight) if settings.class_weight else None
    loss = RelaxedLoss(
        border=settings.border,
        strict_classes=settings.strict_classes,
        relax_until=settings.relax_until,
        weighting=weighting,
        mean_over_images=not settings.as_published,
        as_published=settings.as_published,
    )
    return LabelObjective(loss=mean_over_pairs(loss) if settings.as_published else loss, auxiliary=settings.auxiliary)
