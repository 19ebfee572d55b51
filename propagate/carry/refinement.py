"""Composed displacements, corrected on the images that they connect.

Composing adds up the errors of its steps, and every estimator blurs motion across the outlines of things. Both show
in the images: here each pixel chooses, among a few displacements, the one under which the two frames look most alike.
"""

import torch
from torch import Tensor
from torch.nn import functional

from propagate.carry.paths import CarryingPath
from sdcnet.geometry import compose

LARGEST_SMALL = 2**20  # pixels, of a frame that is not halved
REACHES = (32, 16, 8, 4)  # pixels, how far away a neighbour's displacement is taken from
OUTLINE_REACHES = (8, 3)  # the same on frames whose motion was found at half their resolution


class RefinedWay:
    """A `Way` that is refined on the images at each step.

    Large frames are halved until they are small; the way is worked out on these, and its outlines alone on the others.
    """

    def __init__(self, annotated: Tensor, path: CarryingPath) -> None:
        """annotated: [1,3,H,W] uint8 RGB."""
        self._annotated = _pyramid(annotated)
        self._flow = torch.zeros_like(self._annotated[-1][:, :2], dtype=torch.float32)
        self._path = path

    def extended(self, step: Tensor, target: Tensor) -> Tensor:
        *larger, (small_target, small_annotated) = zip(_pyramid(target), self._annotated, strict=True)
        step = resized(step, small_target.shape[-2:])
        self._flow = refine(compose(step, self._flow), small_target, small_annotated, self._path)
        flow = self._flow
        for pair in reversed(larger):
            flow = sharpen(flow, *pair, self._path)
        return flow


def small(frame: Tensor) -> Tensor:
    """A frame [1,3,H,W] uint8 RGB, halved until it has no more than LARGEST_SMALL pixels."""
    return _pyramid(frame)[-1]


def refine(flow_target_to_annotated: Tensor, target: Tensor, annotated: Tensor, path: CarryingPath) -> Tensor:
    """The displacement that matches the images best, pixel by pixel: [1,2,H,W] float32.

    flow_target_to_annotated: [1,2,H,W] float32 pixels; frames: [1,3,H,W] uint8 RGB. The candidates are the given
    displacement, those that the path finds near it, and, for the winner of these, the displacements of neighbours, so
    that an edge of the motion can move to where the images have it.

    Reference: the neighbours are PatchMatch's propagation, Barnes et al., SIGGRAPH 2009, with fixed reaches.
    """
    choice = path.choice(target, annotated)
    for candidate in path.candidates(flow_target_to_annotated, target, annotated):
        choice.offer(candidate)
    return choice.among_neighbours(REACHES)


def sharpen(flow_target_to_annotated: Tensor, target: Tensor, annotated: Tensor, path: CarryingPath) -> Tensor:
    """A displacement that was found on smaller frames, with outlines as these have them: [1,2,H,W] float32.

    flow_target_to_annotated: [1,2,h,w] float32, in pixels of the smaller frames; frames: [1,3,H,W] uint8 RGB.
    """
    choice = path.choice(target, annotated)
    choice.offer(resized(flow_target_to_annotated, target.shape[-2:]))
    return choice.among_neighbours(OUTLINE_REACHES)


def resized(flow: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
    """A flow [1,2,h,w] between frames of h x w -> [1,2,H,W], between the same ones in another size (H, W)."""
    before = flow.shape[-2:]
    if tuple(size) == tuple(before):
        return flow
    shrinks = size[0] * size[1] < before[0] * before[1]
    scale = torch.tensor([size[1] / before[1], size[0] / before[0]], device=flow.device).view(1, 2, 1, 1)
    mode = {"mode": "area"} if shrinks else {"mode": "bilinear", "align_corners": False}
    return functional.interpolate(flow, size=tuple(size), **mode) * scale


def _pyramid(frame: Tensor) -> list[Tensor]:
    """The frame [1,3,H,W] uint8, its half, and so on to the first that is small."""
    frames = [frame]
    while frames[-1][0, 0].numel() > LARGEST_SMALL:
        height, width = frames[-1].shape[-2:]
        half = functional.interpolate(frames[-1].float(), size=(height // 2, width // 2), mode="area")
        frames.append(half.add_(0.5).floor_().to(torch.uint8))
    return frames
