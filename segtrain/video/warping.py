"""Maps of a network carried from one frame to the next: features and scores."""

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sdcnet.geometry import endpoints, sample_bilinear
from segtrain.models.network import Places
from segtrain.models.preprocessing import STD
from segtrain.video.stepper import Motion, Seen

LEVELS = 255.0  # grey levels, of images


def gated(seen: Seen, gate: str) -> Motion:
    """The motion of a frame, as a gate lets it pass; of GATES, see `SchemeOptions`. What is not known is averaged over
    and stays in place whatever the gate; with "none" it is carried all the same."""
    return seen.motion_within if gate == "occlusion" else seen.motion


def num_motions(seen: Seen, gate: str) -> int:
    """How many motions are found for what `gated` gives: one, and that of the way back, where the gate looks at it."""
    return 2 if gate == "occlusion" and seen.back is not None else 1


def at_size(motion: Motion, image: Tensor, size: tuple[int, int], places: Places | None = None) -> Tensor:
    """The flow on a grid of another size, in cells of that grid: [B,2,h,w] float32.

    image: the frame, [B,3,H,W]. places: where the cells lie, if they do not divide it evenly. Where cells become one
    they are averaged, over the known ones among them; a cell of which none is known takes the mean of all.
    """
    flow, known = motion.flow_to_previous, motion.known.to(motion.flow_to_previous.dtype)
    pool = _pool(image, size, places)
    per_cell = [image.shape[-1] / size[1], image.shape[-2] / size[0]]
    if places is not None:
        per_cell = [places.stride, places.stride]
    share = pool(known)
    of_known = pool(flow * known) / share.clamp(min=torch.finfo(share.dtype).tiny)
    mean = torch.where(share > 0, of_known, pool(flow))
    return mean / mean.new_tensor(per_cell).view(1, 2, 1, 1)


def share_known(motion: Motion, image: Tensor, size: tuple[int, int], places: Places | None = None) -> Tensor:
    """Of each cell of a grid, as in `at_size`, the share that is known: [B,1,h,w] float32."""
    return _pool(image, size, places)(motion.known.to(image.dtype))


def image_at_size(image: Tensor, size: tuple[int, int], places: Places | None = None) -> Tensor:
    """The mean of an image [B,C,H,W] over each cell of a grid, as in `at_size`: [B,C,h,w]."""
    return _pool(image, size, places)(image)


def residual_at_size(
    frame: Tensor, previous: Tensor, motion: Motion, size: tuple[int, int], places: Places | None = None
) -> Tensor:
    """How far what the motion carries to each cell is from what is there: [B,3,h,w] grey levels.

    frame, previous: [B,3,H,W] as `preprocessing.normalised` gives them. It is the mean of the absolute difference over
    a cell; a signed one would cancel out. What is not known stays in place: it shows as a difference.
    """
    return image_at_size(residual(frame, previous, motion).abs(), size, places)


def residual(frame: Tensor, previous: Tensor, motion: Motion) -> Tensor:
    """The frame less the previous one carried to it, [B,3,H,W] grey levels; as in `residual_at_size`."""
    flow, known = motion
    height, width = frame.shape[-2:]
    everywhere = at_size(Motion(flow * known, torch.ones_like(known)), frame, (height, width))
    levels = frame.new_tensor(STD).view(3, 1, 1) * LEVELS
    return (frame - warp(previous, everywhere)) * levels


def filled(maps: Tensor, known: Tensor) -> Tensor:
    """Maps [1,C,h,w] with each place that is not known, [1,1,h,w] bool, as the nearest one that is; if there is one."""
    if bool(known.all()) or not bool(known.any()):
        return maps
    unknown = (~known[0, 0]).cpu().numpy().astype(np.uint8)
    _, numbers = cv2.distanceTransformWithLabels(unknown, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL)
    place_of = np.zeros(int(numbers.max()) + 1, np.int64)
    place_of[numbers[unknown == 0]] = np.flatnonzero(unknown == 0)
    nearest = torch.from_numpy(place_of[numbers].ravel()).to(maps.device)
    return maps.flatten(2)[..., nearest].view_as(maps).contiguous(memory_format=_format(maps))


def _pool(image: Tensor, size: tuple[int, int], places: Places | None) -> Callable[[Tensor], Tensor]:
    """Means over the cells of a grid."""
    if places is None:
        return partial(functional.adaptive_avg_pool2d, output_size=size)
    return partial(_at_places, image=image, size=size, places=places)


def _at_places(maps: Tensor, image: Tensor, size: tuple[int, int], places: Places) -> Tensor:
    """Means of maps [B,C,h,w] over the pixels of each place, [B,C,*size]; the border is as what is nearest to it."""
    pixels = functional.interpolate(maps, image.shape[-2:], mode="nearest")
    rows, columns = (
        count * places.stride - places.before - length for count, length in zip(size, image.shape[-2:], strict=True)
    )
    padded = functional.pad(pixels, (places.before, columns, places.before, rows), mode="replicate")
    return functional.avg_pool2d(padded, places.stride)


def warp(maps: Tensor, flow_to_previous: Tensor) -> Tensor:
    """Maps [B,C,h,w] of the previous frame, where they are in this one; bilinear, the border repeated.

    flow_to_previous: [B,2,h,w], in cells of the maps. The result lies in memory as the maps do, so that what is
    computed from it has the same rounding.
    """
    warped = sample_bilinear(maps, endpoints(flow_to_previous))
    return warped.contiguous(memory_format=_format(maps))


def _format(maps: Tensor) -> torch.memory_format:
    channels_last = maps.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if channels_last else torch.contiguous_format
