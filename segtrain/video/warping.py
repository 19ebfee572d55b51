"""Maps of a network carried from one frame to the next: features and scores."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from sdcnet.geometry import compose, endpoints, sample_bilinear
from segtrain.models.network import Places
from segtrain.video.stepper import Motion


def at_size(motion: Motion, image: Tensor, size: tuple[int, int], places: Places | None = None) -> Tensor:
    """The flow on a grid of another size, in cells of that grid: [1,2,h,w] float32.

    image: the frame, [1,3,H,W]. places: where the cells lie, if they do not divide it evenly. Where cells become one
    they are averaged, over the known ones among them; a cell of which none is known takes the mean of all.
    """
    flow, known = motion.flow_to_previous, motion.known.to(motion.flow_to_previous.dtype)
    pool: Callable[[Tensor], Tensor] = partial(functional.adaptive_avg_pool2d, output_size=size)
    per_cell = [image.shape[-1] / size[1], image.shape[-2] / size[0]]
    if places is not None:
        pool = partial(_at_places, image=image, size=size, places=places)
        per_cell = [places.stride, places.stride]
    share = pool(known)
    of_known = pool(flow * known) / share.clamp(min=torch.finfo(share.dtype).tiny)
    mean = torch.where(share > 0, of_known, pool(flow))
    return mean / mean.new_tensor(per_cell).view(1, 2, 1, 1)


def _at_places(maps: Tensor, image: Tensor, size: tuple[int, int], places: Places) -> Tensor:
    """Means of maps [1,C,h,w] over the pixels of each place, [1,C,*size]; the border is as what is nearest to it."""
    pixels = functional.interpolate(maps, image.shape[-2:], mode="nearest")
    rows, columns = (
        count * places.stride - places.before - length for count, length in zip(size, image.shape[-2:], strict=True)
    )
    padded = functional.pad(pixels, (places.before, columns, places.before, rows), mode="replicate")
    return functional.avg_pool2d(padded, places.stride)


def warp(maps: Tensor, flow_to_previous: Tensor) -> Tensor:
    """Maps [1,C,h,w] of the previous frame, where they are in this one; bilinear, the border repeated.

    flow_to_previous: [1,2,h,w], in cells of the maps. The result lies in memory as the maps do, so that what is
    computed from it has the same rounding.
    """
    warped = sample_bilinear(maps, endpoints(flow_to_previous))
    channels_last = maps.is_contiguous(memory_format=torch.channels_last)
    return warped.contiguous(memory_format=torch.channels_last) if channels_last else warped


def chained(flow_to_previous: Tensor, previous_to_key: Tensor | None) -> Tensor:
    """The flow to the key frame, of that to the previous frame, and that from there: [1,2,h,w] in cells."""
    return flow_to_previous if previous_to_key is None else compose(flow_to_previous, previous_to_key)
