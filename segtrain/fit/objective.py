"""What a step is trained towards, and how fast: the loss and the learning rate of a configuration."""

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor

from jobs.errors import FitError
from segtrain.fit.config import FitConfig
from segtrain.losses import (
    ClassWeighting,
    RelaxedLoss,
    cross_entropy,
    image_weighted_cross_entropy,
    ohem_cross_entropy,
)

Objective = Callable[[Tensor, Tensor, int], Tensor]  # logits [B,C,H,W], train ids [B,H,W], epoch -> a scalar


def open_objective(config: FitConfig, class_names: Sequence[str]) -> Objective:
    """The loss of a configuration, a mean over the images of a batch where it is one per image.

    So two halves of a batch together cost what the whole does, whoever computes them; `cross-entropy` and `ohem` are
    means over the pixels, of each half. Raises FitError for classes that do not exist.
    """
    weighting = ClassWeighting(upper_bound=config.class_weight) if config.class_weight else None
    if config.loss == "relaxed":
        return RelaxedLoss(
            border=config.border,
            strict_classes=train_ids(config.strict_classes, class_names, "strict_classes"),
            relax_until=config.relax_until,
            weighting=weighting,
            mean_over_images=True,
        )
    if config.loss == "image-weighted":
        return _any_epoch(
            partial(image_weighted_cross_entropy, weighting=weighting or ClassWeighting(), mean_over_images=True)
        )
    return _any_epoch(cross_entropy if config.loss == "cross-entropy" else ohem_cross_entropy)


def _any_epoch(loss: Callable[[Tensor, Tensor], Tensor]) -> Objective:
    return lambda logits, labels, _: loss(logits, labels)


def train_ids(names: Sequence[str], class_names: Sequence[str], setting: str) -> tuple[int, ...]:
    """The train ids of classes by name. Raises FitError for names that the class table doesn't have."""
    unknown = [name for name in names if name not in class_names]
    if unknown:
        raise FitError(f"{setting}: no classes {', '.join(unknown)}; there are {', '.join(class_names)}")
    return tuple(class_names.index(name) for name in names)
