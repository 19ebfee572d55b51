"""Composed displacements, corrected on the images that they connect.

Composing adds up the errors of its steps, and every estimator blurs motion across the outlines of things. Both show
in the images: here each pixel chooses, among a few displacements, the one under which the two frames look most alike.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from sdcnet.geometry import compose
from sdcnet.motion.classical import dis_correction, to_flow, to_grey, to_pixels

LARGEST_SMALL = 2**20  # pixels, of a frame that is not halved
REACHES = (32, 16, 8, 4)  # pixels, how far away a neighbour's displacement is taken from
OUTLINE_REACHES = (8, 3)  # the same on frames whose motion was found at half their resolution
NEIGHBOUR_MARGIN = 4  # grey levels, summed over channels, by which it must match better
LARGEST_DIFFERENCE = 80  # grey levels, summed over channels: a worse match is no worse than this
OUTSIDE = 2 * LARGEST_DIFFERENCE  # the same, where a displacement leads out of the frame
WORST = 255
WINDOW = 5  # pixels, the side of the Gaussian window over which differences are averaged
BAND_ROWS = 64  # compared at a time: what a band needs stays in the cache
_NO_SECOND_MAP: Any = None  # OpenCV takes it, its type stubs do not


class RefinedWay:
    """A `Way` that is refined on the images at each step.

    Large frames are halved until they are small; the way is worked out on these, and its outlines alone on the others.
    """

    def __init__(self, annotated: Tensor) -> None:
        """annotated: [1,3,H,W] uint8 RGB."""
        self._annotated = _pyramid(annotated)
        self._flow = torch.zeros(1, 2, *self._annotated[-1].shape[-2:])

    def extended(self, step: Tensor, target: Tensor) -> Tensor:
        *larger, (small_target, small_annotated) = zip(_pyramid(target), self._annotated, strict=True)
        step = resized(step, small_target.shape[-2:])
        self._flow = refine(compose(step, self._flow), small_target, small_annotated)
        flow = self._flow
        for pair in reversed(larger):
            flow = sharpen(flow, *pair)
        return flow


def small(frame: Tensor) -> Tensor:
    """A frame [1,3,H,W] uint8 RGB, halved until it has no more than LARGEST_SMALL pixels."""
    return _pyramid(frame)[-1]


def refine(flow_target_to_annotated: Tensor, target: Tensor, annotated: Tensor) -> Tensor:
    """The displacement that matches the images best, pixel by pixel: [1,2,H,W] float32.

    flow_target_to_annotated: [1,2,H,W] float32 pixels; frames: [1,3,H,W] uint8 RGB. The candidates are the given
    displacement, what DIS makes of it between the two frames themselves, and, for the winner of these, the
    displacements of neighbours, so that an edge of the motion can move to where the images have it.

    Reference: the neighbours are PatchMatch's propagation, Barnes et al., SIGGRAPH 2009, with fixed reaches.
    """
    composed = np.ascontiguousarray(flow_target_to_annotated[0].permute(1, 2, 0).numpy())
    choice = _Choice(to_pixels(target), to_pixels(annotated))
    choice.offer((dis_correction(to_grey(target), to_grey(annotated), composed), composed))
    return to_flow(choice.among_neighbours(REACHES))


def sharpen(flow_target_to_annotated: Tensor, target: Tensor, annotated: Tensor) -> Tensor:
    """A displacement that was found on smaller frames, with outlines as these have them: [1,2,H,W] float32.

    flow_target_to_annotated: [1,2,h,w] float32, in pixels of the smaller frames; frames: [1,3,H,W] uint8 RGB.
    """
    lifted = resized(flow_target_to_annotated, target.shape[-2:])
    choice = _Choice(to_pixels(target), to_pixels(annotated))
    choice.offer((np.ascontiguousarray(lifted[0].permute(1, 2, 0).numpy()),))
    return to_flow(choice.among_neighbours(OUTLINE_REACHES))


class _Choice:
    """The best of the displacements that were offered so far, pixel by pixel: `flow` [H,W,2] float32, from the target
    into the annotated frame.

    How badly the two frames match is a whole number of grey levels, which does not depend on how it is computed.
    """

    def __init__(self, target: np.ndarray, annotated: np.ndarray) -> None:
        """Frames are [H,W,3] uint8 RGB."""
        # OpenCV reads between pixels faster where there are four channels
        self._target, self._annotated = (cv2.cvtColor(image, cv2.COLOR_RGB2RGBA) for image in (target, annotated))
        height, width = target.shape[:2]
        grid = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        self._grid = np.stack(grid, axis=-1)
        self._last = tuple(float(np.nextafter(np.float32(side - 0.5), np.float32(0))) for side in (width, height))
        self._cost = np.full((height, width), WORST, np.uint8)
        self.flow = np.zeros((height, width, 2), np.float32)

    def offer(self, candidates: Iterable[np.ndarray]) -> None:
        """Take of each candidate [H,W,2], one after the other, what matches better."""
        candidates = tuple(candidates)
        height = len(self._cost)
        for top in range(0, height, BAND_ROWS):
            rows = slice(top, min(top + BAND_ROWS, height))
            for candidate in candidates:
                cost = self._cost_of(candidate, rows)
                better = cv2.compare(cost, self._cost[rows], cv2.CMP_LT)
                cv2.copyTo(cost, better, self._cost[rows])
                cv2.copyTo(candidate[rows], better, self.flow[rows])

    def among_neighbours(self, reaches: Iterable[int]) -> np.ndarray:
        """The flow, after every pixel was offered the displacements of its neighbours, so far away in turn."""
        self._cost = np.maximum(self._cost, NEIGHBOUR_MARGIN) - np.uint8(NEIGHBOUR_MARGIN)
        for reach in reaches:
            self.offer(_neighbours(self.flow, reach))
        return self.flow

    def _cost_of(self, candidate: np.ndarray, rows: slice) -> np.ndarray:
        """uint8, of these rows: the mean absolute difference around each pixel, in summed grey levels."""
        around = slice(max(0, rows.start - WINDOW // 2), rows.stop + WINDOW // 2)
        places = cv2.add(candidate[around], self._grid[around])
        warped = cv2.remap(self._annotated, places, _NO_SECOND_MAP, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        difference = cv2.transform(cv2.absdiff(self._target[around], warped), np.ones((1, 4), np.float32))
        difference = np.minimum(difference, LARGEST_DIFFERENCE)
        difference[cv2.inRange(places, (-0.5, -0.5), self._last) == 0] = OUTSIDE
        start = rows.start - around.start
        return cv2.GaussianBlur(difference, (WINDOW, WINDOW), 0)[start : start + rows.stop - rows.start]


def _neighbours(flow: np.ndarray, reach: int) -> Iterator[np.ndarray]:
    """The displacements [H,W,2] `reach` pixels to the right, left, below and above; the border's beyond it."""
    height, width = flow.shape[:2]
    padded = cv2.copyMakeBorder(flow, reach, reach, reach, reach, cv2.BORDER_REPLICATE)
    for dx, dy in ((reach, 0), (-reach, 0), (0, reach), (0, -reach)):
        yield padded[reach + dy : reach + dy + height, reach + dx : reach + dx + width]


def resized(flow: Tensor, size: Sequence[int]) -> Tensor:
    """A flow [1,2,h,w] between frames of h x w -> [1,2,H,W], between the same ones in another size (H, W)."""
    (height, width), (height_before, width_before) = size, flow.shape[-2:]
    if (height, width) == (height_before, width_before):
        return flow
    pixels = np.ascontiguousarray(flow[0].permute(1, 2, 0).numpy())
    shrinks = height * width < height_before * width_before
    pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return to_flow(pixels * np.array((width / width_before, height / height_before), np.float32))


def _pyramid(frame: Tensor) -> list[Tensor]:
    """The frame [1,3,H,W] uint8, its half, and so on to the first that is small."""
    frames = [frame]
    while frames[-1][0, 0].numel() > LARGEST_SMALL:
        height, width = frames[-1].shape[-2:]
        half = cv2.resize(to_pixels(frames[-1]), (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        frames.append(torch.from_numpy(half).permute(2, 0, 1)[None])
    return frames
