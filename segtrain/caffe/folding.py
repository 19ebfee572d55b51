"""What Caffe's networks do otherwise than ours, as changes of weights: images and the order of a pyramid's branches."""

from collections.abc import Sequence

import torch
from torch import Tensor

from segtrain.caffe.names import Mean
from segtrain.models.preprocessing import MEAN, STD


def fold_images(weight: Tensor, mean: Mean) -> tuple[Tensor, Tensor]:
    """Weights [K,3,h,w] for levels less their mean, blue first -> the same for images as `normalised` gives them.

    Beside them, [K], what is to be added to what they give. Both are exact but where the border of zeros around an
    image is seen: that has ImageNet's mean colour, not `mean`, as `border_levels` says.
    """
    rgb = weight.double().flip(1)
    shift = 255 * torch.tensor(MEAN).double() - torch.tensor(mean[::-1]).double()
    scaled = rgb * (255 * torch.tensor(STD).double()).view(3, 1, 1)
    return scaled.float(), torch.einsum("kcij,c->k", rgb, shift).float()


def border_levels(mean: Mean) -> float:
    """How far, in levels 0…255, the colour of the border is from that with which a network was trained, at most."""
    return max(abs(255 * ours - theirs) for ours, theirs in zip(MEAN, reversed(mean), strict=True))


def fold_branches(weight: Tensor, ours: Sequence[int], published: Sequence[int]) -> Tensor:
    """Weights [K,C,h,w] for features and the branches of a pyramid, half of C, in the published order -> in ours."""
    channels = weight.shape[1] // 2
    features, *branches = weight.split([channels, *[channels // len(ours)] * len(ours)], dim=1)
    return torch.cat((features, *(branches[published.index(regions)] for regions in ours)), dim=1)
