"""How much a frame differs from another: what says that the deeper part of a network is to be computed again."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from segtrain.models.network import IMAGE, SegmentationNetwork

CELL = 16  # pixels along each side, over which an image is averaged


def argmax_difference(one: Tensor, other: Tensor) -> Tensor:
    """The share of places whose class differs, of maps of classes of one shape."""
    return (one != other).float().mean()


def relative_difference(one: Tensor, other: Tensor) -> Tensor:
    """The mean over all elements of |a - b| / ((|a| + |b|) / 2), which counts 0 where both are 0: 0…2."""
    mean = (one.abs() + other.abs()) / 2
    return torch.where(mean > 0, (one - other).abs() / mean, 0).mean()


def ratio_of_means(one: Tensor, other: Tensor) -> Tensor:
    """As `relative_difference`, but of means: single elements near 0, as after a ReLU, do not decide. 0 of zeros."""
    mean = (one.abs() + other.abs()).mean() / 2
    return torch.where(mean > 0, (one - other).abs().mean() / mean, 0)


def classes_of(scores: Tensor) -> Tensor:
    """Scores [B,C,h,w] -> [B,h,w] uint8, the class of each place."""
    return scores.argmax(dim=1).to(torch.uint8)


def averaged(image: Tensor) -> Tensor:
    """[B,3,H,W] -> [B,3,H / 16,W / 16]."""
    return functional.avg_pool2d(image, min(CELL, *image.shape[-2:]))


def as_it_is(features: Tensor) -> Tensor:
    return features


@dataclass(frozen=True, kw_only=True)
class Signal:
    """mark: what is kept of a frame, of what the signal reads. difference: between two of them, a number of 0 or more.

    of_image: whether it reads the image, not the features at the last cut. of_scores: whether these must be scores of
    classes. inside: whether places that lie over no pixel of the image are left out.
    """

    mark: Callable[[Tensor], Tensor]
    difference: Callable[[Tensor, Tensor], Tensor]
    of_image: bool = False
    of_scores: bool = False
    inside: bool = True

    def stage(self, network: SegmentationNetwork, cut: str) -> str:
        """Where it reads. Raises: ValueError where it is of scores, and the stage at the cut gives features."""
        if self.of_scores and not any(name.startswith(f"{cut}.") for name in network.head):
            raise ValueError(
                f"this signal compares the classes at {cut}, where {network.architecture} has features; choose the "
                "signal 'feature', or cuts where classes are scored"
            )
        return IMAGE if self.of_image else cut

    def seen(self, network: SegmentationNetwork, stage: str, found: Tensor, image: Tensor) -> Tensor:
        """What is kept of a frame, of what is found at the stage."""
        places = network.places(stage) if self.inside else None
        if places is not None:
            found = found[..., places.inside(image.shape[-2]), places.inside(image.shape[-1])]
        return self.mark(found)


FEATURE = Signal(mark=as_it_is, difference=ratio_of_means)
PIXELS = Signal(mark=averaged, difference=ratio_of_means, of_image=True)
ARGMAX = Signal(mark=classes_of, difference=argmax_difference, of_scores=True)
PADDED_ARGMAX = Signal(mark=classes_of, difference=argmax_difference, of_scores=True, inside=False)  # the published one
