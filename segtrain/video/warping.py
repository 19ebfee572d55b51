"""Maps of a network carried from one frame to the next: features, scores, labels."""

import torch
from torch import Tensor
from torch.nn import functional

from sdcnet.geometry import compose, endpoints, sample_bilinear, warp_labels
from segtrain.video.stepper import Motion


def at_size(motion: Motion, image: Tensor, size: tuple[int, int]) -> Tensor:
    """The flow on a grid of another size, in cells of that grid: [1,2,h,w] float32.

    image: the frame, [1,3,H,W]. Where cells become one they are averaged, over the known ones among them; a cell of
    which none is known takes the mean of all.
    """
    flow, known = motion.flow_to_previous, motion.known.to(motion.flow_to_previous.dtype)
    share = functional.adaptive_avg_pool2d(known, size)
    of_known = functional.adaptive_avg_pool2d(flow * known, size) / share.clamp(min=torch.finfo(share.dtype).tiny)
    mean = torch.where(share > 0, of_known, functional.adaptive_avg_pool2d(flow, size))
    cells = mean.new_tensor([size[1] / image.shape[-1], size[0] / image.shape[-2]]).view(1, 2, 1, 1)
    return mean * cells


def warp(maps: Tensor, flow_to_previous: Tensor) -> Tensor:
    """Maps [1,C,h,w] of the previous frame, where they are in this one; bilinear, the border repeated.

    flow_to_previous: [1,2,h,w], in cells of the maps. The result lies in memory as the maps do, so that what is
    computed from it has the same rounding.
    """
    warped = sample_bilinear(maps, endpoints(flow_to_previous))
    channels_last = maps.is_contiguous(memory_format=torch.channels_last)
    return warped.contiguous(memory_format=torch.channels_last) if channels_last else warped


def warp_classes(classes: Tensor, flow_to_previous: Tensor) -> Tensor:
    """As `warp`, of train ids [1,1,H,W], from the nearest pixel."""
    return warp_labels(classes, flow_to_previous)


def chained(flow_to_previous: Tensor, previous_to_key: Tensor | None) -> Tensor:
    """The flow to the key frame, of that to the previous frame, and that from there: [1,2,h,w] in cells."""
    return flow_to_previous if previous_to_key is None else compose(flow_to_previous, previous_to_key)
